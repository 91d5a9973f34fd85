"""The reference: what served records would be if requests were like the test split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp.data import examples, shards
from vlp.drift.comparison import FEATURES, compare, values
from vlp.drift.records import MATCHING, one_a_request
from vlp.drift.settings import DriftParams
from vlp.records import Example
from vlp.runtime.predictor import Predictor
from vlp.runtime.served import Served, observe

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def build(prepared: Path, predictor: Predictor, params: DriftParams, seed: int) -> Iterator[Served]:
    """One row for each of ``params.records`` test records, measured and answered as the service does.

    Of a record's statements one is drawn, and its false edit instead of it half of the time, where it has one.

    Args:
        prepared: what the preprocess stage wrote.
        predictor: of the bundle that will be served.
        params: how many records; those without a statement are left out.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    bundle = predictor.bundle.name
    total = shards.open_table(prepared, "test").num_rows
    drawn = set(generator.permutation(total)[: params.records].tolist())
    for row, example in enumerate(examples.read(prepared, "test")):
        if row not in drawn or not example.captions:
            continue
        text = _statement(example, generator)
        answers = predictor.task(MATCHING).match_prepared(example.image, [text])
        yield from observe(
            example.image, [text], answers, predictor.inputs.tokenizer, request=example.id, at="", bundle=bundle
        )


def summary(rows: Sequence[Served]) -> dict[str, Any]:
    """Mean, standard deviation and percentiles of every feature, for people to read."""
    columns = {name: values(rows, name) for name in FEATURES}
    return {
        name: {"mean": float(column.mean()), "std": float(column.std())}
        | {f"q{percent:02d}": float(np.percentile(column, percent)) for percent in PERCENTILES}
        for name, column in columns.items()
    }


def false_alarm_share(rows: Sequence[Served], params: DriftParams, seed: int) -> float | None:
    """Share of windows that are violated though nothing drifted: windows drawn from the reference itself.

    Each of ``params.trials`` windows is drawn anew and held against the records that are left.

    Returns:
        The share, or None where the reference is too small to leave as many records as a window has.
    """
    rows = one_a_request(rows)
    if len(rows) < 2 * params.window:
        return None
    generator = np.random.default_rng(seed)
    violated = 0
    for _ in range(params.trials):
        order = generator.permutation(len(rows))
        window, rest = ([rows[place] for place in some] for some in (order[: params.window], order[params.window :]))
        violated += bool(compare(window, rest, params).violated)
    return violated / params.trials


def _statement(example: Example, generator: np.random.Generator) -> str:
    caption = example.captions[int(generator.integers(len(example.captions)))]
    edited = generator.random() < 0.5
    return caption.negative if edited and caption.negative is not None else caption.text
