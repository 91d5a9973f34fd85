from __future__ import annotations

from typing import Any

import pytest

from support.measures import measured, params, unreadable
from vlp.data.expectations import ExpectationError, Outcome, check, enforce, failures, table
from vlp.data.frames import Frames, frames, with_drift
from vlp.data.validated import Contents, verdicts
from vlp.records import Finding, Measured


def good(count: int = 4) -> list[Measured]:
    return [measured(number) for number in range(count)]


def laid_out(measures: list[Measured], findings: tuple[Finding, ...] = (), contents: Contents | None = None) -> Frames:
    return frames(measures, verdicts(findings), contents or Contents())


def rejected(*ids: str) -> tuple[Finding, ...]:
    return tuple(Finding(record=name, field="image", reason="tiny") for name in ids)


def failed(*arguments: Any, **changes: Any) -> dict[str, Outcome]:
    found = check(laid_out(*arguments), params(**changes))
    return {each.name: each for each in found if not each.met}


def test_good_records_meet_every_expectation() -> None:
    outcomes = check(laid_out(good()), params())
    assert [each.name for each in outcomes if not each.met] == []
    assert [each.severity for each in outcomes] == ["critical"] * 8 + ["warning"] * 9
    observed = {each.name: each.observed for each in outcomes}
    assert observed["images_readable"] == "100.00%"
    assert observed["records_kept"] == "4"
    assert observed["labels_balanced"] == "nothing to check"


def labelled(**counts: int) -> Contents:
    contents = Contents(labelled=10)
    contents.labels.update(counts)
    return contents


FAILING: dict[str, tuple[str, tuple[Any, ...], str, tuple[str, ...]]] = {
    "ids_unique": ("critical", ([*good(3), measured(1)],), "2 that share one", ("r1",)),
    "records_kept": ("critical", (good(2), rejected("r0", "r1")), "0", ()),
    "images_readable": ("critical", ([*good(2), unreadable(2), unreadable(3)],), "50.00%", ("r2", "r3")),
    "records_accepted": ("critical", (good(4), rejected("r1", "r3")), "50.00%", ("r1", "r3")),
    "images_distinct": (
        "critical",
        ([measured(n, pixel_hash="same") for n in range(4)],),
        "25.00%",
        ("r1", "r2", "r3"),
    ),
    "images_large_enough": (
        "critical",
        ([*good(2), measured(2, width=31), measured(3, height=8)],),
        "50.00%",
        ("r2", "r3"),
    ),
    "captions_present": (
        "critical",
        (good(2), (Finding(record="r1", field="captions[0]", reason="html", action="dropped"),)),
        "50.00%",
        ("r1",),
    ),
    "caption_length": (
        "warning",
        ([measured(0, caption_words=(1,)), measured(1, caption_words=(11,))],),
        "0.00%",
        ("r0", "r1"),
    ),
    "caption_script": (
        "warning",
        ([*good(3), *[measured(n, caption_scripts=("han",)) for n in (7, 8)]],),
        "60.00%",
        ("r7", "r8"),
    ),
    "captions_distinct": (
        "warning",
        ([*good(1), *[measured(n, caption_hashes=("x",)) for n in (7, 8)]],),
        "33.33%",
        ("r7", "r8"),
    ),
    "labels_balanced": ("warning", (good(), (), labelled(cat=9, dog=1)), "90.00% 'cat'", ()),
    "splits_apart": (
        "warning",
        ([*good(2), measured(2, split="train", group="a"), measured(3, split="test", group="a")],),
        "50.00%",
        ("r2", "r3"),
    ),
    "images_with_contrast": ("warning", ([*good(1), measured(1, contrast=0.5)],), "50.00%", ("r1",)),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_expectation_fails_on_what_it_is_about_and_names_records(name: str) -> None:
    severity, arguments, observed, examples = FAILING[name]
    outcome = failed(*arguments)[name]
    assert (outcome.severity, outcome.observed, outcome.examples) == (severity, observed, examples)


def test_answers_that_are_all_alike_are_a_warning() -> None:
    contents = Contents()
    contents.answers.update(yes=9, no=1)
    assert failed(good(), (), contents)["answers_balanced"].observed == "90.00% 'yes'"


def test_captions_whose_words_never_come_again_are_a_warning() -> None:
    contents = Contents()
    contents.words.update({"a": 4} | {f"x{number}": 1 for number in range(6)})
    outcome = failed(good(), (), contents)["vocabulary"]
    assert (outcome.severity, outcome.observed) == ("warning", "60.00% 'words said once'")


def test_what_has_moved_from_the_accepted_data_set_is_a_warning_that_names_it() -> None:
    laid = with_drift(laid_out(good()), [("words", 0.05), ("contrast", 0.31)])
    found = {each.name: each for each in check(laid, params())}["drift"]
    assert (found.met, found.severity, found.observed) == (False, "warning", "31.00% 'contrast'")
    assert {each.name: each for each in check(laid, params(max_drift=0.5))}["drift"].met


def test_a_measure_that_is_missing_fails_the_schema() -> None:
    laid = laid_out(good())
    broken = Frames(
        **{**{name: getattr(laid, name) for name in Frames.__slots__}, "records": laid.records.drop(columns="mode")}
    )
    outcome = next(each for each in check(broken, params()) if each.name == "schema")
    assert (outcome.met, outcome.observed) == (False, "without mode")


def test_a_threshold_that_is_met_exactly_is_met() -> None:
    assert "images_readable" not in failed([*good(3), unreadable(3)])


def test_nothing_is_expected_when_the_mode_is_off() -> None:
    assert check(laid_out([unreadable(0)]), params(mode="off")) == []


def test_critical_failures_stop_with_every_reason_in_one_screen() -> None:
    outcomes = check(laid_out([*good(2), unreadable(2), unreadable(3)], rejected("r2", "r3")), params())
    with pytest.raises(ExpectationError) as error:
        enforce(outcomes, params(), "reports/validation.html")
    lines = str(error.value).splitlines()
    assert lines[0] == "validation: 2 critical expectations failed"
    assert lines[1].split() == ["expectation", "expected", "threshold", "observed", "for", "example"]
    assert lines[2].split() == ["images_readable", "images", "decode", "≥", "75.00%", "50.00%", "r2,", "r3"]
    assert "reports/validation.html" in lines[-1]


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_critical_failures_stop_only_where_they_are_enforced(mode: str) -> None:
    outcomes = check(laid_out([unreadable(0)]), params(mode="warn"))
    assert failures(outcomes, "critical")
    enforce(outcomes, params(mode=mode), "report")


def test_warnings_do_not_stop() -> None:
    outcomes = check(laid_out([measured(0, contrast=0.0)]), params())
    assert [each.name for each in failures(outcomes, "warning")] == ["images_with_contrast"]
    enforce(outcomes, params(), "report")


def test_a_table_of_outcomes_is_aligned() -> None:
    outcome = Outcome(
        name="a", severity="warning", says="b", threshold="1", observed="2", met=False, examples=("x", "y")
    )
    assert table([outcome]) == (
        "expectation  expected  threshold  observed  for example\na            b         1          2         x, y"
    )


def test_an_id_with_a_line_end_or_a_terminal_code_cannot_break_the_table() -> None:
    outcome = Outcome(
        name="a", severity="warning", says="b", threshold="1", observed="2", met=False, examples=("x\n\x1b[2J",)
    )
    assert table([outcome]).splitlines()[1:] == ["a            b         1          2         x␊␛[2J"]
