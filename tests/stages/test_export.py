"""The export stage on a tiny task: one bundle, answering as the model does, the same bytes again, or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vlp.stages import export
from support.bundles import IMAGE_PARAMS, MODEL, TASK, TEXT_PARAMS, tiny_matching, write_prepared
from vlp.data.loading import Prepared
from vlp.export.parity.base import ParityError
from vlp.export.parity.matching import comparison
from vlp.runtime import choice
from vlp.runtime.predictor import Predictor

pytestmark = pytest.mark.slow
LIMITS = {"samples": 4, "max_abs_diff": 0.001, "max_metric_drop": 0.0}


def write_params(project: Path, **limits: float | bool) -> None:
    sections = {
        "seed": 7,
        "image": IMAGE_PARAMS,
        "text": TEXT_PARAMS,
        "model": MODEL,
        "pretrain": {},
        "tasks": {"matching": TASK},
        "export": {**LIMITS, **limits},
    }
    (project / "params.yaml").write_text(json.dumps(sections))  # JSON is YAML


def run(project: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        export.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is trained and evaluated, and has been exported once."""
    project = tmp_path_factory.mktemp("project")
    write_prepared(project / "data" / "prepared")
    (project / "models" / "tasks" / "matching").mkdir(parents=True)
    tiny_matching(project / "data" / "prepared").save(project / "models" / "tasks" / "matching")
    (project / "reports" / "evaluation" / "matching").mkdir(parents=True)
    (project / "reports" / "evaluation" / "matching" / "metrics.json").write_text('{"accuracy": 0.5}')
    write_params(project)
    run(project)
    return project


@pytest.fixture(scope="module")
def predictor(project: Path) -> Predictor:
    return Predictor.open(project / "models" / "bundle")


def test_the_bundle_holds_graphs_tokenizer_parameters_metrics_and_lineage(project: Path) -> None:
    bundle = project / "models" / "bundle"
    assert set(contents(bundle)) == {
        "bundle.json",
        "lineage.json",
        "matching/image.onnx",
        "matching/score.onnx",
        "metrics.json",
        "params.json",
        "tokenizer/tokenizer.json",
    }
    assert json.loads((bundle / "metrics.json").read_text()) == {"matching": {"accuracy": 0.5}}
    params = json.loads((bundle / "params.json").read_text())
    assert params["image"]["size"] == 16
    assert params["image"]["resize"] == "squash"  # resolved: defaults are written out
    assert params["tasks"]["matching"]["training"]["learning_rate"] == 0.001
    assert set(json.loads((bundle / "lineage.json").read_text())) == {"data", "libraries", "models", "params"}


def test_the_metrics_are_those_of_the_contract_and_wall_clock_stays_out_of_them(project: Path) -> None:
    exact = json.loads((project / "metrics" / "export.json").read_text())["matching"]["onnxruntime"]
    size = sum(path.stat().st_size for path in (project / "models" / "bundle" / "matching").iterdir())
    assert exact == {"bytes": size, "max_abs_diff": exact["max_abs_diff"], "metric_drop": 0.0}
    assert 0 < exact["max_abs_diff"] <= 1e-4
    timing = json.loads((project / "metrics" / "timing" / "export.json").read_text())["matching"]["onnxruntime"]
    assert set(timing) == {"latency_ms_p50", "speedup_vs_torch"}
    assert all(value > 0 for value in timing.values())


def test_the_bundle_answers_as_the_model_does(project: Path, predictor: Predictor) -> None:
    task, test = tiny_matching(project / "data" / "prepared"), Prepared(project / "data" / "prepared").split("test")
    made = comparison(task, predictor, test, samples=6)
    for request in made.requests:
        np.testing.assert_allclose(made.by_runtime(request), made.by_torch(request), atol=1e-5)


def test_neither_neighbours_nor_padding_change_an_answer(project: Path, predictor: Predictor) -> None:
    pixels = Prepared(project / "data" / "prepared").split("test").images([0])[0].numpy()
    texts = ["red", "a blue field of small stones", "a purple circle", "a red square"]
    together = [answer.score for answer in predictor.task("matching").match_prepared(pixels, texts)]
    alone = [predictor.task("matching").match_prepared(pixels, [text])[0].score for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert np.ptp(together) > 0.001


def test_beyond_tolerance_nothing_is_written_and_what_was_there_stays(project: Path) -> None:
    bundle, metrics = contents(project / "models" / "bundle"), (project / "metrics" / "export.json").read_bytes()
    write_params(project, max_abs_diff=1e-9)
    try:
        with pytest.raises(ParityError, match=r"matching: max_abs_diff .* allowed 1e-09 \(params\.yaml: export"):
            run(project)
    finally:
        write_params(project)
    assert contents(project / "models" / "bundle") == bundle
    assert (project / "metrics" / "export.json").read_bytes() == metrics
    assert not list((project / "models").glob(".*"))


def test_a_task_is_quantised_only_where_its_metric_stands_it_and_a_last_plain_run_gives_the_first_bytes(
    project: Path,
) -> None:
    bundle, metrics = project / "models" / "bundle", project / "metrics" / "export.json"
    plain, exact = contents(bundle), metrics.read_bytes()
    seen = {}
    try:
        for allowed in (1.0, 0.0):
            write_params(project, int8=True, max_metric_drop=allowed, max_abs_diff=1e-4)
            run(project)
            seen[allowed] = json.loads(metrics.read_text())["matching"]
            kept = seen[allowed]["int8"]["kept"]
            assert (Predictor.open(bundle).bundle.tasks["matching"].weights == "int8") is kept
            assert (contents(bundle)["matching/score.onnx"] != plain["matching/score.onnx"]) is kept
            assert ({"matching/image.npz", "matching/score.npz"} <= contents(bundle).keys()) is kept
            opened = Predictor.open(bundle).bundle
            assert (choice.exact(opened, opened.tasks["matching"].parts["score"]) is not None) is kept
            drops = [drop for key, drop in seen[allowed]["int8"].items() if key.endswith("_metric_drop")]
            assert kept is (len(drops) == 2 and max(drops) <= allowed)
    finally:
        write_params(project)
        run(project)
    assert seen[1.0]["int8"]["kept"]
    assert seen[1.0]["onnxruntime"]["bytes"] < sum(len(plain[f"matching/{part}.onnx"]) for part in ("image", "score"))
    assert contents(bundle) == plain and metrics.read_bytes() == exact
    assert not list((project / "models").glob("*int8*"))
