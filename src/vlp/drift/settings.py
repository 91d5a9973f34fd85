"""``drift``: how windows are cut, when one is violated, and when that is an incident."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vlp.params import Section


class DriftParams(Section):
    """``drift`` in ``params.yaml``."""

    records: int = Field(ge=100, description="of the test split: the reference")
    window: int = Field(ge=50, description="requests that are compared with the reference at a time")
    level: float = Field(gt=0, lt=0.5, description="share of windows without drift that may be violated")
    effect: float = Field(ge=0, lt=1, description="least distance of two distributions that counts, 0 to 1")
    violated: int = Field(ge=1, description="violated windows among the last that make an incident")
    last: int = Field(ge=1, description="windows that are looked back at; when none is violated an incident is over")
    trials: int = Field(ge=20, description="windows of reference data that the false alarms are measured on")

    @model_validator(mode="after")
    def _violated_among_last(self) -> Self:
        if self.violated > self.last:
            raise ValueError(f"violated: {self.violated} windows of the last {self.last} cannot be violated")
        return self
