from __future__ import annotations

import math

import pytest

from vlp.report.values import ABSENT, changes, direction, flat, label, metrics


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", "higher"),
        ("hard_negative_accuracy_by_kind.count.value", "higher"),
        ("hard_negative_accuracy_by_kind.count.size", None),
        ("matching.onnxruntime.metric_drop", "lower"),
        ("matching.onnxruntime.latency_ms_p50", "lower"),
        ("look_examples_per_second", "higher"),
        ("image_to_text_r10", "higher"),
        ("median_rank", "lower"),
        ("itm_loss", "lower"),
        ("cross_validation.pooled", "higher"),
        ("cross_validation.mean", "higher"),
        ("cross_validation.std", None),
        ("image_to_text_median_rank", "lower"),
        ("ece", "lower"),
        ("box_error", "lower"),
        # floors: what is reached without looking, reading or learning
        ("image_only_hard_negative_accuracy", None),
        ("blank_image_accuracy", None),
        ("question_prior_accuracy", None),
        ("accuracy_by_type.count.question_prior", None),
        ("majority.macro_f1", None),
        ("nearest_by_colour.macro_f1", None),
        ("random_picture_faithful_share", None),
        ("text_blind_miou", None),
        ("base_rate", None),
        ("itm_base_rate_entropy", None),
        ("text_only_hard_negative_accuracy", None),
        ("threshold", None),
        ("steps", None),
        ("rejected", "lower"),
        ("rejects_by_reason.tiny", None),
    ],
)
def test_a_metric_has_its_own_direction(name, expected):
    assert direction(name) == expected


def test_nested_names_are_dotted_and_lists_stay_whole():
    assert flat({"a": {"b": [1, 2], "c": {}}, "d": None}) == {"a.b": [1, 2], "a.c": {}, "d": None}


def test_a_parameter_of_another_type_differs_and_an_absent_one_is_not_null():
    found = {each.name: each for each in changes({"a": 1, "b": None}, {"a": True, "b": None, "c": None})}
    assert not found["a"].is_same
    assert found["b"].is_same
    assert (found["c"].old, found["c"].new) == (ABSENT, None)
    assert not found["c"].is_same


def one(old: dict[str, object], new: dict[str, object]):
    (metric,) = metrics({"m.json": old}, {"m.json": new})["m.json"]
    return metric


@pytest.mark.parametrize(
    ("old", "new", "judgement", "beyond"),
    [
        # each lies outside the other's interval
        ((0.5, [0.4, 0.6]), (0.7, [0.65, 0.75]), "better", True),
        # the new one lies outside the old interval, but not the reverse
        ((0.5, [0.45, 0.55]), (0.6, [0.5, 0.7]), "better", False),
        ((0.7, [0.65, 0.75]), (0.5, [0.4, 0.6]), "worse", True),
        ((0.5, None), (0.4, [0.3, 0.45]), "worse", None),
        ((0.5, [0.4, 0.6]), (math.nan, None), "", None),
        ((0.5, None), (0.4, None), "worse", None),
        ((0.5, None), (0.5, None), "", None),
        ((0.5, None), (None, None), "", None),
    ],
)
def test_a_difference_is_held_against_both_intervals(old, new, judgement, beyond):
    before, after = ({"accuracy": value, "accuracy_ci95": interval} for value, interval in (old, new))
    found = one(before, after)
    assert (found.judgement, found.is_beyond) == (judgement, beyond if found.by is not None else None)


def test_a_figure_that_is_no_number_any_more_is_lost_and_never_better():
    found = one({"itm_loss": 0.2}, {"itm_loss": math.nan})
    assert (found.judgement, found.is_lost) == ("", True)


def test_lower_is_better_for_a_loss():
    assert one({"itm_loss": 0.5}, {"itm_loss": 0.4}).judgement == "better"


def test_an_interval_without_its_metric_is_shown_as_it_is():
    assert one({}, {"accuracy_ci95": [0.1, 0.2]}).name == "accuracy_ci95"


def test_a_file_of_one_side_alone_is_compared_with_nothing():
    (found,) = metrics({}, {"metrics/vqa.json": {"accuracy": 0.5}})["metrics/vqa.json"]
    assert (found.old, found.new, found.by, found.judgement) == (ABSENT, 0.5, None, "")


def test_a_label_is_the_path_below_metrics():
    assert label("metrics/timing/pretrain.json") == "timing/pretrain"
