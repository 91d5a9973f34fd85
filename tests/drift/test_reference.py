from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import write_prepared, write_toy_bundle
from support.requests import LIMITS, requests
from vlp.drift import reference
from vlp.runtime.predictor import Predictor
from vlp.runtime.served import Served


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Predictor]:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "work").mkdir()
    write_toy_bundle(folder / "bundle", folder / "work")
    write_prepared(folder / "prepared", records=40)
    return folder / "prepared", Predictor.open(folder / "bundle", threads=1)


def built(parts: tuple[Path, Predictor], seed: int = 7) -> list[Served]:
    return list(reference.build(*parts, LIMITS, seed))


def test_the_reference_is_measured_and_answered_as_requests_are(parts):
    rows = built(parts)
    assert [row.request for row in rows] == [f"test-{place}" for place in range(40)]
    assert {row.at for row in rows} == {""}
    assert {row.words for row in rows} == {3}
    red = [row for row in rows if row.request.endswith(("1", "3", "5", "7", "9"))]
    assert all(row.red > row.blue for row in red)
    # The toy model is sure of "red" on a red picture and of its edit's "blue" being false.
    assert {round(row.score) for row in red} == {0, 1}


def test_the_same_seed_draws_the_same_statements(parts):
    assert built(parts) == built(parts)
    assert built(parts) != built(parts, seed=8)


def test_a_smaller_reference_is_a_draw_of_the_records(parts):
    # LIMITS cannot be below 100 records by its own rules; the draw is what is tested.
    rows = list(reference.build(*parts, LIMITS.model_copy(update={"records": 10}), 7))
    assert len({row.request for row in rows}) == 10


def test_a_summary_says_where_each_feature_lies(parts):
    found = reference.summary(requests(200, seed=1))
    assert found["words"]["q50"] == pytest.approx(7.5, abs=1)
    assert found["red"]["q01"] < found["red"]["mean"] < found["red"]["q99"]


def test_false_alarms_are_measured_on_windows_of_the_reference_itself():
    limits = LIMITS.model_copy(update={"trials": 100})
    share = reference.false_alarm_share(requests(500, seed=1, reference=True), limits, seed=3)
    assert share is not None
    assert share <= 0.04
    lax = limits.model_copy(update={"level": 0.4, "effect": 0.0})
    assert reference.false_alarm_share(requests(500, seed=1, reference=True), lax, seed=3) > 0.1


def test_a_reference_too_small_for_a_window_has_no_measured_false_alarms():
    assert reference.false_alarm_share(requests(2 * LIMITS.window - 1, seed=1), LIMITS, seed=3) is None
