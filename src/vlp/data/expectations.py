"""The suite held against the measures by Great Expectations, and what a critical failure does.

Critical failures stop the pipeline, since nothing after them can be trusted; warnings are for a person to
read. Great Expectations is imported only while ``check`` runs: it takes seconds.

Source: https://docs.greatexpectations.io/docs/core/define_expectations/
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlp.data.frames import COLUMNS, Frames, Rows
from vlp.data.suite import Check, Severity, ValidateParams, checks
from vlp.data.validated import visible

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 3
"""Records that a failed expectation names."""


class ExpectationError(ValueError):
    """Critical expectations failed: the data must not go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one expectation."""

    name: str
    severity: Severity
    says: str
    threshold: str
    observed: str
    met: bool
    examples: tuple[str, ...] = ()
    """Ids of some records that it failed on, where it is about single records."""


def check(frames: Frames, params: ValidateParams) -> list[Outcome]:
    """Hold the suite against the measures.

    Args:
        frames: what was measured and found.
        params: the thresholds; ``mode: off`` expects nothing.

    Returns:
        One outcome a check, in the order of ``checks``.
    """
    if params.mode == "off":
        return []
    suite = checks(params, frames.main_script)
    asked = [each for each in suite if each.expectation in _OF_TABLES or len(frames.named(each.frame))]
    results = _run(frames, asked)
    return [_outcome(each, frames, results.get(each.name)) for each in suite]


def failures(outcomes: Sequence[Outcome], severity: Severity) -> list[Outcome]:
    """The outcomes of ``severity`` that were not met."""
    return [each for each in outcomes if each.severity == severity and not each.met]


def enforce(outcomes: list[Outcome], params: ValidateParams, report: object) -> None:
    """Stop where a critical expectation failed and ``params.mode`` is ``enforce``.

    Args:
        outcomes: of ``check``.
        params: says whether to stop.
        report: where a person reads on.

    Raises:
        ExpectationError: naming each failure with its threshold, what was observed, and some records.
    """
    failed = failures(outcomes, "critical")
    if not failed or params.mode != "enforce":
        return
    raise ExpectationError(
        f"validation: {len(failed)} critical expectation{'s' * (len(failed) > 1)} failed\n{table(failed)}\n"
        f"Details in {report}. Mend the data, or change a threshold under `validation` in params.yaml."
    )


def table(outcomes: list[Outcome]) -> str:
    """``outcomes`` as aligned columns of plain text."""
    head = ("expectation", "expected", "threshold", "observed", "for example")
    cells = ((each.name, each.says, each.threshold, each.observed, ", ".join(each.examples)) for each in outcomes)
    rows = [head, *(tuple(visible(cell).replace("\n", "␊") for cell in row) for row in cells)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


_OF_TABLES = ("ExpectTableColumnsToMatchOrderedList", "ExpectTableRowCountToBeBetween")


def _run(frames: Frames, suite: list[Check]) -> dict[str, dict[str, Any]]:
    """Success and result of each check, by its name: one Great Expectations suite a column, which is all it is shown.

    Of a whole frame it makes a copy for every expectation.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # hundreds of lines as it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, as they are imported
        import great_expectations as gx
        import great_expectations.expectations as gxe
        from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it sets its own
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_or_update_pandas("vlp")
    found: dict[str, dict[str, Any]] = {}
    for where in dict.fromkeys(map(_place, suite)):
        asked = [each for each in suite if _place(each) == where]
        name = ".".join(where)
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        expectations = [
            getattr(gxe, each.expectation)(**each.arguments, severity=each.severity, meta={"name": each.name})
            for each in asked
        ]
        whole = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=whole)
        result = context.validation_definitions.add_or_update(definition).run(
            batch_parameters={"dataframe": _shown(asked[0], frames)}, result_format="BASIC"
        )
        for each in result.results:
            assert each.expectation_config is not None
            found[each.expectation_config.meta["name"]] = {"success": bool(each.success), **each.result}
    return found


def _place(asked: Check) -> tuple[str, str]:
    """The frame and the column that a check looks at; for one of a whole frame, its kind."""
    return asked.frame, asked.arguments.get("column", asked.expectation)


def _shown(asked: Check, frames: Frames) -> pd.DataFrame:
    """As much as a check needs to see of its frame."""
    import pandas as pd

    frame = frames.named(asked.frame)
    match asked.expectation:
        case "ExpectTableColumnsToMatchOrderedList":
            return pd.DataFrame(columns=frame.columns)
        case "ExpectTableRowCountToBeBetween":
            return pd.DataFrame(index=pd.RangeIndex(len(frame)))
    column = asked.arguments["column"]
    # Of equal ids the hashes are equal; a million texts as Python objects are all that is saved.
    values = frames.numbers if column == "id" and asked.frame == "records" else frame[column]
    return pd.DataFrame({column: values}, copy=False)


def _outcome(asked: Check, frames: Frames, result: dict[str, Any] | None) -> Outcome:
    met = result is None or result["success"]
    return Outcome(
        name=asked.name,
        severity=asked.severity,
        says=asked.says,
        threshold=asked.threshold,
        observed=_observed(asked, frames.named(asked.frame), result),
        met=met,
        examples=() if met else _examples(asked, frames),
    )


def _observed(asked: Check, frame: pd.DataFrame | Rows, result: dict[str, Any] | None) -> str:
    if result is None:
        return "nothing to check"
    match asked.expectation:
        case "ExpectTableColumnsToMatchOrderedList":
            missing = [name for name in COLUMNS if name not in frame.columns]
            return f"without {', '.join(missing)}" if missing else f"{len(frame.columns)} columns"
        case "ExpectTableRowCountToBeBetween":
            return str(len(frame))
        case "ExpectColumnValuesToBeUnique":
            return f"{result['unexpected_count']} that share one" if result["unexpected_count"] else "all"
        case "ExpectColumnMaxToBeBetween":
            most = int(frame["share"].argmax())
            return f"{frame['share'].iloc[most]:.2%} {frame['value'].iloc[most]!r}"
        case _:
            return f"{1 - result['unexpected_percent'] / 100:.2%}"


def _examples(asked: Check, frames: Frames) -> tuple[str, ...]:
    """Records that fail ``asked``. Great Expectations would list them all, in memory."""
    frame = frames.named(asked.frame)
    if asked.frame not in ("records", "images", "kept", "captions") or asked.expectation in _OF_TABLES:
        return ()
    values = frame[asked.arguments["column"]]
    match asked.expectation:
        case "ExpectColumnValuesToBeUnique":
            failing = values.duplicated(keep=False)
        case "ExpectColumnValuesToBeInSet":
            failing = ~values.isin(asked.arguments["value_set"])
        case _:
            failing = (values < asked.arguments["min_value"]) | (values > asked.arguments.get("max_value", math.inf))
    if asked.frame == "captions":
        rows = frame["row"][failing].drop_duplicates().head(EXAMPLES)
        return tuple(frames.records["id"].iloc[rows])
    return tuple(frame["id"][failing].drop_duplicates().head(EXAMPLES))
