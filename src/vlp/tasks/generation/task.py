"""Text-to-image generation: a picture of what this text says.

A flow from noise to pixels, led by the frozen, pre-trained text encoder. Several candidates are drawn for each prompt
and the one is kept that the pre-trained matching head thinks truest, as DALL·E did with CLIP. What is drawn is judged
by a parser that knows none of these models (``vlp.tasks.generation.parser``), where prompts speak of scenes.

Sources: flow matching, Lipman et al. 2022, https://arxiv.org/abs/2210.02747; rectified flow, Liu et al. 2022,
https://arxiv.org/abs/2209.03003; guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598; the choice among
candidates, Ramesh et al. 2021, https://arxiv.org/abs/2102.12092
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, pad
from vlp.models.features import TextFeatures
from vlp.models.modeling import VLPModel
from vlp.records import Batch
from vlp.runtime import sampling
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams
from vlp.tasks.generation import report
from vlp.tasks.generation.flow import Velocity, left


class Params(TaskParams):
    """``tasks.generation``."""

    patch: int = Field(gt=0, description="pixels that a place of the flow's finer size is wide")
    width: int = Field(ge=8, multiple_of=8, description="channels at the finer size, twice as many at the coarser one")
    layers: int = Field(gt=0, description="at either size")
    heads: int = Field(gt=0, description="of the attention at the coarser size; a divisor of twice the width")
    captions_per_image: int = Field(gt=0, description="drawn a step, each with its own noise and time")
    wordless: float = Field(gt=0, lt=1, description="share of the captions taken away: what guidance departs from")
    time_mean: float = Field(description="of the times' logit in training; below zero, more noise than data")
    steps: int = Field(gt=0, description="Euler steps from noise to picture")
    guidance: tuple[float, ...] = Field(min_length=1, description="strengths that validation chooses from")
    candidates: int = Field(gt=0, description="drawn for each prompt; the matching head keeps one")
    prompts: int = Field(gt=0, description="captions of the test split, one a record, that are drawn and judged")
    calibration_prompts: int = Field(gt=0, description="captions of the validation split")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures of M prompts, uint8 [M, candidates, S, S, 3], and the logits of the matching head, [M, candidates]."""

    pictures: np.ndarray
    logits: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """The truest candidate of each prompt, uint8 [M, S, S, 3]."""
        return np.asarray(self.pictures[np.arange(len(self.pictures)), self.logits.argmax(1)])


class Task(base.Task):
    """A flow beside a backbone that is left as it is."""

    params_class = Params
    name = "generation"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.velocity = Velocity(
            size=prepared.image_size,
            patch=params.patch,
            text_width=model.text_width,
            width=params.width,
            layers=params.layers,
            heads=params.heads,
        )
        self.matching = nn.Linear(model.fused_width, 1)
        nn.init.zeros_(self.matching.weight)
        nn.init.zeros_(self.matching.bias)
        self.model.requires_grad_(False)
        self.matching.requires_grad_(False)

    def warm_start(self, objectives: dict[str, dict[str, Tensor]]) -> None:
        """Take pre-training's matching head, which chooses among candidates.

        Raises:
            ValueError: pre-training had none, and there is more than one candidate to choose from.
        """
        if head := objectives.get("matching"):
            self.matching.load_state_dict({name: head[f"logit.{name}"] for name in ("weight", "bias")})
        elif self.params.candidates > 1:
            raise ValueError(
                "tasks.generation.candidates: pre-training had no `matching` objective to choose among them with; "
                "add it under pretrain.objectives, or set candidates to 1"
            )

    def train(self, mode: bool = True) -> Self:
        """The flow only: the backbone's norms and dropout stay as in use."""
        super().train(mode)
        self.model.eval()
        return self

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``caption``: captions of each image, a share of them without their words."""
        texts: list[TokenIds] = []
        owner: list[int] = []
        for place, row in enumerate(rows):
            ids = examples.ids("captions", "ids", row)
            for chosen in draw(len(ids), self.params.captions_per_image, rng):
                text = ids[chosen]
                assert text is not None
                texts.append(wordless(text) if rng.random() < self.params.wordless else text)
                owner.append(place)
        padded = pad(texts, owner, self.prepared.pad_id)
        return Batch(images=examples.images(rows), texts={"caption": padded}, targets={})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The mean square of what the velocity misses."""
        texts = batch.texts["caption"]
        with torch.no_grad():
            text = self.model.encode_text(texts.input_ids, texts.attention_mask).tokens
            data = colours(batch.images).index_select(0, texts.image_index)
        noise = torch.randn_like(data)
        times = torch.sigmoid(self.params.time_mean + torch.randn(len(data), device=data.device))
        t = times[:, None, None, None]
        points = t * data + (1 - t) * noise
        found = self.velocity.picture(points, times, text, texts.attention_mask)
        # Of the velocity: what is missed of the picture, the more telling the less time is left.
        return {"flow_loss": ((found - data) / left(times)).square().mean()}

    @torch.inference_mode()
    def draw(
        self, texts: Sequence[TokenIds], seeds: Sequence[int], *, candidates: int, guidance: float, steps: int
    ) -> Drawn:
        """Pictures of texts.

        Args:
            texts: token ids of M prompts.
            seeds: of each one's noise.
            candidates: of each prompt.
            guidance: as of ``vlp.runtime.sampling.euler``.
            steps: likewise.
        """
        self.eval()
        at_once = max(1, self.params.evaluation_batch_size // candidates)
        pictures: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        for start in range(0, len(texts), at_once):
            some = texts[start : start + at_once]
            points = self.flow(
                some, seeds[start : start + at_once], candidates=candidates, guidance=guidance, steps=steps
            )
            found = sampling.pixels(points)
            pictures.append(found.reshape(len(some), candidates, *found.shape[1:]))
            told = self._tokens(some, candidates)
            logits.append(self.match(torch.from_numpy(found), *told).numpy().reshape(len(some), candidates))
        return Drawn(np.concatenate(pictures), np.concatenate(logits))

    @torch.inference_mode()
    def flow(
        self, texts: Sequence[TokenIds], seeds: Sequence[int], *, candidates: int, guidance: float, steps: int
    ) -> np.ndarray:
        """Where the flow ends, float32 [M · candidates, 3, S, S]. Args as of ``draw``."""
        sides = [self._tokens(group, candidates) for group in (texts, [wordless(text) for text in texts])]

        def velocity(points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            place = torch.from_numpy(points).contiguous(memory_format=torch.channels_last)
            told, untold = (self.velocity(place, torch.from_numpy(times), *side).numpy() for side in sides)
            return told, untold

        size = self.prepared.image_size
        noise = sampling.noise(seeds, candidates, (3, size, size))
        return sampling.euler(velocity, noise, steps=steps, guidance=guidance)

    def _tokens(self, texts: Sequence[TokenIds], times: int) -> tuple[Tensor, Tensor]:
        """The text encoder's tokens [N · times, L, Dt] and their mask, each text's rows together."""
        padded = pad(texts, list(range(len(texts))), self.prepared.pad_id)
        tokens = self.model.encode_text(padded.input_ids, padded.attention_mask).tokens
        return tokens.repeat_interleave(times, dim=0), padded.attention_mask.repeat_interleave(times, dim=0)

    def match(self, images: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits float32 [N] of pre-training's matching head: above zero, the more likely is the text true.

        Args:
            images: uint8 [N, S, S, 3].
            text: tokens of the text encoder, [N, L, Dt].
            attention_mask: int64 [N, L].
        """
        features = TextFeatures(tokens=text, pooled=text[:, 0])
        fused = self.model.fuse(features, attention_mask, self.model.encode_image(images))
        return self.matching(fused.pooled).squeeze(-1).float()

    def matching_score(self, images: Tensor, texts: Sequence[TokenIds]) -> float:
        """Mean probability by the matching head that each text is true of its picture, uint8 [N, S, S, 3]."""
        return float(self.match(images, *self._tokens(texts, 1)).sigmoid().mean())

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the guidance whose pictures the matching head thinks truest, on prompts of the validation split."""
        prompts = report.prompts(validation, self.params.calibration_prompts)
        seeds = [seed + number for number in range(len(prompts))]
        found = {
            strength: self.draw(
                [prompt.ids for prompt in prompts], seeds, candidates=1, guidance=strength, steps=self.params.steps
            ).logits.mean()
            for strength in (self.params.guidance if len(self.params.guidance) > 1 else ())
        }
        best = max(found, key=lambda strength: float(found[strength])) if found else self.params.guidance[0]
        self.decision = {"guidance": best, "steps": self.params.steps, "candidates": self.params.candidates}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """What share of the pictures the parser and the oracle call true to their prompt, beside real pictures."""
        prompts = report.prompts(test, self.params.prompts)
        ids = [prompt.ids for prompt in prompts]
        seeds = [seed + number for number in range(len(prompts))]
        drawn = self.draw(ids, seeds, **self.decision)
        # Another record's picture for each prompt: what chance gives.
        rows = [prompt.row for prompt in prompts]
        real = {"true": test.images(rows), "random": test.images([*rows[1:], *rows[:1]])}
        with torch.inference_mode():
            text = self._tokens(ids, 1)
            scores = {name: self.match(images, *text).sigmoid().numpy() for name, images in real.items()}
        return report.evaluation(
            test,
            prompts,
            report.Pictures(drawn.kept, drawn.pictures[:, 0], {name: images.numpy() for name, images in real.items()}),
            scores | {"drawn": report.sigmoid(drawn.logits.max(1)), "first": report.sigmoid(drawn.logits[:, 0])},
            self.decision,
            seed=seed,
            resamples=resamples,
        )

    def export_parts(self) -> dict[str, ExportPart]:
        """``text``: N texts to tokens; ``step``: N points and texts to velocities; ``match``: N pictures and texts."""
        self.eval()
        size = self.prepared.image_size
        ids = torch.full((2, 8), self.prepared.mask_id, dtype=torch.int64)
        mask = torch.ones_like(ids)
        with torch.no_grad():
            tokens = self.model.encode_text(ids, mask).tokens
        text = {0: "texts", 1: "length"}
        told = {"text_tokens": tokens, "attention_mask": mask}
        rows = {0: "texts"}
        return {
            "text": ExportPart(
                module=_Text(self.model),
                inputs={"input_ids": ids, "attention_mask": mask},
                dynamic={"input_ids": text, "attention_mask": text},
                outputs=("text_tokens",),
            ),
            "step": ExportPart(
                module=self.velocity,
                inputs={"points": torch.zeros(2, 3, size, size), "times": torch.full((2,), 0.5), **told},
                dynamic={"points": rows, "times": rows, "text_tokens": text, "attention_mask": text},
                outputs=("velocity",),
            ),
            "match": ExportPart(
                module=_Match(self),
                inputs={"images": torch.zeros(2, size, size, 3, dtype=torch.uint8), **told},
                dynamic={"images": rows, "text_tokens": text, "attention_mask": text},
                outputs=("logit",),
            ),
        }


class _Text(nn.Module):
    def __init__(self, model: VLPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.encode_text(input_ids, attention_mask).tokens


class _Match(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        return self.task.match(images, text_tokens, attention_mask)


def wordless(ids: TokenIds) -> TokenIds:
    """The text with nothing between its first and last token, which open and close every text."""
    return ids[[0, -1]]


def colours(images: Tensor) -> Tensor:
    """float32 [B, 3, S, S], −1 to 1, of uint8 [B, S, S, 3]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
