"""How well each caption fits its own image, by the matching head that pre-training leaves.

The pre-trained model judges the data that it came from: what most pairs agree on contradicts the few that are wrong.

Source: Li et al. 2022, BLIP (CapFilt's filter), https://arxiv.org/abs/2201.12086
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from vlp.data.loading import Examples, Prepared, TokenIds, in_order, pad
from vlp.models.modeling import VLPModel
from vlp.progress import track

IMAGES_AT_ONCE = 64

Score = Callable[[Examples, np.ndarray, Sequence[TokenIds]], np.ndarray]
"""Split, int64 [M] rising rows, M texts → float64 [M]: the higher, the more likely true of the row's image."""


class ScoringError(ValueError):
    """The model cannot judge pairs."""


def scorer(pretrained: Path, prepared: Prepared) -> Score:
    """The judge of pairs of ``prepared`` that ``pretrained`` is.

    Args:
        pretrained: what the pretrain stage wrote.
        prepared: what it was trained on, or data prepared with its tokenizer.

    Raises:
        ScoringError: it was not pre-trained to match, or on data with another vocabulary or image size.
    """
    head = pretrained / "objectives" / "matching.safetensors"
    if not head.is_file():
        raise ScoringError(f"{head}: no such file; pre-train with the objective matching: dvc repro pretrain")
    model = VLPModel.from_pretrained(pretrained)
    for what, ours, theirs in (
        ("vocabulary_size", prepared.vocabulary_size, model.config.vocab_size),
        ("image_size", prepared.image_size, model.config.image_size),
    ):
        if ours != theirs:
            raise ScoringError(f"{pretrained}: {what} is {theirs}, of {prepared.folder} it is {ours}; pre-train on it")
    logit = nn.Linear(model.fused_width, 1)
    own = {name.removeprefix("logit."): value for name, value in load_file(head).items() if name.startswith("logit.")}
    logit.load_state_dict(own)
    return _Judge(model.eval(), logit.eval(), prepared.pad_id)


class _Judge:
    def __init__(self, model: VLPModel, logit: nn.Linear, pad_id: int) -> None:
        self.model, self.logit, self.pad_id = model, logit, pad_id

    @torch.inference_mode()
    def __call__(self, examples: Examples, rows: np.ndarray, texts: Sequence[TokenIds]) -> np.ndarray:
        found = np.empty(len(texts))
        for plan in track(in_order(len(examples), IMAGES_AT_ONCE), f"batches of {examples.split} judged"):
            first, last = np.searchsorted(rows, [plan.rows[0], plan.rows[-1] + 1])
            if first == last:
                continue
            some = pad(texts[first:last], (rows[first:last] - plan.rows[0]).tolist(), self.pad_id)
            image = self.model.encode_image(examples.images(plan.rows)).index(some.image_index)
            text = self.model.encode_text(some.input_ids, some.attention_mask)
            fused = self.model.fuse(text, some.attention_mask, image)
            found[first:last] = self.logit(fused.pooled).squeeze(-1).double().numpy()
        return found
