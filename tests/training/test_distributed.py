"""Several processes train as one: the same gradient, the same statistics, and no process waits for a dead one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from support import models, scenes
from vlp.models.distributed import BatchNorm, gather, rank, world
from vlp.records import Batch
from vlp.training.engine import Engine
from vlp.training.launch import TrainingError, lost_peers
from vlp.training.loop import fit
from vlp.training.memory import blocks, recomputing

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
    "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[level] / part) for level, part in ((1, ""), (2, "src"))),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.prepare(tmp_path_factory.mktemp("prepared"), 40)


def start(where: Path, processes: int, *what: str, launcher: tuple[str, ...] = ("--standalone",), **more: str) -> Any:
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--nproc-per-node", str(processes), *launcher, "-m"]
    return subprocess.Popen(
        [*command, *what],
        cwd=where,
        env={**ENVIRONMENT, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lost(where: Path, prepared: Path, how: str) -> Any:
    """A run of two processes of which the second kills or stops itself after four steps."""
    asked = {"prepared": str(prepared), "out": str(where / "out"), "die_at": 4, "die_rank": 1, "how": how}
    return start(where, 2, "support.small_run", json.dumps(asked), VLP_PEER_TIMEOUT="20")


@pytest.fixture(scope="module")
def hanging(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path, float]]:
    """A run whose second process hangs: it waits for the most of a minute, and other tests run meanwhile."""
    where = tmp_path_factory.mktemp("hanging")
    begin = time.monotonic()
    with lost(where, prepared, "stop") as process:
        yield process, where, begin
        if process.poll() is None:  # the test that waits for it was not chosen; a stopped process outlives its parent
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()


def gradients(where: Path, prepared: Path, processes: int, *recipes: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """By one start of ``processes``, those of each recipe."""
    outs = [where / f"{processes}-{number}.safetensors" for number in range(len(recipes))]
    asked = {"prepared": str(prepared), "recipes": dict(zip(map(str, outs), recipes, strict=True))}
    process = start(where, processes, "support.two_processes", json.dumps(asked))
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return [load_file(out) for out in outs]


@pytest.mark.slow
@pytest.mark.usefixtures("hanging")
def test_two_processes_have_the_gradient_and_statistics_of_one_contrastive_losses_included(
    prepared: Path, tmp_path: Path
) -> None:
    one, other = gradients(tmp_path, prepared, 1, {}, {"task": "retrieval"})
    two = gradients(
        tmp_path, prepared, 2, {}, {"shard": True}, {"task": "retrieval"}, {"task": "retrieval", "shard": True}
    )
    assert any(name.startswith("objectives.contrastive") for name in one)
    assert "held_out.itc_loss" in one and "held_out.contrastive_loss" in other
    for alone, found in zip((one, one, other, other), two, strict=True):
        assert found.keys() == alone.keys()
        assert any("running_var" in name for name in alone)
        for name, value in alone.items():
            if not name.startswith("weight."):
                assert torch.allclose(found[name], value, rtol=2e-4, atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["copies", "parts"])
def test_a_process_whose_share_has_no_question_trains_with_one_that_has_some(
    prepared: Path, tmp_path: Path, shard: bool
) -> None:
    asked = {"prepared": str(prepared), "out": str(tmp_path / "rows.json"), "shard": shard}
    process = start(tmp_path, 2, "support.sparse_questions", json.dumps(asked), VLP_PEER_TIMEOUT="60")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    found = json.loads((tmp_path / "rows.json").read_text())
    # The first process's losses, not half of them.
    assert all(row.get("answer_loss", row.get("vqa_loss")) > 2 for row in found.values())


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_in_bounded_time(prepared: Path, tmp_path: Path) -> None:
    process = lost(tmp_path, prepared, "kill")
    process.communicate(timeout=240)
    assert process.returncode != 0  # torchrun may end the other before it says why
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_nodes_of_torchrun_meet(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    out = tmp_path / "met.json"
    nodes = [
        start(
            tmp_path, 2, "support.meeting", str(out),
            launcher=("--nnodes=2", f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"),
        )
        for node in range(2)
    ]  # fmt: skip
    for node in nodes:
        said, _ = node.communicate(timeout=600)
        assert node.returncode == 0, said
    assert json.loads(out.read_text()) == {"world": 4, "total": 10.0}


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_with_a_clear_line_in_bounded_time(hanging: tuple[Any, Path, float]) -> None:
    process, where, begin = hanging
    said, _ = process.communicate(timeout=max(1, 240 - (time.monotonic() - begin)))
    assert process.returncode != 0
    assert "error: process 0 of 2: another process of this run is gone or does not answer" in said
    assert not (where / "out").exists()


def test_alone_everything_is_the_identity() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert gather(rows)[0] is rows and gather(rows)[1] == 0
    assert (world(), rank()) == (1, 0)
    norm, shared = nn.BatchNorm2d(3), BatchNorm(3)
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(norm(x), shared(x))


def test_what_torch_says_of_a_lost_peer_is_one_line_only_where_there_are_peers() -> None:
    with pytest.raises(RuntimeError, match="Connection closed"), lost_peers():
        raise RuntimeError("Connection closed by peer")
    with pytest.raises(TrainingError, match="another process of this run is gone"), lost_peers():
        raise torch.distributed.DistNetworkError("timed out")


class Picture(nn.Module):
    """Residual blocks with batch statistics, and a head."""

    def __init__(self) -> None:
        super().__init__()

        def block() -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())

        self.body = nn.Sequential(block(), block())
        self.head = nn.Linear(3, 1)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = self.head(self.body(batch.images).mean((2, 3)))
        return {"x_loss": (found.squeeze(1) - batch.targets["x"]).square().mean()}


def pictures() -> Batch:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(8, 3, 6, 6, generator=generator)
    return Batch(images=images, texts={}, targets={"x": torch.rand(8, generator=generator)})


def stepped(parts: list[Batch], **recipe: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = Picture()
    engine = Engine(module, models.recipe(1, **recipe), {}, None, torch.device("cpu"))
    with engine.ready():
        engine.step(parts, 0)
    return module.state_dict()


def test_activations_computed_again_change_nothing_batch_statistics_included() -> None:
    plain, again = stepped([pictures()]), stepped([pictures()], recompute=True)
    assert all(torch.equal(again[name], value) for name, value in plain.items())


def test_blocks_run_again_only_while_they_are_trained() -> None:
    module = Picture()
    assert [type(block) for block in blocks(module)] == [nn.Sequential, nn.Sequential]
    with recomputing(module, wanted=True):
        assert "forward" in vars(module.body[0])
    assert "forward" not in vars(module.body[0])


def test_gradients_summed_over_passes_are_those_of_the_batch() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(3, 1)

        def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
            guess = self.line(batch.images.mean((2, 3))).squeeze(1)
            return {"x_loss": (guess - batch.targets["x"]).square().mean()}

    found = []
    whole = pictures()
    halves = [whole.map(lambda tensor, half=half: tensor[half::2]) for half in range(2)]  # type: ignore[misc]
    for parts in ([whole], halves):
        torch.manual_seed(0)
        module = Mean()
        engine = Engine(module, models.recipe(1, gradient_clip=1e9), {}, None, torch.device("cpu"))
        engine.step(parts, 0)
        found.append(engine.optimizer.state[module.line.weight]["exp_avg"].clone())
    assert torch.allclose(*found, rtol=1e-5)


def test_batches_that_nobody_planned_cannot_be_shared() -> None:
    batches = torch.utils.data.DataLoader([pictures()], batch_size=None)  # type: ignore[arg-type,var-annotated]
    with pytest.raises(TrainingError, match="only batches that Plans planned"):
        fit(Picture(), batches, models.recipe(1, accumulate=2))
    with pytest.raises(TrainingError, match="step 1: there are no more batches; 2 steps were asked for"):
        fit(Picture(), batches, models.recipe(2))
