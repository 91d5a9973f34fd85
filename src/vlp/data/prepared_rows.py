"""From rows of records to rows of examples: what any process of any machine does with a part of the data.

Pure functions of the rows, their fates and the parameters; ``preparation`` puts the parts together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import pyarrow as pa
from tokenizers import Tokenizer

from vlp.data import examples, shards
from vlp.data.fates import Fate
from vlp.preprocessing import text as texts
from vlp.preprocessing.image import ImageError, ImageParams, prepare, prepare_mask
from vlp.preprocessing.text import TextParams
from vlp.records import Caption, Example, Finding, Question, Record

Fated = Sequence[Fate | None]
"""The fate of each of some rows."""


class PreparationError(ValueError):
    """The validated records and the records at hand do not fit together."""


@dataclass(slots=True)
class Part:
    """The examples of some rows."""

    batches: dict[str, pa.RecordBatch] = field(default_factory=dict)
    """Rows of ``examples.EXAMPLES``, by split."""
    lost: dict[int, list[Finding]] = field(default_factory=dict)
    """What records had to lose, by row of the part."""
    cut: dict[int, int] = field(default_factory=dict)
    """Texts that are longer than L tokens, by row of the part; rows without any are left out."""


def prepare_rows(rows: pa.Table, fates: Fated, *, image: ImageParams, text: TextParams, tokenizer: str) -> Part:
    """The examples of those of ``rows`` that are kept.

    Args:
        rows: of ``shards.RECORDS``.
        fates: of each row.
        image: as validation used it.
        text: as validation used it.
        tokenizer: as JSON.
    """
    part, found = Part(), dict[str, list[tuple[Example, examples.Ids]]]()
    kept = [row for row, fate in enumerate(fates) if fate is not None]
    prepared = []
    for row, record in zip(kept, shards.records_of(rows.take(kept) if len(kept) < len(fates) else rows), strict=True):
        fate = fates[row]
        assert fate is not None
        example, lost = prepare_record(record, fate, image=image, text=text)
        kept_captions = [index for index in range(len(record.captions)) if f"captions[{index}]" not in fate.dropped]
        prepared.append((row, fate.split, example, kept_captions))
        if lost:
            part.lost[row] = lost
    ids, long = _encoded([example for _, _, example, _ in prepared], _tokenizer(tokenizer), text)
    for row, split, whole, places in prepared:
        example, lost = _told_apart(whole, places, ids)
        if lost:
            part.lost.setdefault(row, []).extend(lost)
        found.setdefault(split, []).append((example, ids))
        if cut := sum(said in long for said in examples.texts(example)):
            part.cut[row] = cut
    part.batches = {split: examples.pack(some) for split, some in found.items()}
    return part


def count_words(rows: pa.Table, fates: Fated, *, text: TextParams) -> Counter[str]:
    """Words of the texts that the train split keeps: what a tokenizer learns from.

    Args:
        rows: of ``shards.RECORDS``; their images are not read.
        fates: of each row.
        text: limits of texts.
    """

    def usable() -> Iterator[str]:
        for record, fate in zip(shards.records_of(rows, images=False), fates, strict=True):
            if fate is None or fate.split != "train":
                continue
            captions, questions, expressions, _ = usable_texts(record, fate.dropped, text)
            for caption in captions:
                yield caption.text
                if caption.negative is not None:
                    yield caption.negative
            yield from (question.text for question in questions)
            yield from expressions.values()

    return texts.word_counts(usable(), text)


@lru_cache(maxsize=2)
def _tokenizer(content: str) -> Tokenizer:
    return texts.read_tokenizer(content)


def _encoded(
    prepared: Sequence[Example], tokenizer: Tokenizer, params: TextParams
) -> tuple[dict[str, list[int]], set[str]]:
    """Token ids of every text, and the texts that lost some of theirs; tokenised many at a time."""
    last = texts.special_ids(tokenizer)["sep"]
    found = list(dict.fromkeys(text for example in prepared for text in examples.texts(example)))
    whole = dict(zip(found, texts.encode_whole(tokenizer, found), strict=True))
    long = {text for text, ids in whole.items() if len(ids) > params.max_tokens}
    return {text: texts.shorten(ids, params.max_tokens, last) for text, ids in whole.items()}, long


def _told_apart(example: Example, places: Sequence[int], ids: dict[str, list[int]]) -> tuple[Example, list[Finding]]:
    """The example without negatives of which the tokenizer makes a caption's own tokens: they would be true and false
    at once.

    Args:
        example: with all its texts.
        places: of its captions among those of the record.
        ids: of every text.
    """
    true = {tuple(ids[caption.text]) for caption in example.captions}
    captions, lost = list(example.captions), list[Finding]()
    for number, (place, caption) in enumerate(zip(places, example.captions, strict=True)):
        if caption.negative is not None and tuple(ids[caption.negative]) in true:
            captions[number] = replace(caption, negative=None)
            problem = "same_tokens: no other ones than a caption's are left of it"
            lost.append(_dropped(example.id, f"captions[{place}].negative", problem))
    return (replace(example, captions=tuple(captions)), lost) if lost else (example, lost)


def prepare_record(
    record: Record, fate: Fate, *, image: ImageParams, text: TextParams
) -> tuple[Example, list[Finding]]:
    """The example of a record that is kept, and what it had to lose.

    Raises:
        PreparationError: the image does not decode, though validation found that it does.
    """
    try:
        prepared = prepare(record.image, image)
    except ImageError as error:
        raise PreparationError(f"record {record.id!r}: image: {error}; validate again with these parameters") from None
    captions, questions, expressions, findings = usable_texts(record, fate.dropped, text)
    regions = []
    for index, expression in expressions.items():
        try:
            mask = prepare_mask(record.regions[index].mask, image, (prepared.width, prepared.height))
        except ImageError as error:
            findings.append(_dropped(record.id, f"regions[{index}]", str(error)))
        else:
            regions.append((expression, mask))
    example = Example(
        id=record.id,
        group=fate.group,
        image=prepared.pixels,
        captions=captions,
        labels=tuple(dict.fromkeys(name for label in record.labels if (name := texts.clean(label)))),
        questions=questions,
        regions=tuple(regions),
        annotation=record.annotation,
    )
    return example, findings


def usable_texts(
    record: Record, dropped: frozenset[str], params: TextParams
) -> tuple[tuple[Caption, ...], tuple[Question, ...], dict[int, str], list[Finding]]:
    """Cleaned captions, questions and expressions (by index of the region), and findings about the others.

    Captions were judged by validation (``dropped`` names those that go); the other texts are judged here.
    """
    findings: list[Finding] = []

    def judged_text(value: str, where: str) -> str | None:
        cleaned, problem = _judge(value, params)
        if problem:
            findings.append(_dropped(record.id, where, problem))
            return None
        return cleaned

    usable = {
        index: texts.clean(caption.text)
        for index, caption in enumerate(record.captions)
        if f"captions[{index}]" not in dropped
    }
    true = {text.casefold() for text in usable.values()}
    captions = []
    for index, text in usable.items():
        caption, where = record.captions[index], f"captions[{index}].negative"
        negative = None if caption.negative is None else judged_text(caption.negative, where)
        if negative is not None and negative.casefold() in true:
            findings.append(_dropped(record.id, where, "same_as_caption: it cannot be false"))
            negative = None
        captions.append(Caption(text=text, negative=negative, kind=caption.kind))
    questions = []
    for index, question in enumerate(record.questions):
        asked = judged_text(question.text, f"questions[{index}]")
        answer = texts.clean(question.answer)
        if asked is not None and not answer:
            findings.append(_dropped(record.id, f"questions[{index}]", "empty: the answer has no character"))
        elif asked is not None:
            given = tuple(filter(None, map(texts.clean, question.given)))
            questions.append(Question(text=asked, answer=answer, type=question.type, given=given))
    named = ((i, judged_text(region.expression, f"regions[{i}]")) for i, region in enumerate(record.regions))
    expressions = {index: expression for index, expression in named if expression is not None}
    return tuple(captions), tuple(questions), expressions, findings


@lru_cache(maxsize=1 << 16)
def _judge(value: str, params: TextParams) -> tuple[str, str]:
    """Cleaned text and its problem; questions and short statements come back thousands of times."""
    return texts.clean(value), texts.problem(value, params)


def _dropped(record: str, where: str, problem: str) -> Finding:
    reason, _, detail = problem.partition(": ")
    return Finding(record=record, field=where, reason=reason, detail=detail, action="dropped")
