"""The recipe of one training run: how long, how fast, how precise. Free of torch, so that tasks can hold one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vlp.params import Section


class Recipe(Section):
    """``pretrain.training`` and ``tasks.<name>.training``."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="images a step, over all processes")
    learning_rate: float = Field(gt=0, description="at the top of the schedule")
    warmup_share: float = Field(ge=0, lt=1, description="of the steps, from zero to the top")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(ge=0, description="of matrices; never of biases, norms and embeddings")
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_clip: float = Field(gt=0, description="of the global norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor multiplies it in hardware"
    )
    workers: int = Field(ge=0, default=0, description="processes that build batches")
    log_every: int = Field(gt=0, default=50, description="steps between two rows of the curve")
