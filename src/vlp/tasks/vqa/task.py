"""Visual question answering: which of the known answers is right?

Classification over the answers of the train split. The question is fused with the image, and the answer is read in two
places (``vlp.models.answers``). Where pre-training asked questions, its head carries over; where it did not, the heads
of its other objectives do: *yes* and *no* start as the matching logit and its opposite, a word that is an answer as
what the masked-text head knows of it.

Sources: answers as classes, Antol et al. 2015, https://arxiv.org/abs/1505.00468; the fused encoder as in ViLT, Kim et
al. 2021, https://arxiv.org/abs/2102.03334
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, about_nothing, in_order, pad, wordless
from vlp.data.questions import Questions, draw_questions, questions, token_ids, vocabulary
from vlp.data.slices import object_counts
from vlp.evaluation.calibration import choose_temperature, softmax
from vlp.evaluation.classes import one_hot
from vlp.models.answers import AnswerHead, hide_end
from vlp.models.features import ImageFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING, nothing
from vlp.preprocessing import text as texts
from vlp.records import Batch, Texts
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, Frozen, TaskParams, fused_part, image_part, without_picture
from vlp.tasks.vqa.metrics import measure

YES, NO = "yes", "no"
"""The answers to a question that is a statement put as a question."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Of M questions: logits float32 [M, K] and the states behind them [M, D]; ``mute`` float32 [rows, K]: what each
    picture of the split gives without a question, no rows where nobody asked.
    """

    logits: np.ndarray
    states: np.ndarray
    mute: np.ndarray


class Params(TaskParams):
    """``tasks.vqa``."""

    questions_per_image: int = Field(gt=0, description="drawn a step; the image is encoded once for all")
    answers: int = Field(gt=1, description="that can be given: the commonest of the train split")
    min_count: int = Field(gt=0, default=1, description="training questions that an answer must have")


class Task(base.Task):
    """One logit an answer."""

    params_class = Params
    name = "vqa"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.answers = vocabulary(prepared.summary.get("answers", {}), params.answers, params.min_count)
        self.rows = self.answers
        if len(self.answers) < 2:
            raise ValueError(
                f"{prepared.folder}: {len(self.answers)} answers that {params.min_count} training questions share; the "
                "task vqa needs two or more: give the source questions, lower tasks.vqa.min_count, or take vqa out of "
                "`tasks`"
            )
        self.head = AnswerHead(model.fused_width, len(self.answers), has_tokens=model.fusion.has_tokens)
        self._asked: dict[str, Questions] = {}

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Start from the answering objective's head, where that knows all of these answers.

        Without it, *yes* and *no* start from the matching logit, answers that are words from the masked-text head.
        """
        if (head := objectives.get("answering")) and self._taken_over(head):
            return
        pooled, masked = self.head.pooled, self.head.masked
        with torch.no_grad():
            if head := objectives.get("matching"):
                nn.init.zeros_(pooled.weight)
                nn.init.zeros_(pooled.bias)
                for answer, sign in ((YES, 0.5), (NO, -0.5)):
                    if answer in self.answers:
                        pooled.weight[self.answers.index(answer)] = sign * head["logit.weight"][0]
                        pooled.bias[self.answers.index(answer)] = sign * head["logit.bias"][0]
            head = objectives.get("masked_text")
            if masked is not None and head:
                masked.take_over(head, self._answer_ids())

    def _taken_over(self, head: Head) -> bool:
        """Whether the objective's head could be taken over, answer by answer; where it could not, nothing was."""
        learnt = {name.removeprefix("head."): value for name, value in head.items()}
        known, rows = head.places(self.answers)
        own = self.head.state_dict()
        if len(known) < len(self.answers) or set(learnt) != set(own):
            return False
        by_answer = {name for name in own if name.startswith(("pooled.", "masked.decoder."))}
        chosen = {name: value[rows] if name in by_answer else value for name, value in learnt.items()}
        if any(chosen[name].shape != value.shape for name, value in own.items()):
            return False
        self.head.load_state_dict(chosen)
        return True

    def _answer_ids(self) -> list[list[int]]:
        """The tokens of each answer; none for an answer that the tokenizer does not know whole."""
        tokenizer = texts.load_tokenizer(self.prepared.folder / "tokenizer" / "tokenizer.json")
        unknown = self.prepared.summary["unk_id"]
        encoded = [ids[1:-1] for ids in texts.encode_whole(tokenizer, self.answers)]  # between [CLS] and [SEP]
        return [[] if unknown in ids else ids for ids in encoded]

    def asked(self, examples: Examples) -> Questions:
        """The questions of a split, read once.

        Raises:
            ValueError: there is none.
        """
        if examples.split not in self._asked:
            self._asked[examples.split] = questions(examples, self.answers)
        return self._asked[examples.split]

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but of each split that is judged some question can be answered.

        Raises:
            ValueError: a split has no question, or none whose answer is in the vocabulary.
        """
        for split in self._judged():
            if not (self.asked(split).code >= 0).any():
                raise ValueError(
                    f"{split.folder}: split {split.split!r}: no question's answer is one of the {len(self.answers)} "
                    "that the task vqa can give, which are the train split's: lower tasks.vqa.min_count, raise "
                    "tasks.vqa.answers, or split the data otherwise"
                )

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``question``: some of each image's whose answer can be given; ``answer`` int64 [N], its number. Where
        there is none, one ``about_nothing`` and no answer.
        """
        ids, owner, code = draw_questions(examples, self.asked(examples), rows, self.params.questions_per_image, rng)
        answer = torch.tensor(code, dtype=torch.int64)
        pad_id = self.prepared.pad_id
        batch = pad(ids, owner, pad_id) if ids else about_nothing(self.prepared.mask_id, pad_id)
        return Batch(images=examples.images(rows), texts={"question": batch}, targets={"answer": answer})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over the answers."""
        asked, answer = batch.texts["question"], batch.targets["answer"]
        logits = self.logits(self.model.encode_image(batch.images).of(asked), asked.input_ids, asked.attention_mask)
        if not len(answer):  # no question of these images has a known answer
            return {NOTHING: nothing([logits])}
        return {
            "vqa_loss": F.cross_entropy(logits, answer, reduction="sum") / len(answer),
            "accuracy": (logits.argmax(-1) == answer).float().sum() / len(answer),
        }

    def logits(self, image: ImageFeatures, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """float32 [N, K]. ``image`` as of ``VLPModel.fuse``."""
        return self._read(image, input_ids, attention_mask)[0]

    def _read(self, image: ImageFeatures, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the states behind them [N, D]: the pooled one and, where there is one, that of the mask."""
        if self.head.masked is not None:
            input_ids = hide_end(input_ids, attention_mask, self.prepared.mask_id)
        text = self.model.encode_text(input_ids, attention_mask)
        return self.head.read(self.model.fuse(text, attention_mask, image), attention_mask)

    def score(self, examples: Examples, *, blank: bool = False, mute: bool = False) -> np.ndarray:
        """Logits float32 [M, K] of every question of the split.

        Args:
            examples: the split.
            blank: take every picture away (mid-grey): what the question alone gives.
            mute: take every question away (no word): what the picture alone gives.
        """
        if blank:
            return self._blank(examples)
        found = self._seen(examples, mute=mute)
        return found.mute[self.asked(examples).row] if mute else found.logits

    @torch.no_grad()
    def _seen(self, examples: Examples, *, mute: bool) -> Seen:
        """Every question and, for ``mute``, every picture without one; a picture is encoded once for all of them."""
        self.eval()
        asked, ids = self.asked(examples), token_ids(examples)
        counts = (len(asked), len(examples) if mute else 0)
        logits, silent = (np.zeros((count, len(self.answers)), np.float32) for count in counts)
        width = self.model.fused_width * (1 if self.head.masked is None else 2)
        states = np.empty((len(asked), width), np.float32)
        for plan in in_order(len(examples), self.params.evaluation_batch_size):
            first, last = asked.start[plan.rows[0]], asked.start[plan.rows[-1] + 1]
            if first == last:
                continue
            features = self.model.encode_image(examples.images(plan.rows))
            owner = (asked.row[first:last] - plan.rows[0]).tolist()
            some = pad(ids[first:last], owner, self.prepared.pad_id)
            found, behind = self._read(features.of(some), some.input_ids, some.attention_mask)
            logits[first:last], states[first:last] = found.numpy(), behind.float().numpy()
            if mute:  # without its words one question is as good as another: one a picture
                one = pad([wordless(ids[first])] * len(plan.rows), range(len(plan.rows)), self.prepared.pad_id)
                silent[list(plan.rows)] = self.logits(features, one.input_ids, one.attention_mask).numpy()
        return Seen(logits, states, silent)

    @torch.no_grad()
    def _blank(self, examples: Examples) -> np.ndarray:
        """Logits without any picture, float32 [M, K]."""
        self.eval()

        def read(image: ImageFeatures, some: Texts) -> np.ndarray:
            return np.asarray(self.logits(image, some.input_ids, some.attention_mask).numpy())

        return without_picture(self.model, self.prepared, token_ids(examples), read)

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the temperature that makes probabilities mean what they say."""
        logits, code = self.score(validation), self.asked(validation).code
        known = code >= 0
        self.decision = {
            "answers": self.answers,
            "temperature": round(choose_temperature(logits[known], code[known]), 4),
        }

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """Accuracy with slices and intervals, beside what question or picture alone would give."""
        seen = self._seen(test, mute=True)
        found = measure(
            asked=self.asked(test),
            train=self.asked(self.prepared.split("train")),
            answers=self.answers,
            probabilities=softmax(seen.logits / self.decision["temperature"]),
            blank=self._blank(test).argmax(1),
            mute=seen.mute.argmax(1)[self.asked(test).row],
            ids=test.strings("id"),
            groups=test.strings("group"),
            objects=object_counts(test),
            seed=seed,
            resamples=resamples,
        )
        return replace(found, frozen=self._frozen(test, seen.states))

    def _frozen(self, test: Examples, states: np.ndarray) -> Frozen:
        """The states that the two heads read, of every question whose answer can be given."""
        asked = self.asked(test)
        known = np.flatnonzero(asked.code >= 0)
        groups = [test.strings("group")[row] for row in asked.row[known].tolist()]
        target = one_hot(asked.code[known], len(self.answers))
        return Frozen(states[known], target, groups, exclusive=True, metric="accuracy")

    def export_parts(self) -> dict[str, ExportPart]:
        """``image``: pixels to features; ``answer``: features of N images and N questions to N × K logits."""
        self.eval()
        size = self.prepared.image_size
        images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        return {
            "image": image_part(self.model, images),
            "answer": fused_part(self, self.logits, images, "logits"),
        }
