"""Weights load whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from support import disks
from vlp.models.weights import WeightsError, load_exactly, read_tensors, write_tensors


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin"])
def test_tensors_are_read_from_every_published_format(tmp_path: Path, name: str) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2, 2)}
    save = save_file if name.endswith("safetensors") else torch.save
    save(tensors, tmp_path / name)
    read = read_tensors(tmp_path / name)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)


def test_a_missing_file_and_an_unknown_ending_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth: no such weights file"):
        read_tensors(tmp_path / "gone.pth")
    (tmp_path / "w.h5").touch()
    with pytest.raises(WeightsError, match=r"w\.h5: unknown kind"):
        read_tensors(tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not a weights file", b"hello", b"\x80\x02}q\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name}: not a readable weights file"):
        read_tensors(tmp_path / name)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not a readable weights file"):
        read_tensors(tmp_path / "w.pth")


def test_a_file_of_anything_but_named_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="expected a state_dict"):
        read_tensors(tmp_path / "w.pth")


def test_what_does_not_fit_is_named_and_nothing_is_copied() -> None:
    linear = nn.Linear(2, 3)
    before = linear.weight.clone()
    with pytest.raises(WeightsError) as caught:
        load_exactly(linear, {"weight": torch.zeros(3, 5), "biaz": torch.zeros(3)}, "file.pth")
    assert str(caught.value) == (
        "file.pth: the weights do not fit the model; 1 missing: bias; 1 unexpected: biaz; "
        "1 of another shape: weight (3, 5) for (3, 2)"
    )
    assert torch.equal(linear.weight, before)


def test_a_long_list_of_misfits_is_cut() -> None:
    with pytest.raises(WeightsError, match=r"20 unexpected: k00, .*k07, … and 12 more$"):
        load_exactly(nn.ReLU(), {f"k{number:02d}": torch.zeros(1) for number in range(20)}, "file.pth")


def test_a_full_disk_is_an_error_of_the_system_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    with disks.full(), pytest.raises(OSError, match=r"head\.safetensors: cannot be written \(.*File too large"):
        write_tensors(path, {"w": torch.zeros(10_000)})
    write_tensors(path, {"w": torch.zeros(10, 20).T}, {"rows": "[]"})
    assert read_tensors(path)["w"].shape == (20, 10)
