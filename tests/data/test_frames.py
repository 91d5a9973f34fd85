from __future__ import annotations

from typing import Any

from support.measures import measured, unreadable
from vlp.data.frames import COLUMNS, Frames, frames
from vlp.data.validated import Contents, verdicts
from vlp.records import Finding, Measured


def laid_out(measures: list[Measured], findings: tuple[Finding, ...] = ()) -> Frames:
    return frames(measures, verdicts(findings), Contents())


def test_a_caption_twice_on_one_record_is_not_repeated() -> None:
    twice = measured(
        1, caption_problems=("", ""), caption_words=(5, 5), caption_hashes=("x", "x"), caption_scripts=("latin",) * 2
    )
    assert not laid_out([twice]).captions["repeated"].any()


def test_a_repeated_image_counts_from_its_second_record_on() -> None:
    laid = laid_out([measured(0, pixel_hash="same"), unreadable(1), unreadable(2), measured(3, pixel_hash="same")])
    assert laid.records["repeat"].tolist() == [False, False, False, True]


def test_rejected_records_and_dropped_captions_are_left_out_of_what_is_kept() -> None:
    findings = (
        Finding(record="r0", field="image", reason="tiny"),
        Finding(record="r1", field="captions[1]", reason="html", action="dropped"),
    )
    laid = laid_out(
        [measured(0), measured(1, **{f"caption_{name}": 2 * value for name, value in TWO.items()})], findings
    )
    assert laid.kept["id"].tolist() == ["r1"]
    assert laid.captions[["row", "words"]].to_numpy().tolist() == [[1, 5]]


TWO: dict[str, tuple[Any, ...]] = {"problems": ("",), "words": (5,), "hashes": ("x",), "scripts": ("latin",)}


def test_columns_are_those_that_the_schema_expects_also_without_any_record() -> None:
    assert tuple(laid_out([measured(0)]).records.columns) == COLUMNS
    empty = laid_out([])
    assert tuple(empty.records.columns) == COLUMNS
    assert len(empty.captions) == 0
    assert empty.main_script == ""


def test_the_main_script_is_that_of_most_captions() -> None:
    laid = laid_out([measured(0, caption_scripts=("han",)), measured(1), measured(2)])
    assert laid.main_script == "latin"


def test_a_picture_in_two_official_splits_leaks_unless_one_of_them_is_rejected() -> None:
    pair = [measured(0, split="train", pixel_hash="same"), measured(1, split="test", pixel_hash="same"), measured(2)]
    assert laid_out(pair).records["leaks"].tolist() == [True, True, False]
    repeated = Finding(record="r1", field="image", reason="exact_duplicate")
    assert not laid_out(pair, (repeated,)).records["leaks"].any()


def test_shares_of_labels_are_of_the_labelled_records() -> None:
    contents = Contents(labelled=4)
    contents.labels.update(cat=3, dog=2)
    labels = frames([measured(0)], verdicts(()), contents).labels
    assert labels.to_numpy().tolist() == [["cat", 0.75], ["dog", 0.5]]
