"""Retrieval: which text belongs to this image, and which image to this text?

Two stages. The first compares one vector of the image with one of the text (contrastive, as CLIP), so that an index of
any size is searched by a product of matrices. The second puts the best of the first before the fusion block, which
looks at the image with the text in mind. What it says of each caption of a description (how much likelier than of any
image it is that it is true) is added up, and weighed against the first stage's similarity by a weight chosen on
validation.

Trained by both losses at once: the contrastive one over the batch, and matching on wrong pairs that the contrastive
similarities find hard to tell from right ones. A wrong description is false as a whole, though parts of it may be
true of the image: the matching loss is therefore that of the conjunction.

Source: Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, pad
from vlp.evaluation import ranking
from vlp.models import contrastive
from vlp.models.contrastive import LEAST_TEMPERATURE, of_all, same_caption, scaled_cosines, spread_cross_entropy
from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING, nothing
from vlp.records import Batch, Texts
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams
from vlp.tasks.retrieval.candidates import Candidates, captions, gather, require_several
from vlp.tasks.retrieval.graphs import export_parts
from vlp.tasks.retrieval.report import evaluation
from vlp.tasks.retrieval.scores import Scores, directions, shortlist

TEXTS_AT_ONCE = 512  # bounds memory, not the result
MOST_TO_CALIBRATE = 200  # images: the weight is one of a handful, and the second stage is what costs
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What the second stage's weight is chosen from; 0 leaves the first stage's order."""


class Params(TaskParams):
    """``tasks.retrieval``."""

    captions_per_query: int = Field(gt=0, description="captions of an image that make one description")
    width: int = Field(gt=0, description="of the embeddings; pre-training's own lets them start from there")
    temperature: float = Field(ge=LEAST_TEMPERATURE, le=1, description="at the start; learned from there")
    matching_weight: float = Field(gt=0, description="of the matching loss beside the contrastive one")
    rerank: int = Field(ge=0, description="best candidates of the first stage that the fusion block looks at")
    candidates: int = Field(gt=1, description="images that are searched in evaluation")


class Task(base.Task):
    """Two projections, a temperature, and a logit on the fused features."""

    params_class = Params
    name = "retrieval"
    compares = True
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.image = nn.Linear(model.image_width, params.width, bias=False)
        self.text = nn.Linear(model.text_width, params.width, bias=False)
        self.logit_scale = contrastive.logit_scale(params.temperature)
        self.logit = nn.Linear(model.fused_width, 1)
        # From zero: at first every caption is as likely as any.
        self.prior = nn.Linear(model.text_width, 1)
        nn.init.zeros_(self.prior.weight)
        nn.init.zeros_(self.prior.bias)

    def keep_in_bounds(self) -> None:
        """As of ``vlp.training.engine.Bounded``."""
        contrastive.bound(self.logit_scale)

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Start from the contrastive objective's projections and the matching objective's head."""
        head = objectives.get("contrastive")
        if head and head["image.weight"].shape[0] == self.params.width:
            self.image.weight.data.copy_(head["image.weight"])
            self.text.weight.data.copy_(head["text.weight"])
            self.logit_scale.data.copy_(head["logit_scale"])
        if head := objectives.get("matching"):
            own = {name.removeprefix("logit."): value for name, value in head.items() if name.startswith("logit.")}
            self.logit.load_state_dict(own)

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but the splits that are searched have something to be told apart.

        Raises:
            ValueError: fewer than two images of a split have captions of their own.
        """
        for split in self._judged():
            require_several(split)

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``caption``: as many captions of each image as a description has, or as any image of the split has if that is
        fewer; ``counted`` bool [B, C]: which of its C captions each image's description has. The others, where an image
        has fewer, say again what is said: saying counts once. ``caption_keys`` int64 [B, C], equal for equal captions,
        and ``image_keys`` [B, K], of all that an image has (−1 where it has fewer than K): what is true of what.

        An image without a caption gives its place to one that has some.

        Raises:
            ValueError: no image of the split has a caption.
        """
        rows = self._drawable("captions", examples, rows, rng)
        each = min(self.params.captions_per_query, examples.most("captions"))
        counted: list[list[bool]] = []
        texts: list[TokenIds] = []
        keys = torch.empty(len(rows), each, dtype=torch.int64)
        # K is the split's: processes share their rows.
        known = torch.full((len(rows), examples.most("captions")), -1, dtype=torch.int64)
        for place, row in enumerate(rows):
            mine = captions(examples, row)
            chosen = [mine[place] for place in draw(len(mine), each, rng)]
            texts += chosen
            counted.append([number < len(mine) for number in range(each)])
            keys[place] = torch.tensor([_key(ids) for ids in chosen])
            known[place, : len(mine)] = torch.tensor([_key(ids) for ids in mine])
        owner = [place for place in range(len(rows)) for _ in range(each)]
        return Batch(
            images=examples.images(rows),
            texts={"caption": pad(texts, owner, self.prepared.pad_id)},
            targets={"counted": torch.tensor(counted), "caption_keys": keys, "image_keys": known},
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Contrastive loss both ways, and matching of right pairs against the hardest wrong ones."""
        texts, counted_BC = batch.texts["caption"], batch.targets["counted"].float()
        image = self.model.encode_image(batch.images)
        text = self.model.encode_text(texts.input_ids, texts.attention_mask)
        own_image, own_text = self.embed_image(image), self.described(text, counted_BC)
        all_image, first = of_all(own_image, training=self.training)
        all_text, _ = of_all(own_text, training=self.training)
        right_BN, right_BM = self._right(batch)
        logits_BN = scaled_cosines(self.scale, own_image, all_text)
        # Alone, one product is read both ways.
        logits_BM = logits_BN.T if all_text is own_text else scaled_cosines(self.scale, all_image, own_text).T
        of_images = spread_cross_entropy(logits_BN, right_BN.float())
        of_texts = spread_cross_entropy(logits_BM, right_BM.float())
        found = {
            "contrastive_loss": (of_images + of_texts) / 2,
            "batch_recall": right_BN.gather(1, logits_BN.argmax(1, keepdim=True)).float().mean(),
        }
        own = slice(first, first + len(own_image))
        right_BB = right_BN[:, own]
        if bool(right_BB.all()):
            # Nothing to match wrongly, as in pictures of one class: it has no part in the means of these losses.
            places = torch.arange(len(texts.input_ids), device=right_BB.device)
            logits = self.logits(image, text, texts.attention_mask, places)
            return {**found, NOTHING: nothing([logits, self.likely(text)])}
        return {**found, **self._matching(image, text, texts, counted_BC, right_BB, logits_BN[:, own].detach())}

    def _right(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Which descriptions of the whole batch are true of its own images, bool [B, N], and of which images its own
        descriptions are, [B, M]: those of which all captions are among the image's.
        """
        own_text, own_image = batch.targets["caption_keys"], batch.targets["image_keys"]
        all_text, all_image = (of_all(keys, training=self.training)[0] for keys in (own_text, own_image))

        def true(text: Tensor, image: Tensor) -> Tensor:
            return torch.stack([same_caption(key, image) for key in text.unbind(1)]).all(0)

        return true(all_text, own_image).T, true(own_text, all_image)

    def similarity(self, image: ImageFeatures, text: TextFeatures, counted: Tensor) -> Tensor:
        """Scaled cosine [B, B] of each image and each description, as of ``described``."""
        return scaled_cosines(self.scale, self.embed_image(image), self.described(text, counted))

    def described(self, text: TextFeatures, counted: Tensor) -> Tensor:
        """Unit vectors float32 [B, width] of descriptions of C consecutive texts each, those ``counted`` [B, C]."""
        embedded_BCW = self.embed_text(text).unflatten(0, counted.shape)
        return F.normalize((embedded_BCW * counted[:, :, None]).sum(1), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What a cosine is multiplied by."""
        return contrastive.scale(self.logit_scale)

    def embed_image(self, image: ImageFeatures) -> Tensor:
        """Unit vectors float32 [B, width]."""
        return F.normalize(self.image(image.pooled).float(), dim=-1)

    def embed_text(self, text: TextFeatures) -> Tensor:
        """Unit vectors float32 [N, width]. A description's is the direction of its captions' mean."""
        return F.normalize(self.text(text.pooled).float(), dim=-1)

    def _matching(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        texts: Texts,
        counted: Tensor,
        right: Tensor,
        similarity: Tensor,
    ) -> dict[str, Tensor]:
        """Each image with its own description and with a wrong one, drawn the more often the more alike they are."""
        possible = ~right
        usable = possible.any(1)
        hardness = (similarity.softmax(1) + similarity.T.softmax(1).T + 1e-4) * possible
        # An image for which all are right draws any; its pair is left out of the loss below.
        hardness = torch.where(usable[:, None], hardness, 1.0)
        other = torch.multinomial(hardness, 1).squeeze(1)
        each = counted.shape[1]
        places = torch.arange(len(texts.input_ids), device=other.device).unflatten(0, (-1, each))
        # Image by image: its own captions, then those of the wrong description; an image's row serves them all.
        both = torch.cat([places, places[other]], dim=1).flatten()
        logits = self.logits(image, text, texts.attention_mask, both).unflatten(0, (-1, 2, each))
        own, wrong = (F.logsigmoid(logits) * torch.stack([counted, counted[other]], dim=1)).sum(2).unbind(1)
        # log(1 − e^s) of a log-probability s: the description is false if any caption of it is.
        false = torch.log(-torch.expm1(wrong[usable].clamp(max=-1e-4)))
        # The same wrong pair is a wrong text for this image and a wrong image for that text.
        prior = (self.likely(text).unflatten(0, (-1, each)) * counted).sum(1)
        for_image = ((wrong - prior[other]) - (own - prior))[usable]
        for_text = (wrong - own[other])[usable]
        ranked = F.softplus(for_image) + F.softplus(for_text)
        weight, captions = self.params.matching_weight, counted.sum(1).mean()
        return {
            "matching_loss": -weight * (own.mean() + false.mean()) / (2 * captions),
            "ranking_loss": weight * ranked.mean() / 2,
            "ranked_right": ((for_image < 0).float() + (for_text < 0).float()).mean() / 2,
        }

    def likely(self, text: TextFeatures) -> Tensor:
        """How likely each text is of any image, float32 [N], as far as the second stage must make up for it.

        Of two texts that are true of an image, "there is no star" says less than "there is a red star": what counts is
        how much likelier the image makes a text.
        """
        return self.prior(text.pooled).squeeze(-1).float()

    def logits(self, image: ImageFeatures, text: TextFeatures, attention_mask: Tensor, places: Tensor) -> Tensor:
        """float32 [n]: is the text of each of those ``places`` true of the image? ``image`` as of ``VLPModel.fuse``."""
        chosen = TextFeatures(tokens=text.tokens[places], pooled=text.pooled[places])
        return self.logit(self.model.fuse(chosen, attention_mask[places], image).pooled).squeeze(-1).float()

    @torch.no_grad()
    def score(self, examples: Examples, found: Candidates) -> Scores:
        """Both stages on all candidates: the second looks at the best of the first, seen from either side.

        Args:
            examples: the split.
            found: what is searched.
        """
        self.eval()
        lengths = [len(text) for text in found.texts]
        texts = pad(
            list(chain.from_iterable(found.texts)), np.repeat(found.owner, lengths).tolist(), self.prepared.pad_id
        )
        text = self._encode_texts(texts)
        prior = self.likely(text)
        captions = self.embed_text(text)
        described = F.normalize(torch.stack([part.mean(0) for part in captions.split(lengths)]), dim=-1)
        images = [
            self._encode_images(examples, rows) for rows in _chunks(found.rows, self.params.evaluation_batch_size)
        ]
        embedded = torch.cat([self.embed_image(some) for some in images])
        similarity = (self.scale * embedded @ described.T).double().numpy()
        matching = np.full(similarity.shape, np.nan)
        wanted = shortlist(similarity, self.params.rerank)
        starts = np.cumsum([0, *lengths])
        one_by_one = (some.index(torch.tensor([place])) for some in images for place in range(len(some.pooled)))
        for place, image in enumerate(one_by_one):
            chosen = np.flatnonzero(wanted[place])
            rows = np.concatenate([np.arange(starts[text], starts[text + 1]) for text in chosen] or [np.empty(0, int)])
            if not len(rows):
                continue
            logits = [
                self.logits(image, text, texts.attention_mask, torch.from_numpy(some))
                for some in _chunks(rows, TEXTS_AT_ONCE)
            ]
            telling = F.logsigmoid(torch.cat(logits)) - prior[rows]
            parts = telling.double().split([lengths[text] for text in chosen])
            matching[place, chosen] = [float(part.sum()) for part in parts]
        each = (self.scale * embedded @ captions.T).double().numpy() if max(lengths) > 1 else None
        return Scores(similarity, matching, each)

    def _encode_images(self, examples: Examples, rows: np.ndarray) -> ImageFeatures:
        return self.model.encode_image(examples.images(rows.tolist()))

    def _encode_texts(self, texts: Texts) -> TextFeatures:
        ids, masks = texts.input_ids.split(TEXTS_AT_ONCE), texts.attention_mask.split(TEXTS_AT_ONCE)
        some = [self.model.encode_text(*each) for each in zip(ids, masks, strict=True)]
        return TextFeatures(
            tokens=torch.cat([each.tokens for each in some]), pooled=torch.cat([each.pooled for each in some])
        )

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the second stage's weight, one for each direction, by recall@1 on the validation split."""
        found = gather(validation, min(self.params.candidates, MOST_TO_CALIBRATE), self.params.captions_per_query)
        scores = self.score(validation, found)
        for direction, (own, right) in directions(scores, found.right).items():
            recalls = [(ranking.ranks(own.ranked(weight, self.params.rerank), right) <= 1).mean() for weight in WEIGHTS]
            self.decision[direction] = WEIGHTS[int(np.argmax(recalls))]
        self.decision |= {"rerank": self.params.rerank, "scale": float(self.scale.detach())}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """As of ``vlp.tasks.retrieval.report``."""
        return evaluation(self, test, seed, resamples)

    def export_parts(self) -> dict[str, ExportPart]:
        """``image``, ``text`` and ``score``: as of ``vlp.tasks.retrieval.graphs``."""
        return export_parts(self)


def _chunks(rows: np.ndarray, each: int) -> list[np.ndarray]:
    return [rows[start : start + each] for start in range(0, len(rows), each)]


def _key(ids: TokenIds) -> int:
    """Equal for equal captions; for others as good as never, in 64 bits."""
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), signed=True)
