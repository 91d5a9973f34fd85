"""The loop: named losses are summed once, nothing is silently unused, and the same seed gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from support.models import recipe
from vlp.records import Batch
from vlp.training import engine
from vlp.training.checkpoints import Checkpoints
from vlp.training.engine import total_loss
from vlp.training.launch import TrainingError, precision
from vlp.training.loop import average, fit
from vlp.training.resume import Run


class Line(nn.Module):
    """Fits y = 2x; the tiniest thing the loop can train."""

    def __init__(self, *, spare: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))
        if spare:
            self.spare = nn.Linear(1, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.targets["x"]
        loss = ((x @ self.weight - 2 * x) ** 2).mean()
        return {"line_loss": loss, "error": loss.detach().sqrt()}


def batches(count: int) -> DataLoader[Batch]:
    generator = torch.Generator().manual_seed(1)
    made = [
        Batch(images=torch.zeros(4, 1), texts={}, targets={"x": torch.rand(4, 1, generator=generator) + 0.5})
        for _ in range(count)
    ]
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


def test_the_loss_falls_and_the_curve_says_so() -> None:
    line = Line()
    history = fit(line, batches(60), recipe(60, learning_rate=0.2, schedule="constant", weight_decay=0.0))
    assert float(line.weight.detach()) == pytest.approx(2, abs=0.1)
    assert [row["step"] for row in history.rows] == list(range(5, 61, 5))
    assert history.rows[-1]["line_loss"] < history.rows[0]["line_loss"] / 50
    assert history.examples == 59 * 4 and history.examples_per_second > 0


def test_the_same_seed_gives_the_same_bits() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        line = Line()
        fit(line, batches(10), recipe(10))
        weights.append(line.weight.detach().clone())
    assert torch.equal(*weights)


def test_the_learning_rate_rises_and_falls_as_the_schedule_says() -> None:
    rows = fit(Line(), batches(20), recipe(20, warmup_share=0.25, log_every=1)).rows
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == 0
    assert max(rates) == rates[5] == pytest.approx(3e-3)
    assert rates[6:] == sorted(rates[6:], reverse=True)


def test_a_parameter_that_no_loss_uses_is_an_error_that_names_it() -> None:
    with pytest.raises(TrainingError, match=r"2 parameters get no gradient.*spare\.weight, spare\.bias"):
        fit(Line(spare=True), batches(1), recipe(1))


def test_a_loss_that_is_no_number_stops_the_run_and_says_which() -> None:
    with pytest.raises(TrainingError, match=r"step 7: the loss is not a finite number .*b_loss=nan"):
        total_loss({"a_loss": torch.tensor(1.0), "b_loss": torch.tensor(float("nan"))}, {}, step=7)


class Failing(Line):
    """Gives another loss, or a loss of another gradient, from the step ``at`` on."""

    def __init__(self, at: int, *, loss: float = 0.0, gradient: float = 0.0) -> None:
        super().__init__()
        self.calls, self.at, self.loss, self.gradient = 0, at, loss, gradient

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        found = super().forward(batch)["line_loss"]
        if self.calls > self.at:
            found = found + self.loss
            found.register_hook(lambda gradient: gradient + self.gradient)
        return {"line_loss": found}


@pytest.fixture
def looks_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, but for the first step."""
    real = engine.total_loss

    def unchecked(scalars: Any, weights: Any, step: int, *, check: bool) -> Tensor:
        return real(scalars, weights, step, check=check and step == 0)

    monkeypatch.setattr(engine, "total_loss", unchecked)


@pytest.mark.usefixtures("looks_seldom")
def test_a_loss_that_is_no_number_between_two_looks_of_a_gpu_ends_the_run_with_the_row() -> None:
    with pytest.raises(TrainingError, match=r"step 19: the loss is not a finite number \(line_loss=nan\)"):
        fit(Failing(17, loss=float("nan")), batches(20), recipe(20, log_every=10))
    with pytest.raises(TrainingError, match="step 4: the loss is not a finite number"):
        fit(Failing(3, loss=float("inf")), batches(7), recipe(7, log_every=5))


@pytest.mark.usefixtures("looks_seldom")
def test_nothing_that_is_no_number_is_kept_in_a_checkpoint(tmp_path: Path) -> None:
    for failing, said in (
        (Failing(2, loss=float("nan")), "step 3: the loss is not a finite number"),
        (Failing(3, gradient=float("nan")), "step 3: a weight is not a finite number"),
    ):
        with pytest.raises(TrainingError, match=said):
            fit(failing, batches(20), recipe(20, log_every=20, save_every=4), run=Run(Checkpoints(tmp_path)))
        assert Checkpoints(tmp_path).latest() is None


def test_weights_that_the_last_step_made_no_numbers_are_an_error() -> None:
    with pytest.raises(TrainingError, match=r"step 5: a weight is not a finite number; lower learning_rate"):
        fit(Failing(5, gradient=float("nan")), batches(6), recipe(6))


def test_only_what_ends_in_loss_is_summed_each_with_its_weight() -> None:
    scalars = {"a_loss": torch.tensor(2.0), "b_loss": torch.tensor(3.0), "accuracy": torch.tensor(100.0)}
    assert float(total_loss(scalars, {"b_loss": 0.5}, step=0)) == 3.5


def test_held_out_scalars_are_means_and_leave_the_module_as_it_is() -> None:
    line = Line()
    found = average(line, batches(3), recipe(1))
    expected = torch.stack([(2 * batch.targets["x"]).square().mean() for batch in batches(3)]).mean()
    assert found["line_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert float(line.weight.detach()) == 0 and line.weight.grad is None


def test_precision_is_what_was_asked_for() -> None:
    assert precision("fp32") == "no"
    assert precision("bf16") == "bf16"
    assert precision("auto") in ("no", "bf16")


def test_means_are_over_the_batches_that_can_tell() -> None:
    class Half(Line):
        """Tells its size of every second batch only."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, batch: Batch) -> dict[str, Tensor]:
            self.calls += 1
            found = super().forward(batch)
            return {**found, "size": torch.tensor(8.0)} if self.calls % 2 else found

    assert average(Half(), batches(4), recipe(1))["size"] == 8.0
    assert [row["size"] for row in fit(Half(), batches(4), recipe(4, log_every=2)).rows] == [8.0, 8.0]
