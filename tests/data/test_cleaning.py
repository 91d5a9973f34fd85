from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.measures import measured, unreadable
from vlp.data.cleaning import CleanParams, judge
from vlp.params import parse
from vlp.records import Finding, Measured


def params(**changes: Any) -> CleanParams:
    return parse(CleanParams, {"colour_matters": True} | changes, "clean")


def picture(seed: int) -> bytes:
    """A thumbnail unlike that of any other seed."""
    return np.random.default_rng(seed).integers(0, 256, 192, dtype=np.uint8).tobytes()


def distinct(number: int, **changes: Any) -> Measured:
    return measured(number, **({"thumbnail": picture(number)} | changes))


def said(findings: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(each.record, each.field, each.reason, each.action) for each in findings]


def test_good_records_leave_nothing_to_say() -> None:
    assert judge([distinct(number) for number in range(20)], params()) == []


def test_an_unreadable_image_costs_the_record_its_reason() -> None:
    (finding,) = judge([unreadable(1)], params())
    assert finding == Finding(record="r1", field="image", reason="truncated", detail="ends early", action="rejected")


def test_a_repair_is_reported_and_the_record_stays() -> None:
    findings = judge([distinct(1, notes=("cmyk", "wrong_extension"))], params())
    assert said(findings) == [("r1", "image", "cmyk", "repaired"), ("r1", "image", "wrong_extension", "repaired")]


@pytest.mark.parametrize(("matters", "action"), [(True, "rejected"), (False, "repaired")])
def test_a_picture_without_colour_goes_where_colour_matters(matters: bool, action: str) -> None:
    grey = distinct(1, saturation=0.0, notes=("greyscale",))
    assert said(judge([grey], params(colour_matters=matters))) == [("r1", "image", "greyscale", action)]


def test_a_blank_picture_is_rejected() -> None:
    blank = distinct(1, contrast=0.5, thumbnail=bytes([200, 190, 180] * 64))
    assert said(judge([blank], params())) == [("r1", "image", "blank", "rejected")]


def test_a_thing_that_only_its_colour_sets_off_is_not_blank() -> None:
    yellow_on_white = distinct(1, contrast=0.5, thumbnail=bytes([255, 255, 255] * 50 + [255, 255, 0] * 14))
    assert judge([yellow_on_white], params()) == []


def test_a_blurred_picture_is_rejected_where_sharpness_is_asked() -> None:
    soft = distinct(1, sharpness=3.0)
    assert judge([soft], params()) == []
    assert said(judge([soft], params(min_sharpness=4.0))) == [("r1", "image", "blurred", "rejected")]


def test_a_caption_goes_alone_and_the_last_one_takes_the_record() -> None:
    some = distinct(1, caption_problems=("", "html: <b>"), caption_words=(5, 2), caption_hashes=("a", "b"))
    none = distinct(2, caption_problems=("empty: no letter",))
    assert said(judge([some, none], params())) == [
        ("r1", "captions[1]", "html", "dropped"),
        ("r2", "captions[0]", "empty", "dropped"),
        ("r2", "captions", "no_caption", "rejected"),
    ]


def test_records_without_captions_are_welcome_where_none_is_asked() -> None:
    bare = distinct(1, caption_problems=(), caption_words=(), caption_hashes=(), caption_scripts=())
    assert judge([bare], params(min_captions=0)) == []
    assert said(judge([bare], params())) == [("r1", "captions", "no_caption", "rejected")]


SAME = {"content_hash": "aa" * 32, "pixel_hash": "bb" * 32, "thumbnail": picture(99), "caption_hashes": ("c",)}


def test_the_later_of_two_equal_files_goes_and_names_the_earlier() -> None:
    (finding,) = judge([distinct(1, **SAME), distinct(2), distinct(3, **SAME)], params())
    assert said([finding]) == [("r3", "image", "exact_duplicate", "rejected")]
    assert finding.detail == "same file as r1"


def test_equal_pixels_in_another_file_are_an_exact_duplicate() -> None:
    (finding,) = judge([distinct(1, **SAME), distinct(2, **SAME | {"content_hash": "dd" * 32})], params())
    assert finding.detail == "same pixels as r1"


@pytest.mark.parametrize(("choice", "actions"), [("group", ["reported"]), ("off", [])])
def test_duplicates_stay_where_they_are_not_to_be_rejected(choice: str, actions: list[str]) -> None:
    for field in ("exact_duplicates", "near_duplicates"):
        other = "near_duplicates" if field == "exact_duplicates" else "exact_duplicates"
        findings = judge([distinct(1, **SAME), distinct(2, **SAME)], params(**{field: choice, other: "off"}))
        assert [each.action for each in findings] == actions


def test_one_picture_with_other_captions_is_reported() -> None:
    findings = judge([distinct(1, **SAME), distinct(2, **SAME | {"caption_hashes": ("d",)})], params())
    assert said(findings) == [
        ("r2", "image", "exact_duplicate", "rejected"),
        ("r2", "captions", "conflicting_captions", "reported"),
    ]


@pytest.mark.parametrize("same", [SAME, {"thumbnail": picture(7)}], ids=["exact", "near"])
@pytest.mark.parametrize(
    ("splits", "gone"),
    [
        (("train", "test"), {"r0"}),
        (("test", "train"), {"r1"}),
        (("train", "validation", "test"), {"r0", "r1"}),
        (("validation", "train", None), {"r1", "r2"}),
        ((None, "test", "test"), {"r0", "r2"}),
        ((None, "train"), {"r1"}),
    ],
)
def test_of_duplicates_that_of_the_latest_official_split_stays(
    same: dict[str, Any], splits: tuple[str | None, ...], gone: set[str]
) -> None:
    findings = judge([distinct(n, split=split, **same) for n, split in enumerate(splits)], params())
    assert {each.record for each in findings if each.action == "rejected"} == gone
    (kept,) = {f"r{n}" for n in range(len(splits))} - gone
    assert all(each.detail.endswith(kept) for each in findings)


def test_of_near_duplicates_in_a_crowd_those_of_test_stay_too() -> None:
    """More look-alikes in train than are looked at for each picture, and one of them in test, the last record."""
    base = np.frombuffer(picture(7), np.uint8).astype(int) // 2
    crowd = []
    for number in range(60):
        thumbnail = base.copy()
        thumbnail[number] += 1
        split = "test" if number == 59 else "train"
        crowd.append(distinct(number, thumbnail=thumbnail.astype(np.uint8).tobytes(), contrast=10.0, split=split))
    findings = judge(crowd, params())
    assert {each.record for each in findings if each.action == "rejected"} == {f"r{n}" for n in range(59)}


def test_what_is_rejected_otherwise_takes_no_duplicate_with_it() -> None:
    first = distinct(1, **SAME | {"caption_problems": ("html: <b>",)})
    findings = judge([first, distinct(2, **SAME)], params())
    assert {each.record for each in findings if each.action == "rejected"} == {"r1"}


def near(seed: int, levels: int) -> bytes:
    return np.clip(np.frombuffer(picture(seed), np.uint8).astype(int) // 2 + levels, 0, 255).astype(np.uint8).tobytes()


def test_near_duplicates_are_rejected_by_one_that_stays() -> None:
    # Their contrasts differ, so that no larger distance is forgiven as a shift.
    chain = [distinct(number, thumbnail=near(7, 4 * number), contrast=10.0 * number) for number in range(1, 5)]
    findings = judge(chain, params(near_distance=5.0))
    assert said(findings) == [
        ("r2", "image", "near_duplicate", "rejected"),
        ("r3", "image", "near_duplicate", "reported"),  # only r2 is near, which has gone; yet they are relatives
        ("r4", "image", "near_duplicate", "rejected"),
    ]
    assert [each.detail[-len("from r1") :] for each in findings] == ["from r1", "from r2", "from r3"]


@pytest.mark.parametrize("choice", ["reject", "group"])
def test_two_crowds_of_look_alikes_are_one(choice: str) -> None:
    """Each has more near ones in its own crowd than are looked at; a step lies between the two."""
    base = np.frombuffer(picture(7), np.uint8).astype(int) // 2
    crowds = []
    for number in range(80):
        thumbnail = base + (3 if number < 40 else 0)
        thumbnail[number] += 1  # all are distinct
        crowds.append(distinct(number, thumbnail=thumbnail.astype(np.uint8).tobytes(), contrast=10.0))
    findings = judge(crowds, params(near_distance=4.5, near_duplicates=choice))
    rejected = {each.record for each in findings if each.action == "rejected"}
    assert len(rejected) == (79 if choice == "reject" else 0)
    linked = {each.record for each in findings}
    assert len(linked) == 79


def test_a_looser_distance_finds_more() -> None:
    two = [distinct(1, thumbnail=near(7, 0)), distinct(2, thumbnail=near(7, 7))]
    assert judge(two, params(near_distance=3.0)) == []
    assert len(judge(two, params(near_distance=8.0))) == 1


def test_grouped_look_alikes_are_linked_once_each() -> None:
    alike = [distinct(number, thumbnail=near(7, number % 3)) for number in range(30)]
    findings = judge(alike, params(near_duplicates="group"))
    assert {each.action for each in findings} == {"reported"}
    assert len(findings) == 29


def test_findings_stand_in_the_records_order() -> None:
    measures = [
        distinct(1, **SAME),
        distinct(2, **SAME),
        unreadable(3),
        distinct(4, notes=("alpha",)),
        distinct(5, thumbnail=SAME["thumbnail"]),
    ]
    assert [each.record for each in judge(iter(measures), params())] == ["r2", "r3", "r4", "r5"]


def test_no_records_leave_nothing_to_say() -> None:
    assert judge([], params()) == []


def test_a_framed_picture_is_rejected_where_it_is_asked() -> None:
    framed = distinct(1, border=0.4)
    assert judge([framed], params()) == []
    assert said(judge([framed], params(max_border=0.3))) == [("r1", "image", "framed", "rejected")]


TWO_CAPTIONS = {
    "caption_problems": ("", ""),
    "caption_words": (5, 5),
    "caption_hashes": ("c", "d"),
    "caption_scripts": ("latin", "latin"),
}


def test_a_pair_that_people_rejected_goes_and_its_last_caption_takes_the_record() -> None:
    measures = [distinct(1, **TWO_CAPTIONS), distinct(2), distinct(3)]
    people = {
        "r1": {"captions[0]": "by the model, score -2.000"},
        "r2": {"captions[0]": ""},
        "r3": {"record": "a logo"},
    }
    assert said(judge(measures, params(), people)) == [
        ("r1", "captions[0]", "mismatched", "dropped"),
        ("r2", "captions[0]", "mismatched", "dropped"),
        ("r2", "captions", "no_caption", "rejected"),
        ("r3", "record", "mismatched", "rejected"),
    ]
    reported = judge(measures, params(reviewed="report"), people)
    assert {finding.action for finding in reported} == {"reported"}
    assert len(reported) == 3
    assert judge(measures, params(reviewed="off"), people) == []


def test_a_review_of_a_record_that_is_not_there_is_told(caplog: pytest.LogCaptureFixture) -> None:
    gone = {"r1": {"record": ""}, "renamed": {"record": ""}}
    assert len(judge([distinct(1)], params(), gone)) == 1
    assert "1 of 2 rejected records are not in the data, so nothing is rejected of them: 'renamed'" in caplog.text
    caplog.clear()
    judge([distinct(1)], params(reviewed="off"), gone)
    assert not caplog.records


def test_a_review_of_a_caption_that_is_not_there_is_told() -> None:
    (finding,) = judge([distinct(1)], params(), {"r1": {"captions[4]": ""}})
    assert (finding.reason, finding.action) == ("review_without_caption", "reported")
