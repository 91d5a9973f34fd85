"""The gate lets a better challenger through, and refuses every other with its reason."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import retrain, settings
from flows.gate import Side, Verdict, judge, paired_interval
from flows.settings import Gate

LATENCY = "timing.export.matching.onnxruntime.latency_ms_p50"
KINDS = ("attribute", "count", "relation")
RECORDS = 400
GATE = settings.load(Path(__file__).resolve().parent.parent.parent).gate


def gate(**changes: Any) -> Gate:
    return GATE.model_copy(update={"min_slice_rows": 100, **changes})


def predictions(right: Callable[[int, int], bool], records: range) -> list[dict[str, Any]]:
    """Rows of every record's captions, one of each kind; ``right(record, caption)`` tells which are answered right."""
    rows = []
    for record in records:
        for caption, kind in enumerate(KINDS):
            scores = (
                {"score": 0.9, "negative_score": 0.2}
                if right(record, caption)
                else {"score": 0.3, "negative_score": 0.4}
            )
            rows.append({"record": f"r{record:04}", "caption": caption, "kind": kind, **scores})
    return rows


def side(name: str, rows: list[dict[str, Any]], latency: float = 20.0, text_only: float = 0.5) -> Side:
    """A side whose metrics are those of its predictions."""
    value = float(np.mean([row["score"] > row["negative_score"] for row in rows])) if rows else 0.0
    metrics = {"hard_negative_accuracy": value, "text_only_hard_negative_accuracy": text_only}
    return Side(name, {"matching": metrics}, {"matching": rows}, {LATENCY: latency})


def noisy(share: float, seed: int) -> Callable[[int, int], bool]:
    """Right in ``share`` of the rows, by chance."""
    chances = np.random.default_rng(seed).random((RECORDS * 2, len(KINDS)))
    return lambda record, caption: bool(chances[record, caption] < share)


CHAMPION = side("v0.0.1", predictions(noisy(0.75, seed=1), range(RECORDS)))


def against_champion(challenger: Side, **changes: Any) -> Verdict:
    return judge(challenger, CHAMPION, gate(**changes))


def refused(verdict: Verdict, reason: str) -> None:
    assert not verdict.accepted
    assert not verdict.promote
    assert any(reason in each for each in verdict.reasons), verdict.reasons
    assert reason in verdict.text()


# Winning


def test_a_better_challenger_is_promoted():
    verdict = against_champion(side("new", predictions(noisy(0.83, seed=2), range(RECORDS))))
    assert verdict.reasons == ()
    assert verdict.promote
    whole = verdict.comparisons[0]
    assert whole.rows == RECORDS * len(KINDS)
    assert 0 < whole.low < whole.gain < whole.high
    assert [part.name.rpartition(" ")[2] for part in verdict.comparisons[1:]] == list(KINDS)
    assert "**new accepted** against the champion v0.0.1 (mode enforce)" in verdict.text()


def test_without_a_champion_the_floor_decides():
    first = side("first", predictions(noisy(0.7, seed=2), range(RECORDS)))
    assert judge(first, None, gate()).promote
    refused(
        judge(side("poor", predictions(noisy(0.5, seed=2), range(RECORDS))), None, gate()), "below the floor 0.6000"
    )


def test_a_tolerated_loss_is_a_negative_margin():
    rows = copy.deepcopy(CHAMPION.predictions["matching"])
    same = side("same", list(rows))
    (wanted,) = GATE.metrics
    assert against_champion(same, metrics=(wanted.model_copy(update={"margin": -0.01}),)).promote


def test_data_that_grew_is_compared_on_the_records_that_both_answered():
    better = noisy(0.83, seed=2)
    grown = side("grown", predictions(lambda r, c: r < RECORDS and better(r, c), range(RECORDS + 100)))
    verdict = against_champion(grown)
    assert verdict.promote, "what the champion never saw does not count, for nobody"
    assert verdict.comparisons[0].rows == RECORDS * len(KINDS)
    assert verdict.notes == ("matching: 300 test rows that the champion never answered are left out",)


# Losing


def test_a_worse_challenger_is_refused():
    refused(
        against_champion(side("worse", predictions(noisy(0.7, seed=3), range(RECORDS)))), "not better than the champion"
    )


def test_an_equal_challenger_is_refused():
    same = side("same", copy.deepcopy(list(CHAMPION.predictions["matching"])))
    verdict = against_champion(same)
    refused(verdict, "the difference is +0.0000")
    assert (verdict.comparisons[0].low, verdict.comparisons[0].high) == (0.0, 0.0)


def test_one_that_is_better_by_luck_alone_is_refused():
    alike = side("alike", predictions(noisy(0.76, seed=4), range(RECORDS)))
    assert alike.metrics["matching"]["hard_negative_accuracy"] > CHAMPION.metrics["matching"]["hard_negative_accuracy"]
    refused(against_champion(alike), "interval begins at -")


def test_one_that_is_better_by_less_than_the_margin_is_refused():
    (wanted,) = GATE.metrics
    better = side("better", predictions(noisy(0.83, seed=2), range(RECORDS)))
    refused(against_champion(better, metrics=(wanted.model_copy(update={"margin": 0.2}),)), "by more than +0.14")


def test_one_that_pays_for_its_gain_with_a_slice_is_refused():
    base = noisy(0.75, seed=1)
    trade = side(
        "trade",
        predictions(lambda r, c: (base(r, c) and r % 8 > 0) if c == 2 else base(r, c) or r % 2 == 0, range(RECORDS)),
    )
    verdict = against_champion(trade)
    assert verdict.comparisons[0].low > 0, "better on the whole"
    refused(verdict, "hard_negative_accuracy, kind relation: worse by 0.")
    few = against_champion(trade, min_slice_rows=RECORDS + 1)
    assert few.promote
    assert any("too few to be judged" in note for note in few.notes)


def test_a_slower_challenger_is_refused():
    rows = predictions(noisy(0.83, seed=2), range(RECORDS))
    refused(against_champion(side("slow", rows, latency=31.0)), "slower: 31.00 ms, the champion 20.00 ms")
    assert against_champion(side("fast", rows, latency=29.0)).promote
    refused(against_champion(side("odd", rows, latency=math.nan)), "slower: nan")
    refused(against_champion(Side("mute", side("x", rows).metrics, {"matching": rows}, {})), "mute has no figure")
    assert against_champion(side("slow", rows, latency=99.0), latency=None).promote


def test_one_that_was_trained_on_test_records_is_refused():
    better = noisy(0.83, seed=2)
    moved = side("moved", predictions(better, range(RECORDS // 10, RECORDS)))
    refused(against_champion(moved), "only 90.0% of the champion's test rows are test rows of the challenger")
    renamed = side("renamed", predictions(better, range(RECORDS, 2 * RECORDS)))
    refused(against_champion(renamed), "only 0.0%")


def test_rows_that_it_leaves_out_count_as_wrong():
    champion = side("v0.0.1", predictions(lambda r, c: r >= RECORDS // 50, range(RECORDS)))
    omitted = RECORDS // 50 - 1
    hiding = side("hiding", predictions(lambda r, c: True, range(omitted, RECORDS)))
    verdict = judge(hiding, champion, gate(margin=-0.01))
    (whole, *_) = verdict.comparisons
    assert whole.rows == RECORDS * len(KINDS)
    assert whole.challenger == pytest.approx(1 - omitted / RECORDS), "it is right wherever it answers"
    assert (
        f"{omitted * len(KINDS)} of the champion's test rows, which the challenger lacks, count as wrong"
        in " ".join(verdict.notes)
    )
    worse = side("worse", [row for row in champion.predictions["matching"] if row["record"] != f"r{RECORDS - 1:04}"])
    refused(judge(worse, champion, gate()), "not better than the champion")


def test_one_that_jumps_or_answers_without_the_picture_is_refused():
    refused(against_champion(side("magic", predictions(lambda r, c: True, range(RECORDS)))), "look for a leak")
    rows = predictions(noisy(0.83, seed=2), range(RECORDS))
    refused(
        against_champion(side("blind", rows, text_only=0.8)), "0.8000 of the pairs are told apart without the picture"
    )


def relabelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "kind": KINDS[(row["caption"] + 1) % 3]} for row in rows]


def test_one_whose_test_records_are_other_records_under_the_same_ids_is_refused():
    other = side("other", relabelled(predictions(noisy(0.83, seed=2), range(RECORDS))))
    refused(against_champion(other), "only 0.0%")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda rows: rows.clear(), "no predictions"),
        (lambda rows: rows.append(dict(rows[0])), "is predicted twice"),
        (lambda rows: rows[5].pop("negative_score"), "row 6 of its predictions: 'negative_score'"),
        (lambda rows: rows[5].update(score=None), "row 6 of its predictions"),
        (lambda rows: rows[5].update(score="high"), "row 6 of its predictions: could not convert"),
        (lambda rows: rows[5].update(record=["r"]), "row 6 of its predictions: unhashable"),
        (lambda rows: [row.pop("kind") for row in rows], "no row of its predictions has the field 'kind'"),
        (lambda rows: rows[5].update(score=math.nan), "counts nan, not 0 to 1"),
        (lambda rows: rows[5].pop("record"), "row 6 of its predictions: 'record'"),
        (lambda rows: [row.update(score=0.0) for row in rows[:60]], "metrics say hard_negative_accuracy"),
    ],
)
def test_a_broken_challenger_is_refused(damage, reason):
    rows = predictions(noisy(0.83, seed=2), range(RECORDS))
    metrics = side("whole", rows).metrics
    damage(rows)
    refused(against_champion(Side("broken", metrics, {"matching": rows}, {LATENCY: 20.0})), reason)


@pytest.mark.parametrize("value", [None, math.nan, "0.9"])
def test_one_without_the_metric_is_refused(value):
    rows = predictions(noisy(0.83, seed=2), range(RECORDS))
    broken = Side("broken", {"matching": {"hard_negative_accuracy": value}}, {"matching": rows}, {LATENCY: 20.0})
    refused(against_champion(broken), "has no number 'hard_negative_accuracy'")
    refused(against_champion(Side("empty", {}, {}, {LATENCY: 20.0})), "has no number 'hard_negative_accuracy'")
    listed: Any = {"matching": [0.9]}
    refused(against_champion(Side("listed", listed, {"matching": rows}, {})), "has no number 'hard_negative_accuracy'")


@pytest.mark.parametrize("value", [None, math.nan, ...])
def test_one_that_does_not_say_what_it_knows_without_the_picture_is_refused(value):
    whole = side("silent", predictions(noisy(0.83, seed=2), range(RECORDS)))
    metrics = {**whole.metrics["matching"], "text_only_hard_negative_accuracy": value}
    if value is ...:
        del metrics["text_only_hard_negative_accuracy"]
    silent = Side("silent", {"matching": metrics}, whole.predictions, whole.figures)
    refused(against_champion(silent), "has no number 'text_only_hard_negative_accuracy'")
    assert against_champion(silent, max_text_only=None).promote


def test_one_whose_files_cannot_be_read_is_refused():
    def read(path: str) -> str:
        if path.startswith("metrics/"):
            return '{"hard_negative_accuracy": 0.9}'
        raise FileNotFoundError(2, "No such file or directory", path)

    lost = retrain.side("lost", ["matching"], {LATENCY: 20.0}, read)
    refused(against_champion(lost), "broken: lost: matching: reports/evaluation/matching/predictions.jsonl: [Errno 2]")
    garbled = retrain.side("garbled", ["matching"], {LATENCY: 20.0}, lambda path: "{")
    refused(against_champion(garbled), "broken: garbled: matching: metrics/matching.json: Expecting property name")


def test_nobody_passes_a_champion_that_cannot_be_compared_with():
    better = side("better", predictions(noisy(0.83, seed=2), range(RECORDS)))
    champion = Side("v0.0.1", CHAMPION.metrics, {"matching": []}, CHAMPION.figures)
    refused(judge(better, champion, gate()), "the champion is broken")


# Modes


def test_a_dry_run_judges_and_promotes_nothing_and_a_gate_that_is_off_lets_anybody_through():
    better = side("better", predictions(noisy(0.83, seed=2), range(RECORDS)))
    worse = side("worse", predictions(noisy(0.6, seed=2), range(RECORDS)))
    dry = against_champion(better, mode="dry_run")
    assert (dry.accepted, dry.promote) == (True, False)
    off = against_champion(worse, mode="off")
    assert (off.accepted, off.promote) == (False, True)
    assert off.reasons == against_champion(worse).reasons, "what it would have said is said"


# Intervals


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """300 experiments of 60 records with 4 rows that go together: a 90 % interval misses in about one of ten."""
    generator = np.random.default_rng(5)
    records = np.repeat(np.arange(60), 4)
    missed = 0
    for _ in range(300):
        rows = np.repeat(generator.normal(0.02, 0.3, 60), 4) + generator.normal(0, 0.1, 240)
        low, high = paired_interval(rows, records, confidence=0.9, resamples=300)
        missed += not low <= 0.02 <= high
    assert 0.05 < missed / 300 < 0.17


def test_an_equal_pair_of_models_is_promoted_by_chance_as_rarely_as_the_confidence_says():
    generator = np.random.default_rng(6)
    promoted = 0
    for _ in range(200):
        difference = (generator.random(300) < 0.8).astype(float) - (generator.random(300) < 0.8)
        promoted += paired_interval(difference, np.arange(300), confidence=0.95, resamples=300)[0] > 0
    assert promoted / 200 < 0.07
