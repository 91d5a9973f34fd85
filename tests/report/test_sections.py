"""Sections of two sides made by hand: what the repository of test_page.py does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlp.report import sections
from vlp.report.lock import Cache, Entry, Lock
from vlp.report.markdown import MOST_ROWS
from vlp.report.revisions import Revision


def side(folder: Path, label: str, metrics: dict[str, Any], params: dict[str, Any] | None = None) -> sections.Side:
    outs = {"models/bundle": Entry("0" * 32 + ".dir", 12, 3)}
    lock = Lock(outs, {}, {"export": {"cmd": label}})
    return sections.Side(Revision(label, "c" * 40, folder), label, {"metrics/m.json": metrics}, lock, params or {})


def pair(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> sections.Pair:
    return sections.Pair(side(folder, "main", old), side(folder, "this branch", new), Cache(folder))


def test_a_metric_that_is_lost_comes_first_and_loud(tmp_path):
    old = {"accuracy": 0.5, "recall": 0.5, "itm_loss": 0.4, "steps": 10}
    new = {"recall": None, "itm_loss": 0.3, "steps": 20, "f1": 0.5}
    said, tables = sections.metrics(pair(tmp_path, old, new))
    assert said == (
        "**2 figures lost** (`m: accuracy`, `m: recall`); 1 metric better, without an interval; 1 figure new; "
        "1 figure without a better or worse changed."
    )
    assert "| `m: accuracy` | 0.5 | – | – | – | **gone** |" in tables
    assert "| `m: recall` | 0.5 | `null` | – | – | **no number any more** |" in tables
    assert "| `m: f1` | – | 0.5 | – | – | new |" in tables


def test_what_is_worse_beyond_the_interval_is_never_cut_by_what_is_not(tmp_path):
    def figures(value: float) -> dict[str, Any]:
        found: dict[str, Any] = {f"a{place:02d}": value for place in range(MOST_ROWS)}  # neither good nor bad
        found |= {"b_accuracy": 1 - value, "c_accuracy": value}
        for place in range(7):
            found |= {f"z{place}_accuracy": value, f"z{place}_accuracy_ci95": [value - 0.05, value + 0.05]}
        return found

    def nested(value: float) -> dict[str, Any]:
        return figures(value) | {"slices": figures(value)}

    said, tables = sections.metrics(pair(tmp_path, nested(0.7) | {"lost": 1}, nested(0.4)))
    named = ", ".join(f"`m: {name}`" for name in [f"slices.z{place}_accuracy" for place in range(5)])
    assert said.startswith(
        f"**1 figure lost** (`m: lost`); **14 metrics worse beyond the interval** ({named} and 9 more)"
    )
    whole, slices = (
        [line.split("`")[1].removeprefix("m: ") for line in each.splitlines() if line.startswith("| `")]
        for each in tables.split("<details>")[:2]
    )
    worst = [f"z{place}_accuracy" for place in range(7)]
    assert whole[:11] == ["lost", *worst, "c_accuracy", "b_accuracy", "a00"]
    assert slices[:9] == [f"slices.{name}" for name in (*worst, "c_accuracy", "b_accuracy")]
    assert len(whole) == len(slices) == MOST_ROWS


def test_what_is_the_same_is_said_and_listed(tmp_path):
    same = pair(tmp_path, {"accuracy": 0.5}, {"accuracy": 0.5})
    said, tables = sections.metrics(same)
    assert said == "**No metric differs.**"
    assert "| `m: accuracy` | 0.5 |" in tables
    assert sections.parameters(same) == "No parameter differs."
    assert sections.validation(same) == "Neither side has `metrics/validation.json`."
    assert sections.changed_predictions(same) == "No task leaves predictions in `reports/evaluation`."


def test_a_stage_that_ran_again_to_the_same_end_is_named(tmp_path):
    text = sections.data(pair(tmp_path, {}, {}))
    assert text == "Stages that ran again or are new: `export`.\n\nNo data, model or report that DVC tracks differs."


def test_critical_expectations_that_are_not_met_come_first(tmp_path):
    found = pair(tmp_path, {}, {})
    for each, failures in ((found.old, 0), (found.new, 2)):
        each.metrics[sections.VALIDATION] = {"records": 10, "critical_failures": failures}
    text = sections.validation(found)
    assert text.startswith("**2 critical expectations not met.**\n\n| validation | main | this branch |")
    assert "| `critical_failures` | 0 | 2 | +2 | ▼ worse |" in text
