"""From validated records to what every task trains on: splits, a tokenizer, shards of examples, a summary.

Two passes over the records: one over the texts of the train split, which the tokenizer learns from; one that
decodes and writes. Memory grows with the number of records by an id and a group each, never by an image.

``summary.json`` holds, beside the sizes: ``splits`` (records, groups and texts of each), the token ids of the
special tokens, ``labels`` and ``answers`` of the train split with their counts, those that only the other splits
have (``unseen_labels``, ``unseen_answers``), and ``texts_cut``, how many lost tokens to ``max_tokens``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from vlp.data import examples, judged, shards
from vlp.data.grouping import groups
from vlp.data.parallel import ordered_map
from vlp.data.split import SPLITS, Member, SplitParams, assign_all
from vlp.files import write_json, write_jsonl
from vlp.preprocessing import text as texts
from vlp.preprocessing.image import ImageError, ImageParams, prepare, prepare_mask
from vlp.preprocessing.text import TextParams
from vlp.progress import track
from vlp.records import Caption, Example, Finding, Question, Record

ROWS_AT_ONCE = 256


class PreparationError(ValueError):
    """The validated records and the records at hand do not fit together."""


class Fate(NamedTuple):
    """What was decided about a record that is kept."""

    split: str
    group: str
    dropped: frozenset[str]
    """Names of the fields that go."""


@dataclass(slots=True)
class _Tally:
    """What is counted of each split while it is written."""

    records: Counter[str] = field(default_factory=Counter)
    texts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    groups: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    labels: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    cut: int = 0

    def add(self, split: str, example: Example) -> None:
        self.records[split] += 1
        self.groups[split].add(example.group)
        self.labels[split].update(example.labels)
        self.answers[split].update(question.answer for question in example.questions)
        self.texts[split].update(
            captions=len(example.captions),
            negatives=sum(caption.negative is not None for caption in example.captions),
            questions=len(example.questions),
            regions=len(example.regions),
        )


def run(
    ingested: Path, validated: Path, out: Path, *, seed: int, image: ImageParams, text: TextParams, split: SplitParams
) -> None:
    """Write ``out``: shards of each split, ``tokenizer/tokenizer.json``, ``rejects.jsonl``, ``summary.json``.

    Args:
        ingested: shards of records.
        validated: their measures and findings.
        out: an empty folder.
        seed: of the split.
        image: as validation used it.
        text: as validation used it.
        split: shares of the groups.

    Raises:
        ValueError: no record is left, a split would be empty, or the folders do not fit together.
    """
    fates, findings = decide(validated, seed, split)
    tokenizer = texts.load_tokenizer(text.tokenizer) if text.tokenizer else _train(ingested, fates, text)
    (out / "tokenizer").mkdir()
    (out / "tokenizer" / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    tally = _Tally()
    with ExitStack() as stack:
        writers = {name: stack.enter_context(examples.writer(out, name)) for name in SPLITS}
        for example, ids, lost in _encoded(_prepared(ingested, fates, image, text), tokenizer, text, tally):
            split_name = fates[example.id].split
            writers[split_name].add((example, ids))
            tally.add(split_name, example)
            findings.extend(lost)
    if sum(tally.records.values()) != len(fates):
        raise PreparationError(f"{validated}: {len(fates)} records kept, but {ingested} has other ones; validate again")
    write_jsonl(out / "rejects.jsonl", map(asdict, findings))
    write_json(out / "summary.json", _summary(tally, findings, tokenizer, image, text))


def decide(validated: Path, seed: int, params: SplitParams) -> tuple[dict[str, Fate], list[Finding]]:
    """The fate of every record that is kept, by id, and the findings that cost a record or a field.

    Raises:
        ValueError: no record is left, or a split would be empty.
    """
    findings = list(judged.read_findings(validated))
    lost = [finding for finding in findings if finding.action in ("rejected", "dropped")]
    rejected = {finding.record for finding in lost if finding.action == "rejected"}
    dropped: defaultdict[str, set[str]] = defaultdict(set)
    for finding in lost:
        dropped[finding.record].add(finding.field)
    group_of = groups(judged.read_measures(validated), findings)
    members = [
        Member(measured.id, group_of[measured.id], measured.split)
        for measured in judged.read_measures(validated)
        if measured.id not in rejected
    ]
    if not members:
        reasons = Counter(finding.reason for finding in lost if finding.action == "rejected")
        most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(5))
        raise PreparationError(f"{validated}: no usable record of {len(group_of)}; rejected for: {most or 'nothing'}")
    splits, conflicts = assign_all(members, seed, params)
    fates = {
        member.record: Fate(splits[member.record], member.group, frozenset(dropped.get(member.record, ())))
        for member in members
        if member.record in splits
    }
    return fates, [*lost, *(finding for finding in conflicts if finding.action == "rejected")]


def _train(ingested: Path, fates: Mapping[str, Fate], params: TextParams) -> Tokenizer:
    """A tokenizer of the texts of the train split."""

    def usable() -> Iterator[str]:
        for record in track(shards.read_records(ingested, images=False), "records read", None):
            fate = fates.get(record.id)
            if fate is not None and fate.split == "train":
                captions, questions, expressions, _ = usable_texts(record, fate.dropped, params)
                for caption in captions:
                    yield caption.text
                    if caption.negative is not None:
                        yield caption.negative
                yield from (question.text for question in questions)
                yield from expressions.values()

    return texts.train_tokenizer(usable(), params)


def _prepared(
    ingested: Path, fates: Mapping[str, Fate], image: ImageParams, text: TextParams
) -> Iterator[tuple[Example, list[Finding]]]:
    kept = ((record, fates[record.id]) for record in shards.read_records(ingested) if record.id in fates)
    yield from track(ordered_map(partial(prepare_record, image=image, text=text), kept), "records prepared", len(fates))


def _encoded(
    prepared: Iterable[tuple[Example, list[Finding]]], tokenizer: Tokenizer, params: TextParams, tally: _Tally
) -> Iterator[tuple[Example, dict[str, list[int]], list[Finding]]]:
    """Each example with the token ids of its texts; tokenised many at a time."""
    prepared, last = iter(prepared), texts.special_ids(tokenizer)["sep"]
    while some := list(islice(prepared, ROWS_AT_ONCE)):
        found = list(dict.fromkeys(text for example, _ in some for text in examples.texts(example)))
        whole = texts.encode_whole(tokenizer, found)
        tally.cut += sum(len(ids) > params.max_tokens for ids in whole)
        ids = {text: texts.shorten(each, params.max_tokens, last) for text, each in zip(found, whole, strict=True)}
        for example, lost in some:
            yield example, ids, lost


def prepare_record(kept: tuple[Record, Fate], *, image: ImageParams, text: TextParams) -> tuple[Example, list[Finding]]:
    """The example of a record that is kept, and what it had to lose.

    Raises:
        PreparationError: the image does not decode, though validation found that it does.
    """
    record, fate = kept
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
            findings.append(_dropped(record, f"regions[{index}]", str(error)))
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
            findings.append(_dropped(record, where, problem))
            return None
        return cleaned

    captions = []
    for index, caption in enumerate(record.captions):
        if (where := f"captions[{index}]") in dropped:
            continue
        kept = texts.clean(caption.text)
        negative = None if caption.negative is None else judged_text(caption.negative, f"{where}.negative")
        if negative is not None and negative.casefold() == kept.casefold():
            findings.append(_dropped(record, f"{where}.negative", "same_as_caption: it cannot be false"))
            negative = None
        captions.append(Caption(text=kept, negative=negative, kind=caption.kind))
    questions = []
    for index, question in enumerate(record.questions):
        asked = judged_text(question.text, f"questions[{index}]")
        answer = texts.clean(question.answer)
        if asked is not None and not answer:
            findings.append(_dropped(record, f"questions[{index}]", "empty: the answer has no character"))
        elif asked is not None:
            questions.append(Question(text=asked, answer=answer, type=question.type))
    named = ((i, judged_text(region.expression, f"regions[{i}]")) for i, region in enumerate(record.regions))
    expressions = {index: expression for index, expression in named if expression is not None}
    return tuple(captions), tuple(questions), expressions, findings


@lru_cache(maxsize=1 << 16)
def _judge(value: str, params: TextParams) -> tuple[str, str]:
    """Cleaned text and its problem; questions and short statements come back thousands of times."""
    return texts.clean(value), texts.problem(value, params)


def _dropped(record: Record, where: str, problem: str) -> Finding:
    reason, _, detail = problem.partition(": ")
    return Finding(record=record.id, field=where, reason=reason, detail=detail, action="dropped")


def _summary(
    tally: _Tally, findings: list[Finding], tokenizer: Tokenizer, image: ImageParams, text: TextParams
) -> dict[str, Any]:
    def unseen(counts: Mapping[str, Counter[str]]) -> dict[str, int]:
        elsewhere = sum((counts[name] for name in SPLITS[1:]), Counter[str]())
        return {value: count for value, count in elsewhere.items() if value not in counts["train"]}

    return {
        "splits": {
            name: {"records": tally.records[name], "groups": len(tally.groups[name]), **tally.texts[name]}
            for name in SPLITS
        },
        "lost": {
            action: dict(Counter(finding.reason for finding in findings if finding.action == action))
            for action in ("rejected", "dropped")
        },
        "vocabulary_size": tokenizer.get_vocab_size(),
        **{f"{name}_id": number for name, number in texts.special_ids(tokenizer).items()},
        "image_size": image.size,
        "max_tokens": text.max_tokens,
        "texts_cut": tally.cut,
        "labels": dict(tally.labels["train"]),
        "answers": dict(tally.answers["train"]),
        "unseen_labels": unseen(tally.labels),
        "unseen_answers": unseen(tally.answers),
    }
