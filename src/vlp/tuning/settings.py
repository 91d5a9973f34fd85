"""``tuning.yaml``: what is searched, a section a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vlp.params import Section, load_section

SETTINGS_FILE = Path("tuning.yaml")


class Dimension(Section):
    """One parameter's values: a range, or a few to choose from."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = Field(default=False, description="equal chances for equal ratios")
    choices: tuple[str | int | float | bool | None, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log wants a low above 0")
        return self

    def ask(self, trial: Any, name: str) -> Any:
        """A value, by Optuna's ``trial``; whole where both ends are."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class SearchParams(Section):
    """One task's search."""

    metric: str = Field(default="loss", description="a key of validation in metrics/finetune/<task>.json")
    direction: Literal["minimize", "maximize"] = Field(
        default="minimize", description="to be said of every metric but a loss"
    )
    trials: int = Field(gt=0, default=20, description="that end, pruned ones included")
    before_pruning: int = Field(ge=0, default=4, description="trials that run to their end before any is stopped early")
    warm_up: int = Field(ge=0, default=0, description="steps of a trial after which it may be stopped")
    seed: int = 0
    space: dict[str, Dimension] = Field(min_length=1, description="dotted name in params.yaml → values")

    @model_validator(mode="after")
    def _which_way_is_better(self) -> Self:
        if "direction" not in self.model_fields_set and not f"_{self.metric}".endswith("_loss"):
            # By default it would search for the worst accuracy, and --apply would write that down.
            raise ValueError(f"metric: {self.metric} is no loss: say direction, maximize or minimize")
        return self

    @model_validator(mode="after")
    def _not_its_own_measure(self) -> Self:
        weights = [name for name in self.space if name.endswith(("_weight", ".weight"))]
        if self.metric == "loss" and weights:
            raise ValueError(
                f"metric: loss is a sum that {', '.join(weights)} weighs, so that the smallest weight would win: name "
                "another figure of validation"
            )
        return self


def load(task: str, path: Path) -> SearchParams:
    """The section of ``task``.

    Raises:
        ParamsError: there is none, or it says what cannot be; one line a mistake.
    """
    return load_section(task, SearchParams, path)
