"""The Ray engine on a real cluster of several nodes on this machine, one of which is killed half-way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: Ray leaves threads and warnings behind, and its nodes are to see nothing of pytest.
CLUSTER = """
import json, os, sys, threading, time
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_raylet_start_wait_time_s"] = "180"  # a busy machine
from ray.cluster_utils import Cluster
import ray
from vlp.data import cleaning, judged, preparation, quality, shards
from vlp.data.engines import local
from vlp.data.engines import ray as engine
from vlp.data.sources import scenes
from vlp.data.split import SplitParams
from vlp.params import parse
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams

folder = Path(sys.argv[1])
image, text = ImageParams(size=64), TextParams(max_words=40, max_tokens=32, vocabulary=400, scripts=("latin",))
options = parse(scenes.Params, {"records": 360, "image_size": 64, "captions": 3, "faults": 0.1}, "sources.scenes")
ingested, validated = folder / "ingested", folder / "validated"
for made in (ingested, validated): made.mkdir()
records = [scenes.record(index, params=options, seed=7) for index in range(360)]
shards.write_records(ingested, records)
measures = [quality.measure(each, image, text) for each in records]
judged.write_measures(validated, measures)
judged.write_findings(validated, cleaning.judge(measures, cleaning.CleanParams(colour_matters=True)))

def run(name, **chosen):
    out = folder / name
    out.mkdir()
    split = SplitParams(train=0.6, validation=0.2, test=0.2)
    preparation.run(ingested, validated, out, seed=7, image=image, text=text, split=split, **chosen)

run("local", engine=local.Engine())
small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)
used = set()

def watched(self, function, parts):
    # The last node dies while it works: after some parts came back, and before most did.
    def killing():
        for number, part in enumerate(parts):
            if number == 8 and len(cluster.worker_nodes) == 2:
                used.update(each["NodeID"] for each in ray.nodes() if each["Alive"])
                cluster.remove_node(nodes[1], allow_graceful=False)
            yield part
    return whole(self, function, killing())

def alive(wanted):
    # The cluster hears of a node, and of its death, some heartbeats later.
    deadline = time.monotonic() + 120
    while True:
        count = sum(each["Alive"] for each in ray.nodes())
        if count == wanted or time.monotonic() > deadline:
            return count
        time.sleep(0.2)

whole, engine.Engine.map, engine.Engine.rows = engine.Engine.map, watched, 16
before = alive(3)
run("ray", engine=engine.Engine(engine.Params(address=cluster.address, ahead=3)))
after = alive(2)
print(json.dumps({"before": before, "after": after, "workers": len(cluster.worker_nodes)}))
ray.shutdown()
cluster.shutdown()
"""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_half_way_writes_the_bytes_of_one_machine(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["before"], told["workers"]) == (3, 1)
    assert told["after"] == 2
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")


def test_the_engine_is_loaded_only_where_it_is_chosen() -> None:
    code = (
        "import sys, vlp.stages.preprocess, vlp.data.preparation, vlp.data.engines.ray; sys.exit('ray' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
