"""Captioning: what does the picture show, in words?

A causal language model (``vlp.tasks.captioning.decoder``) is trained on every caption of the data, token by token, and
writes from [CLS] until [SEP]. Which of the many true things it says of a picture is its own choice.

Source: Vinyals et al. 2015, https://arxiv.org/abs/1411.4555
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from vlp.data.loading import Examples, Prepared, TokenIds, draw, in_order, pad
from vlp.data.slices import object_counts, word_counts
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.params import Section
from vlp.preprocessing.text import decode, load_tokenizer, words
from vlp.records import Batch
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams
from vlp.tasks.captioning import baselines, bleu, faithful
from vlp.tasks.captioning.cider import Cider
from vlp.tasks.captioning.decoder import Decoder, DecoderParams
from vlp.tasks.captioning.graphs import export_parts
from vlp.tasks.captioning.warm_start import from_backbone

IGNORE = -100
NEAREST_AMONG = 2000  # training images that the retrieval baseline embeds


class DecodingParams(Section):
    """``tasks.captioning.decoding``: how evaluation decodes. An exported bundle decodes greedily."""

    strategy: Literal["greedy", "beam", "nucleus"] = "greedy"
    beams: int = Field(4, gt=1, description="of beam search")
    top_p: float = Field(0.9, gt=0, le=1, description="of nucleus sampling")
    temperature: float = Field(1.0, gt=0, description="of nucleus sampling")

    @model_validator(mode="after")
    def _of_the_strategy(self) -> Self:
        others = {"beams": "beam", "top_p": "nucleus", "temperature": "nucleus"}
        for name, strategy in others.items():
            if self.strategy != strategy and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name}: it is of strategy {strategy}, and means nothing to {self.strategy}: leave it"
                )
        return self


GREEDY = DecodingParams()


class Params(TaskParams):
    """``tasks.captioning``."""

    captions_per_image: int = Field(gt=0, description="drawn a step")
    leave_out: tuple[str, ...] = Field(
        (),
        description="kinds of captions that are not learnt, where an image has others: denials are easy to make",
    )
    train_image_encoder: bool = Field(True, description="false: the decoder alone learns")
    decoder: DecoderParams
    decoding: DecodingParams = GREEDY


class Task(base.Task):
    """A decoder on the image encoder's grid; text encoder and fusion block lend their weights and rest."""

    params_class = Params
    name = "captioning"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.begin_id, self.end_id = prepared.summary["cls_id"], prepared.summary["sep_id"]
        self.longest: int = prepared.summary["max_tokens"]
        self._kinds: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.decoder = Decoder(
            params.decoder,
            prepared.vocabulary_size,
            self.longest,
            image_width=model.image_width,
            grid=model.grid,
        )
        model.requires_grad_(False)
        model.image_encoder.requires_grad_(params.train_image_encoder)
        if not params.train_image_encoder:
            self.resting.append(model.image_encoder)

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Start from the decoder that ``decoder.path`` names, else from the backbone's own blocks and words."""
        from_backbone(self.decoder, self.model)
        self.decoder.load_published(self.params.decoder, self.prepared.vocabulary_size)

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but each record is learnt from or judged, and what is left out is something.

        Raises:
            ValueError: records have no caption, or none is of a kind that is to be left out.
        """
        self._require_captions()
        self._require_kinds()

    def _require_kinds(self) -> None:
        splits = (self.prepared.split(name) for name in self.prepared.summary["splits"])
        known = sorted({str(kind) for split in splits for kind in set(self._kinds_of(split)[0].tolist()) if kind})
        for kind in self.params.leave_out:
            # Data that names no kinds has nothing to leave out, as the parameters of data that does may ask for.
            if known and kind not in known:
                near = difflib.get_close_matches(kind, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
                raise ValueError(f"tasks.captioning.leave_out: no caption of the data is of kind {kind!r}; {hint}")

    def _kinds_of(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """The kind of each caption of a split, read once, and where each record's begin, int64 [rows + 1]."""
        if examples.split not in self._kinds:
            flat = pc.list_flatten(examples.table["captions"])
            self._kinds[examples.split] = (
                np.array(pc.struct_field(flat, "kind").to_pylist()),
                np.concatenate([[0], np.cumsum(examples.lengths("captions"))]),
            )
        return self._kinds[examples.split]

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``caption``: what the decoder reads; ``targets`` int64 [N, L]: the token behind each, −100 on padding.

        Raises:
            ValueError: an image has no caption.
        """
        texts, owner = [], []
        for place, row in enumerate(rows):
            mine = self._learnt(examples, row)
            if not mine:
                raise ValueError(
                    f"{examples.folder}: record {examples.strings('id')[row]!r} has no caption to learn from: set "
                    "clean.min_captions to 1 or more"
                )
            chosen = draw(len(mine), self.params.captions_per_image, rng)
            texts += [mine[each] for each in chosen]
            owner += [place] * len(chosen)
        captions = pad([ids[:-1] for ids in texts], owner, self.prepared.pad_id)
        captions.targets = pad([ids[1:] for ids in texts], owner, IGNORE).input_ids
        return Batch(images=examples.images(rows), texts={"caption": captions}, targets={})

    def _learnt(self, examples: Examples, row: int) -> list[TokenIds]:
        """The captions of one image, those of the kinds that are left out only where it has no other."""
        mine = [ids for ids in examples.ids("captions", "ids", row) if ids is not None]
        if not self.params.leave_out:
            return mine
        kinds, start = self._kinds_of(examples)
        own = kinds[start[row] : start[row + 1]].tolist()
        return [ids for ids, kind in zip(mine, own, strict=True) if kind not in self.params.leave_out] or mine

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each token behind those before it."""
        texts = batch.texts["caption"]
        assert texts.targets is not None
        grid = self.model.image_encoder(batch.images).tokens
        logits = self.decoder(grid, texts.input_ids, texts.image_index).float()
        where = texts.targets != IGNORE
        return {
            "captioning_loss": F.cross_entropy(logits[where], texts.targets[where]),
            "token_accuracy": (logits[where].argmax(-1) == texts.targets[where]).float().mean(),
        }

    @property
    def never(self) -> list[int]:
        """Tokens that are no part of a caption: the special ones, [SEP] apart, which ends it."""
        return sorted(self.prepared.special_ids - {self.end_id})

    @torch.no_grad()
    def write(
        self,
        examples: Examples,
        *,
        decoding: DecodingParams | None = None,
        seed: int = 0,
        most: int | None = None,
        blank: bool = False,
    ) -> list[str]:
        """A caption of every image.

        Args:
            examples: the split.
            decoding: how; by default the task's own.
            seed: of nucleus sampling.
            most: only the first so many images.
            blank: take every picture away (mid-grey).
        """
        self.eval()
        tokenizer = load_tokenizer(self.prepared.folder / "tokenizer")
        count = len(examples) if most is None else min(most, len(examples))
        found: list[str] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for plan in in_order(count, self.params.evaluation_batch_size):
                images = examples.images(plan.rows)
                grid = self.model.image_encoder(torch.full_like(images, 128) if blank else images).tokens
                ids = self.generate(grid, decoding or self.params.decoding)
                found += [decode(tokenizer, each) for each in ids.tolist()]
        return found

    def generate(self, grid: Tensor, decoding: DecodingParams = GREEDY) -> Tensor:
        """Captions int64 [B, L] of the image encoder's tokens [B, P, Dv]; padded behind [SEP]."""
        how: dict[str, Any] = {
            "max_new_tokens": self.longest - 1,
            "eos_token_id": self.end_id,
            "pad_token_id": self.prepared.pad_id,
            "suppress_tokens": self.never,
            "do_sample": decoding.strategy == "nucleus",
        }
        if decoding.strategy == "beam":
            how["num_beams"] = decoding.beams
        if decoding.strategy == "nucleus":
            how |= {"top_p": decoding.top_p, "temperature": decoding.temperature, "top_k": 0}
        return self.decoder.generate(grid, self.begin_id, **how)

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Nothing is chosen on validation; what a runtime needs to know of the tokens goes on record."""
        self.decision = {"begin": self.begin_id, "end": self.end_id, "never": self.never, "longest": self.longest}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """CIDEr-D, BLEU-4 and, on scenes, the share of true captions, beside captions that no decoder wrote.

        ``faithful_share`` counts every true caption, ``informative_share`` only those that say what there is: *there
        is no black ring* is true of most pictures, and tells of none.

        Raises:
            ValueError: an image of the split has no caption to compare with.
        """
        references = [baselines.captions(test, row) for row in range(len(test))]
        if bare := [name for name, some in zip(test.strings("id"), references, strict=True) if not some]:
            raise ValueError(f"{test.folder}: split {test.split!r}: record {bare[0]!r} has no caption to compare with")
        measures = _Measures(test, references, Bootstrap(test.strings("group"), seed=seed, resamples=resamples))
        written = self.write(test, seed=seed)
        metrics = measures.report(written)
        metrics |= {
            "images": len(test),
            "distinct_captions": len(set(written)),
            "decoding": self.params.decoding.strategy,
        }
        metrics["mean_words"] = float(np.mean([words(text) for text in written]))
        sampled = self.write(test, decoding=DecodingParams(strategy="nucleus"), seed=seed)
        train = self.prepared.split("train")
        others = {
            "nucleus": sampled,
            # Without the picture there is one caption for all of them.
            "blank": self.write(test, decoding=GREEDY, most=1, blank=True) * len(test),
            "nearest": baselines.of_nearest(train, test, self._embed, NEAREST_AMONG),
            "nearest_by_colour": baselines.of_nearest(train, test, baselines.colours, NEAREST_AMONG),
            "most_common": [baselines.most_common(train)] * len(test),
        }
        for name, captions in others.items():
            metrics |= {f"{name}_{key}": value for key, value in measures.report(captions).items()}
        metrics |= measures.by_kind(sampled, "nucleus_by_kind") | measures.slices(written)
        return Evaluation(metrics=metrics, predictions=measures.rows(written))

    @torch.no_grad()
    def _embed(self, examples: Examples, rows: np.ndarray) -> np.ndarray:
        self.eval()
        size = self.params.evaluation_batch_size
        some = [rows[start : start + size].tolist() for start in range(0, len(rows), size)]
        return np.concatenate([self.model.image_encoder(examples.images(each)).pooled.numpy() for each in some])

    def export_parts(self) -> dict[str, ExportPart]:
        """``begin`` and ``step``: as of ``vlp.tasks.captioning.graphs``."""
        return export_parts(self)

    def head_state(self) -> dict[str, Tensor]:
        """As of the contract; tensors that the language model ties are written once each."""
        return {name: tensor.clone() for name, tensor in super().head_state().items()}

    def save(self, folder: Path) -> None:
        """As of the contract, with the decoder's resolved configuration: the folder it was read from is not needed."""
        resolved = DecoderParams(look=self.params.decoder.look, config=self.decoder.config)
        given, self.params = self.params, self.params.model_copy(update={"decoder": resolved})
        super().save(folder)
        self.params = given


class _Measures:
    """The metrics of captions of one split."""

    def __init__(self, test: Examples, references: list[list[str]], bootstrap: Bootstrap) -> None:
        self.test, self.references, self.bootstrap = test, references, bootstrap
        self.cider = Cider(references)

    def report(self, captions: list[str]) -> dict[str, Any]:
        """``cider``, ``bleu4`` and, where the oracle can tell, ``faithful_share`` and ``informative_share``.

        Each with its 95 % interval.
        """
        each = self.cider.scores(captions)
        sums = np.stack([bleu.statistics(*pair) for pair in zip(captions, self.references, strict=True)])
        found: dict[str, Any] = {"cider": float(each.mean()), "bleu4": bleu.score(sums.sum(0))}
        true = faithful.outcomes(captions, self.test.strings("annotation"))
        found["cider_ci95"] = list(self.bootstrap.ratio(each))
        found["bleu4_ci95"] = list(self.bootstrap.weighted(lambda weights: bleu.scores(weights, sums)))
        if not np.isnan(true).all():
            says = np.array([faithful.says_what_is_there(text) for text in captions])
            judged = (~np.isnan(true)).astype(float)
            for name, outcome in (("faithful_share", true), ("informative_share", true * says)):
                found[name] = float(np.nanmean(outcome))
                found[f"{name}_ci95"] = list(self.bootstrap.ratio(np.nan_to_num(outcome), judged))
        return found

    def slices(self, captions: list[str]) -> dict[str, Any]:
        """CIDEr and the share of true captions, by how many things there are and by how much is said."""
        figures = {"cider": self.cider.scores(captions)}
        true = faithful.outcomes(captions, self.test.strings("annotation"))
        if not np.isnan(true).all():
            figures["faithful_share"] = true
        cuts = {"objects": object_counts(self.test), "words": word_counts(captions)}
        found: dict[str, Any] = {
            f"{figure}_by_{cut}": by_slice(names, lambda rows, each=each: float(np.nanmean(each[rows])))  # type: ignore[misc]
            for figure, each in figures.items()
            for cut, names in cuts.items()
        }
        return found | self.by_kind(captions, "faithful_share_by_kind")

    def by_kind(self, captions: list[str], name: str) -> dict[str, Any]:
        """The share of true captions by what they speak of; nothing where the oracle cannot tell."""
        true = faithful.outcomes(captions, self.test.strings("annotation"))
        if np.isnan(true).all():
            return {}
        return {name: by_slice([faithful.kind(text) for text in captions], lambda rows: float(np.nanmean(true[rows])))}

    def rows(self, captions: list[str]) -> list[dict[str, Any]]:
        """One row an image."""
        true = faithful.outcomes(captions, self.test.strings("annotation"))
        each = zip(self.test.strings("id"), captions, self.cider.scores(captions), true, strict=True)
        return [
            {
                "record": name,
                "caption": text,
                "cider": float(score),
                "faithful": None if np.isnan(right) else bool(right),
            }
            for name, text, score, right in each
        ]
