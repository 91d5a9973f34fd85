from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from support.measures import measured
from vlp.data.frames import frames
from vlp.data.profile import VOCABULARY, commonest, distance, drift, profile
from vlp.data.validated import Contents, verdicts
from vlp.records import Finding


def described(words: Contents | None = None, count: int = 200, seed: int = 0, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    measures = [measured(n, **{"contrast": float(rng.normal(40, 5)), **changes}) for n in range(count)]
    return profile(frames(measures, verdicts(()), words or Contents()), words or Contents())


def test_large_samples_are_as_far_apart_as_their_distributions() -> None:
    rng = np.random.default_rng(0)
    p, q = (rng.dirichlet(np.ones(12)) for _ in range(2))
    one, two = ({str(n): int(share * 1e8) for n, share in enumerate(shares)} for shares in (p, q))
    assert distance(one, two) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-4)
    assert distance(one, one) == 0
    assert distance(one, two) == distance(two, one)


def test_small_samples_of_one_distribution_are_not_apart() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(20))
    draws = [dict(zip(map(str, range(20)), rng.multinomial(50, shares).tolist(), strict=True)) for _ in range(40)]
    apart = [distance(one, two) for one, two in zip(draws[::2], draws[1::2], strict=True)]
    naive = [
        jensenshannon(list(one.values()), list(two.values()), base=2)
        for one, two in zip(draws[::2], draws[1::2], strict=True)
    ]
    assert np.median(apart) < 0.1 < np.median(naive)


def test_what_has_nothing_in_common_is_as_far_as_can_be() -> None:
    assert distance({"a": 10**6}, {"b": 10**6}) == pytest.approx(1, abs=1e-3)
    assert distance({}, {"b": 3}) == 1


def test_of_nothing_nothing_has_moved() -> None:
    assert distance({}, {}) == 0
    assert distance({}, {"a": 1}) == distance({"a": 1}, {}) == 1


def test_a_data_set_has_not_drifted_from_another_of_its_kind() -> None:
    assert max(far for _, far in drift(described(seed=1), described(seed=2))) < 0.1


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"contrast": 4.0}, "contrast"),
        ({"format": "JPEG"}, "format"),
        ({"caption_words": (9,)}, "words"),
        ({"caption_scripts": ("han",)}, "script"),
        ({"width": 640}, "width"),
    ],
)
def test_what_has_moved_is_named(changes: dict[str, Any], moved: str) -> None:
    far = dict(drift(described(**changes), described()))
    assert far.pop(moved) > 0.9
    assert max(far.values()) < 0.1


def test_words_labels_and_answers_are_compared_too() -> None:
    old, new = Contents(), Contents()
    old.words.update({"cat": 900, "dog": 100})
    new.words.update({"cat": 100, "dog": 900})
    old.labels.update(cat=5)
    old.labelled = 5
    far = dict(drift(described(new), described(old)))
    assert far["word"] > 0.5
    assert far["label"] == 1, "the new data set has none"
    assert "answer" not in far


def test_rejected_records_do_not_count() -> None:
    measures = [measured(n, format="PNG" if n else "BMP") for n in range(3)]
    found = verdicts([Finding(record="r0", field="image", reason="tiny")])
    told = profile(frames(measures, found, Contents()), Contents())
    assert told["records"] == 2
    assert told["distributions"]["format"] == {"PNG": 2}
    assert json.loads(json.dumps(told)) == told


def test_rare_names_are_counted_together() -> None:
    counts = Counter({f"w{n:05d}": 2 for n in range(VOCABULARY + 5)})
    found = commonest(counts)
    assert len(found) == VOCABULARY + 1
    assert found["(another)"] == 10
