from __future__ import annotations

import pytest

from support.measures import measured
from vlp.data.validated import Contents, counts, verdicts, visible
from vlp.records import Action, Caption, Finding, Question, Record, Region


def finding(record: str, field: str, reason: str, action: Action = "rejected") -> Finding:
    return Finding(record=record, field=field, reason=reason, action=action)


FOUND = verdicts(
    [
        finding("r0", "image", "tiny"),
        finding("r0", "captions", "no_caption"),
        finding("r0", "captions[0]", "html", "dropped"),
        finding("r1", "captions[0]", "html", "dropped"),
        finding("r1", "captions[2]", "empty", "dropped"),
        finding("r1", "image", "cmyk", "repaired"),
        finding("r2", "regions[1]", "mask_size", "dropped"),
        finding("r2", "captions", "conflicting_captions", "reported"),
    ]
)


def test_findings_are_sorted_by_what_they_do() -> None:
    assert FOUND.rejected == {"r0": ["tiny", "no_caption"]}
    assert FOUND.dropped_captions == {"r1": {0, 2}}, "a rejected record has no caption left to drop"
    assert FOUND.by_reason["dropped"] == {"empty": 1, "html": 2, "mask_size": 1}
    assert FOUND.by_reason["repaired"] == {"cmyk": 1}


def test_a_record_with_two_reasons_counts_once_as_rejected_and_under_both() -> None:
    figures = counts([measured(number) for number in range(4)], FOUND)
    assert (figures["records"], figures["rejected"], figures["reject_share"]) == (4, 1, 0.25)
    assert figures["rejects_by_reason"] == {"no_caption": 1, "tiny": 1}
    assert (figures["captions"], figures["captions_dropped"]) == (4, 2)


def test_contents_are_counted_as_the_records_pass() -> None:
    record = Record(
        id="a",
        image=b"",
        image_name="",
        captions=(Caption(text="x", negative="y", kind="count"), Caption(text="z", kind="relation")),
        group="a",
        labels=("cat", "cat", "dog"),
        questions=(Question(text="?", answer="yes"), Question(text="!", answer="yes")),
        regions=(Region(expression="x", mask=b""),),
    )
    contents = Contents()
    assert list(contents.watch([record])) == [record]
    assert contents.labels == {"cat": 1, "dog": 1}
    assert contents.labelled == 1
    assert contents.answers == {"yes": 2}
    assert contents.kinds == {"count": 1}
    assert contents.regions == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("كِتَابٌ", ["كِتَابٌ"]),
        ("a_b café", ["a", "b", "café"]),
        ("红色x", ["红", "色", "x"]),
    ],
)
def test_words_keep_their_vowel_signs(text: str, words: list[str]) -> None:
    contents = Contents()
    list(contents.watch([Record(id="a", image=b"", image_name="", captions=(Caption(text=text),), group="a")]))
    assert contents.words == dict.fromkeys(words, 1)


def test_invisible_characters_are_shown_and_long_texts_cut() -> None:
    assert visible("a\0b\u200bc\nd") == "a␀b⟨U+200B⟩c\nd"
    assert visible("x" * 200) == "x" * 160 + "…"
