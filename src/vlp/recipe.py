"""The recipe of one training run: how long, how fast, how precise, and what it starts from. Free of torch, so that
tasks can hold one.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vlp.params import Section

Part = Literal["image_encoder", "text_encoder", "fusion"]
Share = Annotated[float, Field(gt=0, le=1)]


class Recipe(Section):
    """``pretrain.training`` and ``tasks.<name>.training``."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="images a step, over all processes")
    learning_rate: float = Field(gt=0, description="at the top of the schedule")
    rates: dict[Part, Share] = Field(
        default={}, description="of a part of the backbone, in parts of learning_rate; 1 where it is not named"
    )
    warmup_share: float = Field(ge=0, lt=1, description="of the steps, from zero to the top")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(ge=0, description="of matrices; never of biases, norms and embeddings")
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="muon: for the matrices of stacked layers, AdamW for the rest: fewer steps from random weights",
    )
    matrix_rate: float = Field(default=1.0, gt=0, description="of what muon changes, in parts of learning_rate")
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_clip: float = Field(gt=0, description="of the global norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor multiplies it in hardware"
    )
    workers: int = Field(ge=0, default=0, description="processes that build batches; 0: a thread, two batches ahead")
    log_every: int = Field(gt=0, default=50, description="steps between two rows of the curve")
    save_every: int = Field(ge=0, default=200, description="steps between two checkpoints; 0: none")
    accumulate: int = Field(
        gt=0,
        default=1,
        description="parts that each process takes its share of a batch in, for less memory; a contrastive loss has "
        "the negatives of one part",
    )
    recompute: bool = Field(
        default=False, description="keep no activations inside blocks, compute them again in the backward pass"
    )
    compile: bool = Field(default=False, description="torch.compile; pays on a GPU after some minutes")
    shard: bool = Field(
        default=False, description="with several processes: weights and optimiser states in parts (FSDP), not copies"
    )

    @model_validator(mode="after")
    def _whole_matrices(self) -> Self:
        if self.optimizer == "muon" and self.shard:
            raise ValueError("optimizer muon needs whole matrices, which shard cuts: set one of the two otherwise")
        return self


class LoraParams(Section):
    """``tasks.<name>.transfer.lora``: what is learnt of a matrix of attention is a product of two thin ones.

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685
    """

    rank: int = Field(gt=0, default=8, description="columns of the thin matrices")
    alpha: int = Field(gt=0, default=16, description="their product counts alpha / rank")


class TransferParams(Section):
    """``tasks.<name>.transfer``: how much of what was learnt before is kept. By default all of it is learnt further."""

    start: str = Field(
        default="pretrained",
        min_length=1,
        description="pretrained: what the stage pretrain left; scratch: random; else the folder of a backbone that "
        "save_pretrained wrote, or hub:owner/name",
    )
    freeze: tuple[Part, ...] = Field(default=(), description="parts of the backbone that stay as they are")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="a layer's learning rate is that of the layer above times this"
    )
    lora: LoraParams | None = Field(
        default=None, description="of the backbone learn only this much, in attention; all else of it stays"
    )
