from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp.data import examples
from vlp.data.loading import Examples, Prepared, TokenIds
from vlp.records import Caption, Example
from vlp.suspects import page
from vlp.suspects.ranking import exchanged, pairs_of, probe, rank

SPLITS = ("train", "validation", "test")
IDS = {f"word {number}": [2, 10 + number, 3] for number in range(200)}


def example(number: int, *captions: int) -> Example:
    return Example(
        id=f"r{number}",
        group=f"g{number}",
        image=np.full((16, 16, 3), number, np.uint8),
        captions=tuple(Caption(text=f"word {each}") for each in captions),
        labels=(),
        questions=(),
        regions=(),
        annotation=None,
    )


def prepared(folder: Path, rows: Sequence[Example], lost: Sequence[dict[str, Any]] = ()) -> Prepared:
    """A data set in which the word of a caption is the brightness of its picture."""
    for split in SPLITS:
        mine = [each for each in rows if SPLITS[int(each.id[1:]) % 3] == split]
        examples.write(folder, split, ((each, IDS) for each in mine))
    (folder / "rejects.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lost), encoding="utf-8")
    numbers = {f"{name}_id": place for place, name in enumerate(("pad", "unk", "cls", "sep", "mask"))}
    summary = {"vocabulary_size": 300, "image_size": 16, **numbers}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return Prepared(folder)


def brightness(split: Examples, rows: np.ndarray, texts: Sequence[TokenIds]) -> np.ndarray:
    """The less the word is the picture's brightness, the lower."""
    seen = split.images(rows.tolist())[:, 0, 0, 0].numpy().astype(float)
    return -np.abs(seen - np.array([float(ids[1]) - 10 for ids in texts]))


def test_the_least_likely_pairs_come_first_from_all_splits(tmp_path: Path) -> None:
    rows = [example(number, number, number + (5 if number in (4, 8) else 0)) for number in range(12)]
    found = rank(prepared(tmp_path, rows), SPLITS, brightness, worst=3, by="caption")
    assert [(each.record, each.field, each.split, each.caption, each.score) for each in found] == [
        ("r4", "captions[1]", "validation", "word 9", -5.0),
        ("r8", "captions[1]", "test", "word 13", -5.0),
        ("r0", "captions[0]", "train", "word 0", 0.0),
    ]


def test_a_record_is_one_pair_with_all_of_its_captions_and_shows_the_least_likely(tmp_path: Path) -> None:
    rows = [example(number, number, number + (5 if number in (4, 8) else 0)) for number in range(12)]
    rows[7] = example(7, 11, 11)
    found = rank(prepared(tmp_path, rows), SPLITS, brightness, worst=2)
    assert [(each.record, each.field, each.caption, each.score) for each in found] == [
        ("r7", "record", "word 11", -4.0),
        ("r4", "record", "word 9", -2.5),
    ]


def test_a_caption_is_named_by_its_place_among_those_that_were_collected(tmp_path: Path) -> None:
    lost = [
        {"record": "r0", "field": field, "reason": "html", "action": "dropped"}
        for field in ("captions[0]", "captions[2]", "captions[3].negative")
    ]
    rows = [example(0, 0, 0, 9), *(example(number, number) for number in range(1, 6))]
    (found,) = rank(prepared(tmp_path, rows, lost), SPLITS, brightness, worst=1, by="caption")
    assert (found.record, found.field, found.caption) == ("r0", "captions[4]", "word 9")


def test_a_perfect_judge_finds_all_that_was_exchanged_and_chance_finds_its_share(tmp_path: Path) -> None:
    split = prepared(tmp_path, [example(number, number, number) for number in range(180)]).split("train")
    found = probe(split, brightness, 0.1, seed=1, by="caption", resamples=50)
    assert (found["pairs"], found["injected"], found["base_rate"]) == (120, 12, 0.1)
    assert found["average_precision"] == found["precision_at_injected"] == 1
    rng = np.random.default_rng(0)
    blind = probe(split, lambda _, rows, __: rng.random(len(rows)), 0.1, seed=1, by="caption", resamples=50)
    assert blind["average_precision"] < 0.4


def test_by_record_all_captions_of_a_pair_are_exchanged_together(tmp_path: Path) -> None:
    rows = [example(number, number, *([number] if number % 2 else [])) for number in range(180)]
    split = prepared(tmp_path, rows).split("train")
    pairs = pairs_of(split)
    ids, wrong = exchanged(split, pairs, 0.1, 1, "record")
    assert len(set(pairs.rows[wrong].tolist())) == 6
    for row in set(pairs.rows[wrong].tolist()):
        mine = np.flatnonzero(pairs.rows == row)
        assert wrong[mine].all()
        assert len({ids[at][1] for at in mine}) == 1, "of one other record"
        assert ids[mine[0]][1] != pairs.ids[mine[0]][1]
    found = probe(split, brightness, 0.1, seed=1, resamples=50)
    assert (found["pairs"], found["injected"], found["average_precision"]) == (60, 6, 1)


def test_no_pair_is_exchanged_with_its_own_group(tmp_path: Path) -> None:
    rows = [example(number, number) for number in (0, 3)]
    alone = [Example(**{**{name: getattr(each, name) for name in Example.__slots__}, "group": "g"}) for each in rows]
    split = prepared(tmp_path, alone).split("train")
    with pytest.raises(ValueError, match="no caption can be exchanged"):
        probe(split, brightness, 0.5, seed=1)


def test_the_page_shows_pictures_and_hides_nothing_that_a_text_could_do(tmp_path: Path) -> None:
    IDS["<script>"] = [2, 90, 3]
    attack = Example(
        **{
            **{name: getattr(example(0, 0), name) for name in Example.__slots__},
            "captions": (Caption(text="<script>"),),
        }
    )
    data = prepared(tmp_path, [attack, *(example(number, number) for number in range(1, 6))])
    page.write(tmp_path / "page.html", data, rank(data, SPLITS, brightness, worst=2))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2
    assert "&lt;script&gt;" in text
    assert "<script" not in text
