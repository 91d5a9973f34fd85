"""Text-to-image generation: a picture of what this text says.

A picture is a ground and things on it, each a sprite out of a learned book and a box (``book``); a model tells it word
by word, led by the frozen, pre-trained text encoder (``prior``). Several candidates are drawn for each prompt and the
one is kept that the pre-trained matching head thinks truest. What is drawn is judged by a parser that knows none of
these models (``vlp.tasks.generation.parser``), where prompts speak of scenes.

Sources: text to layout to picture, Hong et al. 2018, https://arxiv.org/abs/1801.05091; the choice among candidates,
Ramesh et al. 2021, https://arxiv.org/abs/2102.12092; guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, pad, wordless
from vlp.models.features import TextFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING
from vlp.params import Section
from vlp.records import Batch
from vlp.runtime import sampling
from vlp.runtime.sampling import Told
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams
from vlp.tasks.generation import report
from vlp.tasks.generation.book import Book, Words, orders, sentence
from vlp.tasks.generation.graphs import export_parts
from vlp.tasks.generation.prior import Prior


class BookParams(Section):
    """``tasks.generation.book``."""

    sprites: int = Field(gt=0, description="that things are painted with")
    grounds: int = Field(gt=0, description="colours that a picture may have behind its things")
    things: int = Field(gt=0, description="at most, of one picture; of more regions some are drawn")
    size: int = Field(gt=0, description="pixels that a sprite is kept at, a side")
    pictures: int = Field(gt=0, description="of the train split that the book is made of")
    rounds: int = Field(gt=0, description="of k-means")


class Params(TaskParams):
    """``tasks.generation``."""

    book: BookParams
    width: int = Field(ge=8, multiple_of=8, description="of the model that tells pictures")
    layers: int = Field(gt=0, description="of attention")
    heads: int = Field(gt=0, description="of attention; a divisor of the width and of the text encoder's")
    captions_per_image: int = Field(gt=0, description="drawn a step, each told the same picture")
    orders: int = Field(gt=0, description="of a picture's things that are tried on a caption; the likeliest is learnt")
    described: float = Field(
        ge=0, lt=1, description="share of captions in whose place stand the expressions of some regions, in a row"
    )
    wordless: float = Field(
        gt=0, lt=1, description="share of captions whose words are taken away: what guidance leaves"
    )
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
    """A book and a prior beside a backbone that is left as it is."""

    params_class = Params
    name = "generation"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        book = params.book
        self.words = Words(book.sprites, book.grounds, prepared.image_size, book.things)
        self.book = Book(self.words, book.size)
        self.has_regions = bool(prepared.summary["splits"]["train"]["regions"])
        self.prior = Prior(
            self.words.legal(),
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

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Take pre-training's matching head, which chooses among candidates and strengths of guidance.

        Raises:
            ValueError: pre-training had none, and there is more than one of either to choose from.
        """
        if head := objectives.get("matching"):
            self.matching.load_state_dict({name: head[f"logit.{name}"] for name in ("weight", "bias")})
            return
        for name, several, one in (
            ("candidates", self.params.candidates > 1, "set candidates to 1"),
            ("guidance", len(self.params.guidance) > 1, "name one strength"),
        ):
            if several:
                raise ValueError(
                    f"tasks.generation.{name}: pre-training had no `matching` objective to choose among them with; "
                    f"add it under pretrain.objectives, or {one}"
                )

    @property
    def judges(self) -> bool:
        """Whether there is a head that anybody taught what matches: without one, every text is as true as not."""
        return bool(self.matching.weight.any())

    def prepare(self, train: Examples, seed: int) -> None:
        """Make the book of training pictures, evenly spread over the split.

        Raises:
            ValueError: as of ``Book.fit``, or no record of a split that is judged has a caption.
        """
        for split in self._judged():
            self._rows_with("captions", split)
        book = self.params.book
        rows = np.unique(np.linspace(0, len(train) - 1, min(book.pictures, len(train))).astype(np.int64)).tolist()
        masks, _ = self._regions(train, rows)
        self.book.fit(train.images(rows), masks, rounds=book.rounds, seed=seed)

    def _regions(self, examples: Examples, rows: Sequence[int]) -> tuple[Tensor, list[list[TokenIds | None]]]:
        """All regions of each row.

        Where no record of the data has a region, each picture is one thing, all of it.

        Returns:
            Their masks, empty where there are fewer, bool [B, M, S, S], M at least 1; their expressions.
        """
        side = self.words.side
        known: list[list[tuple[np.ndarray, TokenIds | None]]] = []
        for row in rows:
            if self.has_regions:
                pairs = zip(examples.masks(row), examples.ids("regions", "ids", row), strict=True)
                known.append([(mask, text) for mask, text in pairs if mask.any()])
            else:
                known.append([(np.ones((side, side), bool), None)])
        masks = np.zeros((len(rows), max(1, *map(len, known)), side, side), bool)
        for place, regions in enumerate(known):
            for number, (mask, _) in enumerate(regions):
                masks[place, number] = mask
        return torch.from_numpy(masks), [[text for _, text in regions] for regions in known]

    def train(self, mode: bool = True) -> Self:
        """The prior only: the backbone's norms and dropout stay as in use."""
        super().train(mode)
        self.model.eval()
        return self

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``caption``: captions of each image, a share of them without their words; targets ``regions``, the masks of
        each image bool [B, M, S, S], and ``orders``, in which each caption may tell them, int64 [N, orders, things].

        An image whose things nobody has outlined is no bare ground: it has no captions here.
        """
        regions, expressions = self._regions(examples, rows)
        nothing, things, tried = regions.shape[1], self.words.things, self.params.orders
        texts: list[TokenIds] = []
        owner: list[int] = []
        told: list[np.ndarray] = []
        for place, row in enumerate(rows):
            said = expressions[place]
            ids = examples.ids("captions", "ids", row) if said else []
            for chosen in draw(len(ids), self.params.captions_per_image, rng):
                text = ids[chosen]
                assert text is not None
                order = orders(len(said), things, tried, nothing, rng)
                if rng.random() < self.params.described:
                    text, order = self._described(said, order[0], rng) or (text, order)
                texts.append(wordless(text) if rng.random() < self.params.wordless else text)
                owner.append(place)
                told.append(order)
        padded = pad(texts, owner, self.prepared.pad_id)
        shape = (len(told), tried, things)
        targets = {"regions": regions, "orders": torch.from_numpy(np.array(told, np.int64).reshape(shape))}
        return Batch(images=examples.images(rows), texts={"caption": padded}, targets=targets)

    def _described(
        self, expressions: list[TokenIds | None], order: np.ndarray, rng: np.random.Generator
    ) -> tuple[TokenIds, np.ndarray] | None:
        """The expressions of the first regions of ``order``, one or more, as one text, and that order alone.

        Which word belongs to which thing is what captions of several things teach slowly; here it is plain.
        """
        longest = self.model.text_encoder.max_positions
        text: TokenIds | None = None
        for number in order[: rng.integers(1, len(order) + 1)]:
            more = expressions[number] if number < len(expressions) else None
            if more is None or (text is not None and len(text) + len(more) - 2 > longest):
                break
            text = more if text is None else np.concatenate([text[:-1], more[1:]])
        return None if text is None else (text, np.repeat(order[None], self.params.orders, axis=0))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """What each word of a picture costs, given those before it: nats.

        A picture's things have no order of their own, so each caption is told them in the one that the model finds
        likeliest by now: those first that it speaks of, as it turns out. Told in any order, a thing is as likely as
        not one that no word of the caption is about, and what the caption says of two things is hardly learnt.

        Source: Vinyals, Bengio & Kudlur 2016, Order Matters, https://arxiv.org/abs/1511.06391
        """
        texts, order_NOT = batch.texts["caption"], batch.targets["orders"]
        if not len(texts.input_ids):  # none of these images has a caption or a region
            return {NOTHING: self._nothing()}
        with torch.no_grad():
            text = self.model.encode_text(texts.input_ids, texts.attention_mask).tokens
            with torch.autocast(batch.images.device.type, enabled=False):
                ground, things = self.book.encode(batch.images, batch.targets["regions"])
            ground, things = ground[texts.image_index], things[texts.image_index]
            tried = torch.stack([sentence(ground, things, order) for order in order_NOT.unbind(1)], 1)  # [N, O, P]
            words = self._likeliest(tried, text, texts.attention_mask) if tried.shape[1] > 1 else tried[:, 0]
        logits = self.prior(words, text, texts.attention_mask)
        return {"word_loss": F.cross_entropy(logits.flatten(0, 1), words.flatten())}

    def _likeliest(self, tried: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
        """Of the sentences int64 [N, O, P] about each text the one that the prior would sooner have told: [N, P]."""
        count, times, _ = tried.shape
        memory = self.prior.read(text, attention_mask)
        memory = [(key.repeat_interleave(times, 0), value.repeat_interleave(times, 0)) for key, value in memory]
        flat = tried.flatten(0, 1)
        logits = self.prior.told(flat, memory, attention_mask.repeat_interleave(times, 0))
        cost = F.cross_entropy(logits.transpose(1, 2), flat, reduction="none").sum(1).unflatten(0, (count, times))
        return tried[torch.arange(count, device=tried.device), cost.argmin(1)]

    @torch.inference_mode()
    def draw(self, texts: Sequence[TokenIds], seeds: Sequence[int], *, candidates: int, guidance: float) -> Drawn:
        """Pictures of texts.

        Args:
            texts: token ids of M prompts.
            seeds: of each one's noise.
            candidates: of each prompt.
            guidance: as of ``vlp.runtime.sampling.tell``.
        """
        self.eval()
        at_once = max(1, self.params.evaluation_batch_size // candidates)
        pictures: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        for start in range(0, len(texts), at_once):
            some = texts[start : start + at_once]
            words = self.tell(some, seeds[start : start + at_once], candidates=candidates, guidance=guidance)
            found = sampling.pixels(self.book.paint(torch.from_numpy(words)).numpy())
            pictures.append(found.reshape(len(some), candidates, *found.shape[1:]))
            told = self._tokens(some, candidates)
            logits.append(self.match(torch.from_numpy(found), *told).numpy().reshape(len(some), candidates))
        return Drawn(np.concatenate(pictures), np.concatenate(logits))

    @torch.inference_mode()
    def tell(self, texts: Sequence[TokenIds], seeds: Sequence[int], *, candidates: int, guidance: float) -> np.ndarray:
        """The words of pictures, int64 [M · candidates, P]. Args as of ``draw``."""
        told = self.told(texts, candidates)
        untold = None if guidance == 1 else self.told([wordless(text) for text in texts], candidates)
        noise = sampling.noise(seeds, candidates, self.words.places, self.words.count)
        return sampling.tell(self.step, told, untold, noise, guidance=guidance)

    @torch.inference_mode()
    def told(self, texts: Sequence[TokenIds], times: int = 1) -> Told:
        """What the prior read of each text, ``times`` times."""
        tokens, mask = self._tokens(texts, times)
        keys, values = self.prior.reading(tokens, mask)
        return Told(keys.numpy(), values.numpy(), mask.numpy())

    @torch.inference_mode()
    def step(self, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One place, as of ``vlp.runtime.sampling.Step``."""
        tensors = {name: torch.from_numpy(array) for name, array in known.items()}
        found = self.prior.step(**tensors)
        return {name: tensor.numpy() for name, tensor in zip(("logits", "key", "value"), found, strict=True)}

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

    @torch.inference_mode()
    def judge(self, pictures: np.ndarray, text: TokenIds) -> np.ndarray:
        """Logits float32 [N] of the matching head that a text is true of each of these pictures, uint8 [N, S, S, 3]."""
        return self.match(torch.from_numpy(pictures), *self._tokens([text], len(pictures))).numpy()

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the guidance whose pictures the matching head thinks truest, on prompts of the validation split."""
        prompts = report.prompts(validation, self.params.calibration_prompts)
        seeds = [seed + number for number in range(len(prompts))]
        found = {
            strength: self.draw(
                [prompt.ids for prompt in prompts], seeds, candidates=1, guidance=strength
            ).logits.mean()
            for strength in (self.params.guidance if len(self.params.guidance) > 1 else ())
        }
        best = max(found, key=lambda strength: float(found[strength])) if found else self.params.guidance[0]
        self.decision = {
            "guidance": best,
            "candidates": self.params.candidates,
            "places": self.words.places,
            "words": self.words.count,
        }

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """What share of the pictures the parser and the oracle call true to their prompt, beside real pictures.

        And how true the matching head of pre-training thinks them, where there was one.
        """
        prompts = report.prompts(test, self.params.prompts)
        ids = [prompt.ids for prompt in prompts]
        seeds = [seed + number for number in range(len(prompts))]
        how = {name: self.decision[name] for name in ("guidance", "candidates")}
        drawn = self.draw(ids, seeds, **how)
        # Another record's picture for each prompt: what chance gives.
        rows, other = [prompt.row for prompt in prompts], report.others(len(prompts), seed)
        real = {"true": test.images(rows), "random": test.images([rows[place] for place in other])}
        with torch.inference_mode():
            text = self._tokens(ids, 1)
            scores = {name: self.match(images, *text).sigmoid().numpy() for name, images in real.items()}
        scores |= {"drawn": report.sigmoid(drawn.logits.max(1)), "first": report.sigmoid(drawn.logits[:, 0])}
        return report.evaluation(
            test,
            prompts,
            report.Pictures(
                drawn.kept, drawn.pictures[:, 0], {name: images.numpy() for name, images in real.items()}, other
            ),
            scores if self.judges else {},
            how,
            seed=seed,
            resamples=resamples,
        )

    def export_parts(self) -> dict[str, ExportPart]:
        """``text``, ``step``, ``paint`` and ``match``: as of ``vlp.tasks.generation.graphs``."""
        return export_parts(self)
