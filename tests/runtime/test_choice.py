from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from support.bundles import png, save_graph, write_toy_bundle
from vlp.runtime import choice, session
from vlp.runtime.bundle import BundleError, Part, Port
from vlp.runtime.predictor import Predictor

pytestmark = pytest.mark.engine

FLOATS = Part(
    file="product.onnx",
    inputs=(Port("x", "float32", ("rows", 64)),),
    outputs=(Port("y", "float32", ("rows", 64)),),
)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix product: what bf16 rounds."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor("w", TensorProto.FLOAT, [64, 64], weights.tobytes(), raw=True)],
    )
    path = tmp_path_factory.mktemp("product") / "product.onnx"
    save_graph(graph, path)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("choice")
    write_toy_bundle(work / "bundle", work / "parts")
    return work / "bundle"


def opened(product: Path, runtime: choice.Runtime, tolerance: float = 1e-4) -> session.Graph:
    return session.Graph(FLOATS, choice.choose(product, FLOATS, 1, runtime, tolerance)[0])


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 64)).astype(np.float32)


@pytest.mark.parametrize("runtime", ["auto", "openvino", "onnxruntime"])
def test_every_engine_gives_the_same_outputs(product: Path, runtime: choice.Runtime) -> None:
    graph, reference = opened(product, runtime), opened(product, "onnxruntime")
    for count in (1, 3, 2):
        wanted = reference({"x": rows(count)})["y"]
        np.testing.assert_allclose(graph({"x": rows(count)})["y"], wanted, atol=1e-4)


def test_outputs_are_the_callers_own(product: Path) -> None:
    graph = opened(product, "openvino")
    first = graph({"x": rows(2)})["y"]
    kept = first.copy()
    graph({"x": -rows(2)})
    np.testing.assert_array_equal(first, kept)


def test_auto_takes_the_fastest_of_those_that_agree(product: Path) -> None:
    _, chosen = choice.choose(product, FLOATS, 1, "auto", 1e-4)
    assert chosen.engine == min(chosen.milliseconds, key=lambda name: chosen.milliseconds[name])
    assert chosen.milliseconds.keys() | chosen.refused.keys() == {"onnxruntime", *choice.OTHERS}
    assert chosen.refused["openvino-bf16"] == "rounds by 0.002, 0.0001 allowed"


class Wrong(session.OnnxRuntime):
    """An engine that is a thousandth off."""

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [array * np.float32(1.001) for array in super().run(feeds)]


def test_an_engine_that_fails_parity_is_refused(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(name: str, path: Path, threads: int) -> session.Engine:
        return session.OnnxRuntime(path, threads) if name == "onnxruntime" else Wrong(path, threads)

    monkeypatch.setattr(choice, "engine", engine)
    _, chosen = choice.choose(product, FLOATS, 1, "auto", 1e-4)
    assert (chosen.engine, chosen.refused["openvino"]) == ("onnxruntime", "differs by 0.001, 0.0001 allowed")
    with pytest.raises(BundleError, match=r"product\.onnx: runtime openvino: differs by 0\.001"):
        choice.choose(product, FLOATS, 1, "openvino", 1e-4)
    assert choice.choose(product, FLOATS, 1, "openvino", 1e-2)[1].engine == "openvino"


@pytest.mark.parametrize(
    ("exact", "tolerance", "refused"),
    [
        (1.02, 0.005, ""),  # nearer to it than ONNX Runtime
        (0.99, 0.02, ""),  # a hundredth further off
        (0.99, 0.005, "differs by 0.01, 0.005 allowed"),
        (1.02, 0.001, "differs by 0.01, 0.001 allowed"),  # who allows so little means ONNX Runtime's numbers
        (None, 0.005, "differs by 0.01, 0.005 allowed"),
    ],
)
def test_an_engine_of_eight_bits_is_judged_by_what_32_gave(
    product: Path, monkeypatch: pytest.MonkeyPatch, exact: float | None, tolerance: float, refused: str
) -> None:
    def engine(name: str, path: Path, threads: int) -> session.Engine:
        return session.OnnxRuntime(path, threads) if name == "onnxruntime" else Off(path, threads)

    class Off(session.OnnxRuntime):
        def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [array * np.float32(1.01) for array in super().run(feeds)]

    outputs = session.OnnxRuntime(product, 1).run(choice.made_up(FLOATS))
    kept = None if exact is None else [array * np.float32(exact) for array in outputs]
    monkeypatch.setattr(choice, "engine", engine)
    _, chosen = choice.choose(product, FLOATS, 1, "auto", tolerance, kept)
    assert chosen.refused.get("openvino", "") == refused
    assert ("openvino" in chosen.milliseconds) is (not refused)


def test_an_engine_that_is_not_installed_is_said_or_left_aside(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.importlib.util, "find_spec", lambda name: None)
    assert choice.choose(product, FLOATS, 1, "auto", 1e-4)[1].engine == "onnxruntime"
    with pytest.raises(BundleError, match="openvino is not installed: pip install openvino"):
        choice.choose(product, FLOATS, 1, "openvino", 1e-4)


@pytest.mark.parametrize(
    ("found", "share"),
    [([2.0, -4.0], 0.0), ([2.0, -4.4], 0.1), ([2.2, -4.0], 0.05), ([2.0, np.nan], np.inf), ([2.0], np.inf)],
)
def test_difference_is_a_share_of_the_largest_value(found: list[float], share: float) -> None:
    assert choice.difference([np.array([2.0, -4.0])], [np.array(found)]) == pytest.approx(share)


def test_a_bundle_answers_alike_whatever_runs_it(bundle: Path) -> None:
    texts = ["a red square", "a blue square", "a purple circle"]
    one, other = Predictor.open(bundle), Predictor.open(bundle, runtime="openvino")
    assert other.engines["matching/image"].engine == "openvino"
    for colour in ("red", "blue"):
        wanted, found = one.match(png(colour), texts), other.match(png(colour), texts)
        assert [answer.decision for answer in found] == [answer.decision for answer in wanted]
        assert [answer.score for answer in found] == pytest.approx([answer.score for answer in wanted], abs=1e-4)


def test_a_gpu_is_asked_for_by_name_and_said_to_be_missing(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: [session.CPU])
    assert (
        "pip install onnxruntime-gpu" in choice.choose(product, FLOATS, 1, "auto", 1e-4)[1].refused["onnxruntime-cuda"]
    )
    with pytest.raises(BundleError, match="onnxruntime-cuda is not installed"):
        choice.choose(product, FLOATS, 1, "onnxruntime-cuda", 1e-4)


@pytest.mark.skipif(session.CUDA in session.onnxruntime.get_available_providers(), reason="there may be a GPU")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")  # ONNX Runtime's own word for it
def test_a_package_for_gpus_without_a_gpu_is_no_gpu(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: [session.CUDA, session.CPU])
    with pytest.raises(BundleError, match="finds no GPU that it can use"):
        session.OnnxRuntime(product, 1, cuda=True)
