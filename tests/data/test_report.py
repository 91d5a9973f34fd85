from __future__ import annotations

import base64
import html.parser
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.measures import measured, params, unreadable
from vlp.data.expectations import Outcome
from vlp.data.report import Validation, histogram, render, write
from vlp.data.validated import Contents, counts, verdicts
from vlp.preprocessing.image import ImageParams
from vlp.records import Finding, Measured

IMAGE = ImageParams(size=16)
ATTACK = "<script>alert('\u202e')</script>&amp;"


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 20), color).save(buffer, "PNG")
    return buffer.getvalue()


def row(image: bytes = b"", *captions: str) -> dict[str, Any]:
    return {"image": image, "captions": [{"text": text} for text in captions]}


def page(
    measures: list[Measured],
    findings: list[Finding],
    rows: dict[int, dict[str, Any]],
    outcomes: tuple[Outcome, ...] = (),
    contents: Contents | None = None,
    **changes: Any,
) -> str:
    whole = Validation(measures, findings, outcomes, contents or Contents(), counts(measures, verdicts(findings)))
    return render(whole, lambda place: rows.get(place, row()), IMAGE, params(**changes))


def outcome(severity: Any = "critical", *, met: bool = False) -> Outcome:
    return Outcome(name="n", severity=severity, says="s", threshold="≥ 1", observed="0", met=met, examples=("r0",))


class Tags(html.parser.HTMLParser):
    """Every start tag with its attributes, and whether all that were opened were closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


HOSTILE = page(
    [measured(0, id=ATTACK, split=ATTACK, format=ATTACK, caption_scripts=(ATTACK,))],
    [Finding(record=ATTACK, field="captions[0]", reason="html", detail=ATTACK, action="dropped")],
    {0: row(png(), ATTACK)},
    (
        Outcome(
            name="n", severity="critical", says=ATTACK, threshold="1", observed=ATTACK, met=False, examples=(ATTACK,)
        ),
    ),
    Contents(labelled=1),
)


def test_no_text_of_the_data_becomes_markup() -> None:
    tags = Tags(HOSTILE)
    assert tags.open == []
    assert "script" not in {tag for tag, _ in tags.found}
    assert "&lt;script&gt;" in HOSTILE
    assert "\u202e" not in HOSTILE, "a character that turns the reading direction is shown by its number"


def test_nothing_is_fetched() -> None:
    tags = Tags(HOSTILE)
    links = [value for _, attributes in tags.found for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all((value or "").startswith("data:image/png;base64,") for value in links)
    assert not re.search(r"https?:|url\(|@import", HOSTILE)


def test_every_picture_has_a_text_and_every_table_heads() -> None:
    tags = Tags(HOSTILE)
    assert all(attributes.get("alt") for tag, attributes in tags.found if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in tags.found if tag == "svg")
    assert all(attributes.get("scope") for tag, attributes in tags.found if tag == "th")


def test_an_example_shows_the_picture_small_and_the_caption() -> None:
    found = [Finding(record="r0", field="captions[1]", reason="html", detail="<b>", action="dropped")]
    whole = page([measured(0)], found, {0: row(png("blue"), "first", "second")})
    text = whole[: whole.index("The poorest that were kept")]
    assert "second" in text
    assert "first" not in text
    (encoded,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert picture.size == (64, 64)
    assert picture.convert("RGB").getpixel((32, 32)) == (0, 0, 255)


def test_a_caption_that_is_there_no_more_has_no_text() -> None:
    found = [Finding(record="r0", field="captions[4]", reason="review_without_caption", action="reported")]
    assert "captions[4]" in page([measured(0)], found, {0: row(png("blue"), "first")})


def test_an_image_that_does_not_decode_is_said_in_words() -> None:
    found = [Finding(record="r0", field="image", reason="truncated")]
    text = page([unreadable(0)], found, {0: row(b"broken")})
    assert "no picture" in text
    assert "<img" not in text


def test_only_so_many_examples_of_a_reason_are_shown_and_all_are_counted() -> None:
    measures = [measured(number) for number in range(1200)]
    found = [Finding(record=each.id, field="image", reason="tiny") for each in measures]
    text = page(measures, found, {0: row(), 1: row()}, examples=2)
    assert text.count("<figure>") == 2
    assert "<span>1,200</span>" in text
    assert "100.00% of the records" in text


@pytest.mark.parametrize(
    ("outcomes", "mode", "expected"),
    [
        ((outcome(),), "enforce", ("1 critical failure", "The pipeline stops here.")),
        ((outcome(), outcome("warning")), "warn", ("1 critical failure and 1 warning", "lets the pipeline go on")),
        ((outcome("warning"), outcome("warning")), "enforce", ("Passed with 2 warnings", "a person should look")),
        ((outcome(met=True),), "enforce", ("Passed", "Every expectation is met")),
        ((), "off", ("Not checked", "nothing was expected")),
    ],
)
def test_the_verdict_says_what_happens_next(
    outcomes: tuple[Outcome, ...], mode: str, expected: tuple[str, str]
) -> None:
    text = page([measured(0)], [], {}, outcomes, mode=mode)
    assert f"Validation: {expected[0]}</title>" in text
    assert expected[1] in text


def test_a_report_of_nothing_is_a_page_too() -> None:
    assert Tags(page([], [], {})).open == []


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    records = pa.Table.from_pylist([row(png(), "a cat")])
    measures, contents = [measured(0)], Contents()
    contents.labels.update(cat=2, dog=2)
    found = [Finding(record="r0", field="captions[0]", reason="html", action="dropped")]
    whole = Validation(measures, found, (outcome(),), contents, counts(measures, verdicts(found)))
    for name in ("one.html", "two.html"):
        write(tmp_path / name, whole, records, IMAGE, params())
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_whole_numbers_have_whole_bars() -> None:
    plot = histogram("words", [1, 1, 3])
    assert [bar["label"] for bar in plot["bars"]] == ["1: 2", "3: 1"]
    assert plot["summary"] == "1 to 3, median 1 (3)"


def test_equal_values_need_no_plot() -> None:
    assert histogram("side", [64, 64])["summary"] == "all 64 (2)"
    assert histogram("side", [])["summary"] == "none"


@given(st.lists(st.floats(0, 1e6) | st.integers(0, 100_000), min_size=1, max_size=60))
def test_every_value_is_in_a_bar_that_lies_on_the_plot(values: list[float]) -> None:
    plot = histogram("x", values)
    counted = [int(bar["label"].rsplit(": ", 1)[1].replace(",", "")) for bar in plot["bars"]]
    assert sum(counted) == (0 if min(values) == max(values) else len(values))
    assert all(-0.01 <= float(bar["x"]) <= 320 and 0.99 <= float(bar["y"]) <= 99 for bar in plot["bars"])
    assert len(plot["bars"]) <= 33


def test_the_poorest_pictures_that_were_kept_are_shown_and_rejected_ones_are_not() -> None:
    measures = [measured(number, contrast=10.0 + number, sharpness=90.0 - number) for number in range(6)]
    gone = Finding(record="r0", field="image", reason="tiny")
    shown = page(measures, [gone], {number: row(png(), f"picture {number}") for number in range(6)}, examples=2)
    poorest = shown[shown.index("The poorest that were kept") : shown.index("Distributions")]
    assert re.findall(r"<strong>(r\d)</strong>", poorest) == ["r5", "r4", "r1", "r2"]
    assert "contrast 11" in poorest
    assert "“picture 5”" in poorest


def test_how_far_each_distribution_has_moved_is_shown_the_farthest_first() -> None:
    measures = [measured(0)]
    whole = Validation(measures, [], (), Contents(), counts(measures, verdicts([])), [("words", 0.1), (ATTACK, 0.9)])
    shown = render(whole, lambda _: row(), IMAGE, params())
    drift = shown[shown.index("Distance from the accepted") : shown.index("Distributions")]
    assert re.findall(r"0\.\d{3}", drift) == ["0.900", "0.100"]
    assert "<script" not in drift
