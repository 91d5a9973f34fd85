"""A run that is killed goes on to the very weights it would have had; what is damaged or another run's is not used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from support import disks, models, scenes
from support.small_run import STEPS
from vlp.data.loading import Examples, Plans, Prepared, loader
from vlp.records import Batch
from vlp.training.checkpoints import KEPT, Checkpoints, fingerprint
from vlp.training.loop import fit
from vlp.training.resume import Run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.prepare(tmp_path_factory.mktemp("prepared"), 40)


def launch(where: Path, asked: dict[str, Any], processes: int = 1, **more: Any) -> subprocess.CompletedProcess[str]:
    module = ["-m", "support.small_run", json.dumps(asked)]
    if processes > 1:
        module = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone", *module]
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(
        [sys.executable, *module], cwd=where, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def uninterrupted(where: Path, asked: dict[str, Any], processes: int = 1) -> bytes:
    where.mkdir()
    done = launch(where, {**asked, "out": str(where / "out.safetensors")}, processes)
    assert done.returncode == 0, done.stderr
    return (where / "out.safetensors").read_bytes() + (where / "out.json").read_bytes()


def killed_and_resumed(where: Path, asked: dict[str, Any], die_at: list[int], processes: int = 1) -> bytes:
    where.mkdir()
    asked = {**asked, "out": str(where / "out.safetensors")}
    for steps in die_at:
        died = launch(where, {**asked, "die_at": steps}, processes)
        assert died.returncode == (-signal.SIGKILL if processes == 1 else 1)
        assert not (where / "out.safetensors").exists()
        assert 1 <= len(list(where.glob("checkpoints/pretrain/*/step-*"))) <= KEPT
    done = launch(where, asked, processes)
    assert done.returncode == 0, done.stderr
    assert not (where / "checkpoints").exists()
    return (where / "out.safetensors").read_bytes() + (where / "out.json").read_bytes()


IN_BOTH_PHASES, IN_THE_SECOND = [5, STEPS - 3 + 5], [STEPS + 4]
"""Steps that a process takes before it dies: inside an epoch of the first phase, and again in the second."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freeze", "optimizer", "die_at"),
    [([], "muon", IN_BOTH_PHASES), (["text_encoder"], "adamw", IN_THE_SECOND)],
    ids=["whole", "frozen"],
)
def test_a_run_killed_at_several_steps_ends_in_the_same_bits(
    prepared: Path, tmp_path: Path, freeze: list[str], optimizer: str, die_at: list[int]
) -> None:
    asked = {"prepared": str(prepared), "freeze": freeze, "recipe": {"optimizer": optimizer}}
    assert killed_and_resumed(tmp_path / "killed", asked, die_at) == uninterrupted(tmp_path / "whole", asked)


@pytest.mark.slow
def test_two_processes_killed_end_in_the_same_bits(prepared: Path, tmp_path: Path) -> None:
    asked = {"prepared": str(prepared), "recipe": {"optimizer": "muon"}}
    assert killed_and_resumed(tmp_path / "killed", asked, IN_THE_SECOND, 2) == uninterrupted(
        tmp_path / "whole", asked, 2
    )


class Noisy(nn.Module):
    """Learns a number from pictures with noise of its own: the optimiser, batches and random numbers all matter."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)
        self.rest = nn.Linear(2, 2).requires_grad_(False)
        self.norm = nn.BatchNorm2d(3)

    def collate(self, examples: Examples, rows: list[int], rng: Any) -> Batch:
        return Batch(images=examples.images(rows), texts={}, targets={"x": torch.from_numpy(rng.random(len(rows)))})

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        pixels = self.norm(batch.images.permute(0, 3, 1, 2).float() / 255).mean((2, 3))
        guess = self.line(pixels + torch.rand_like(pixels)).squeeze(-1)
        return {"x_loss": (guess - batch.targets["x"].float()).square().mean()}


class Stop(Exception):  # noqa: N818 - no error: the plug is pulled
    """Pulls the plug."""


def train(data: Prepared, folder: Path, stop_at: int = -1, **more: Any) -> tuple[dict[str, torch.Tensor], list[Any]]:
    torch.manual_seed(4)
    module = Noisy()
    recipe = models.recipe(20, batch_size=8, save_every=4, log_every=3, **more)
    train = data.split("train")

    def watch(step: int) -> None:
        if step == stop_at:
            raise Stop

    torch.manual_seed(5)
    batches = loader(train, module.collate, Plans(len(train), 8, 20, 5), seed=5)  # type: ignore[arg-type]
    history = fit(module, batches, recipe, watch=watch, run=Run(Checkpoints(folder)))
    return module.state_dict(), history.rows


@pytest.mark.parametrize("stop_at", [6, 9, 15, 20])
def test_weights_curve_and_random_numbers_go_on_as_if_nothing_had_been(
    prepared: Path, tmp_path: Path, stop_at: int
) -> None:
    data = Prepared(prepared)
    expected, rows = train(data, tmp_path / "whole")
    with pytest.raises(Stop):
        train(data, tmp_path / "cut", stop_at)
    torch.rand(7)  # whatever else happened in between
    found, resumed = train(data, tmp_path / "cut")
    assert resumed == rows
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_passes_over_parts_of_a_batch_resume_as_well(prepared: Path, tmp_path: Path) -> None:
    data = Prepared(prepared)
    expected, _ = train(data, tmp_path / "whole", accumulate=2)
    with pytest.raises(Stop):
        train(data, tmp_path / "cut", 15, accumulate=2)
    found, _ = train(data, tmp_path / "cut", accumulate=2)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Prepared(prepared)
    expected, _ = train(data, tmp_path / "whole")
    for file in ("weights.safetensors", "state.json"):
        with pytest.raises(Stop):
            train(data, tmp_path / file, 15)
        newest = max((tmp_path / file).glob("step-*"))
        content = bytearray((newest / file).read_bytes())
        content[-3] ^= 1
        (newest / file).write_bytes(content)
        caplog.clear()
        found, _ = train(data, tmp_path / file)
        assert "passed over" in caplog.text and newest.name in caplog.text
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_checkpoints_are_few_and_a_half_written_one_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "mine")
    assert checkpoints.latest() is None
    for step in range(5):
        checkpoints.save(0, step, {"weights": {"w": torch.tensor([float(step)])}}, {"step": step})
    (tmp_path / "mine" / ".step-000-000000009.partial").mkdir()
    assert sorted(path.name for path in (tmp_path / "mine").glob("step-*")) == [
        "step-000-000000003",
        "step-000-000000004",
    ]
    found = checkpoints.latest()
    assert found is not None and found.values == {"step": 4} and float(found.tensors["weights"]["w"]) == 4.0
    checkpoints.remove()
    assert not (tmp_path / "mine").exists()


def test_a_full_disk_costs_the_checkpoint_that_did_not_fit_and_none_before_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "mine")
    checkpoints.save(0, 1, {"weights": {"w": torch.zeros(3)}}, {"step": 1})
    with disks.full(), pytest.raises(OSError, match=r"weights\.safetensors: cannot be written"):
        checkpoints.save(0, 2, {"weights": {"w": torch.zeros(10_000)}}, {"step": 2})
    found = checkpoints.latest()
    assert found is not None and found.values == {"step": 1}
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["step-000-000000001"]


def test_another_runs_checkpoints_are_removed_and_never_used(tmp_path: Path) -> None:
    Checkpoints.of("matching", "old", tmp_path).save(0, 1, {}, {})
    Checkpoints.of("vqa", "old", tmp_path).save(0, 1, {}, {})
    assert Checkpoints.of("matching", "new", tmp_path).latest() is None
    assert not (tmp_path / "matching" / "old").exists() and (tmp_path / "vqa" / "old").exists()
    assert Checkpoints.of("vqa", "old", tmp_path).latest() is not None


def test_a_fingerprint_changes_with_weights_parameters_data_and_frozen_parts(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"pixels")
    module = Noisy()
    first = fingerprint(module, [models.recipe(3)], tmp_path, 1)
    assert fingerprint(module, [models.recipe(3)], tmp_path, 1) == first
    found = [
        first,
        fingerprint(module, [models.recipe(4)], tmp_path, 1),
        fingerprint(module, [models.recipe(3)], tmp_path, 2),
    ]
    module.rest.requires_grad_(True)
    found.append(fingerprint(module, [models.recipe(3)], tmp_path, 1))
    with torch.no_grad():
        module.rest.bias.add_(1)
    found.append(fingerprint(module, [models.recipe(3)], tmp_path, 1))
    (tmp_path / "shard").write_bytes(b"pixelS")
    found.append(fingerprint(module, [models.recipe(3)], tmp_path, 1))
    assert len(set(found)) == len(found)


def test_a_place_that_is_shared_keeps_the_runs_of_others_for_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLP_CHECKPOINTS", str(tmp_path))
    (tmp_path / "pretrain" / "of a fold").mkdir(parents=True)
    (tmp_path / "pretrain" / "forgotten").mkdir()
    os.utime(tmp_path / "pretrain" / "forgotten", (1, 1))
    Checkpoints.of("pretrain", "mine")
    assert [each.name for each in (tmp_path / "pretrain").iterdir()] == ["of a fold"]
    Checkpoints.of("pretrain", "mine", root=tmp_path)  # a project's own
    assert not list((tmp_path / "pretrain").iterdir())
