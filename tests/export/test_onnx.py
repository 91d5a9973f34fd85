"""Modules as ONNX files: they compute the same, for any batch, and hold nothing of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from vlp.export.onnx import ExportError, ports, write_onnx
from vlp.tasks.base import ExportPart

TEXT = {0: "texts", 1: "length"}


class Tiny(nn.Module):
    """Mean pixel and masked mean of embeddings to one logit; dropout, so that training mode would show."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.dropout = nn.Dropout(0.5)
        self.logit = nn.Linear(7, 1)

    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pixels = images.float().div(255).mean((1, 2))
        weights = attention_mask[..., None].float()
        words = (self.embedding(input_ids) * weights).sum(1) / weights.sum(1)
        return self.logit(self.dropout(torch.cat([pixels, words], dim=-1))).squeeze(-1)


def part(module: nn.Module | None = None) -> ExportPart:
    """Two of the example inputs are one tensor: they must stay two inputs."""
    torch.manual_seed(0)
    ids = torch.ones(2, 3, dtype=torch.int64)
    return ExportPart(
        module=module or Tiny(),
        inputs={"images": torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "input_ids": ids, "attention_mask": ids},
        dynamic={"images": {0: "texts"}, "input_ids": TEXT, "attention_mask": TEXT},
        outputs=("logit",),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path, some = tmp_path_factory.mktemp("onnx") / "tiny.onnx", part()
    write_onnx(some, path, "tiny")
    return path, some.module


@pytest.mark.parametrize(("texts", "length"), [(1, 1), (1, 7), (5, 2)])
def test_any_number_of_texts_of_any_length_gives_what_torch_gives(
    exported: tuple[Path, nn.Module], texts: int, length: int
) -> None:
    path, module = exported
    generator = torch.Generator().manual_seed(texts * length)
    inputs = {
        "images": torch.randint(0, 256, (texts, 8, 8, 3), dtype=torch.uint8, generator=generator),
        "input_ids": torch.randint(0, 9, (texts, length), generator=generator),
        "attention_mask": torch.ones(texts, length, dtype=torch.int64),
    }
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["logit"], {name: tensor.numpy() for name, tensor in inputs.items()})[0]
    with torch.no_grad():
        expected = module.eval()(**inputs).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_ports_are_named_typed_and_shaped(exported: tuple[Path, nn.Module]) -> None:
    inputs, outputs = ports(exported[0])
    assert inputs == [
        {"name": "images", "type": "uint8", "shape": ["texts", 8, 8, 3]},
        {"name": "input_ids", "type": "int64", "shape": ["texts", "length"]},
        {"name": "attention_mask", "type": "int64", "shape": ["texts", "length"]},
    ]
    assert outputs == [{"name": "logit", "type": "float32", "shape": ["texts"]}]


def test_a_file_holds_its_weights_and_nothing_of_where_it_was_made(exported: tuple[Path, nn.Module]) -> None:
    data = exported[0].read_bytes()
    model = onnx.load_from_string(data)
    assert list(exported[0].parent.iterdir()) == [exported[0]]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    here = Path(__file__)
    for trace in (here.name, here.parent.as_posix(), "site-packages", "stack_trace", sys.prefix):
        assert trace.encode() not in data, trace
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 20


def test_a_module_in_training_mode_is_exported_without_dropout(exported: tuple[Path, nn.Module]) -> None:
    assert "Dropout" not in {node.op_type for node in onnx.load(exported[0]).graph.node}


def test_an_axis_of_no_input_is_refused(tmp_path: Path) -> None:
    wrong = part()
    wrong.dynamic["image"] = {0: "texts"}
    with pytest.raises(ExportError, match="tiny: dynamic axes of image, which is no input"):
        write_onnx(wrong, tmp_path / "tiny.onnx", "tiny")


class Branching(nn.Module):
    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return images.float().mean((1, 2, 3)) if input_ids.sum() > 3 else attention_mask.float().mean(1)


def test_a_module_that_cannot_be_followed_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="tiny: Branching cannot be exported"):
        write_onnx(part(Branching()), tmp_path / "tiny.onnx", "tiny")
    assert not (tmp_path / "tiny.onnx").exists()


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    code = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tests_of_onnx", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.write_onnx(module.part(), Path(sys.argv[2]), "tiny")
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, __file__, str(tmp_path / f"{seed}.onnx")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, folder in (("1", tmp_path), ("2", Path("/")))
    ]
    for child in children:
        _, errors = child.communicate()
        assert child.returncode == 0, errors
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()
