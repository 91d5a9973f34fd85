"""What a data set must be (critical) and should be (warning): the checks, as data, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from vlp.data.frames import COLUMNS
from vlp.params import Section

Severity = Literal["critical", "warning"]


class ValidateParams(Section):
    """``validation``: the thresholds of the suite, and what a critical failure does."""

    mode: Literal["enforce", "warn", "off"] = Field(
        description="enforce: critical failures stop the pipeline; warn: they are reported; off: nothing is expected"
    )
    min_records: int = Field(ge=1, description="critical: records that are kept")
    max_unreadable_share: float = Field(ge=0, le=1, description="critical: of the records, images that do not decode")
    max_reject_share: float = Field(ge=0, le=1, description="critical: of the records, those rejected")
    max_duplicate_share: float = Field(ge=0, le=1, description="critical: of the images, repeats of an earlier one")
    min_captioned_share: float = Field(ge=0, le=1, description="critical: of the kept, those with a usable caption")
    min_side: int = Field(ge=1, description="critical: pixels of the shorter side of nearly every image")
    caption_words: tuple[int, int] = Field(description="warning: fewest and most words of nearly every caption")
    min_script_share: float = Field(ge=0, le=1, description="warning: of the captions, those in the commonest script")
    max_repeated_caption_share: float = Field(
        ge=0, le=1, description="warning: of the captions, those that another record has too"
    )
    max_label_share: float = Field(ge=0, le=1, description="warning: of the labelled records, the commonest label")
    max_answer_share: float = Field(ge=0, le=1, description="warning: of the answers, the commonest")
    min_contrast: float = Field(ge=0, description="warning: standard deviation of the luma of nearly every image")
    max_once_share: float = Field(
        0.5, ge=0, le=1, description="warning: of the words of the captions, those that are said only once"
    )
    max_drift: float = Field(
        0.1, ge=0, le=1, description="warning: distance of any distribution from the accepted data set's; 1: any"
    )
    nearly_every: float = Field(0.99, gt=0, le=1, description="the share that `nearly every` means")
    examples: int = Field(4, ge=0, le=100, description="records that the report shows of each finding")

    @field_validator("caption_words")
    @classmethod
    def _in_order(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("fewest before most, both at least 1")
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One expectation of the suite, as data."""

    name: str
    severity: Severity
    says: str
    """What is expected, as a sentence."""
    threshold: str
    frame: str
    """Name of a field of ``Frames``."""
    expectation: str
    """Name of a class of ``great_expectations.expectations``."""
    arguments: dict[str, Any]


def checks(params: ValidateParams, main_script: str) -> list[Check]:
    """The suite: critical expectations first.

    Args:
        params: the thresholds.
        main_script: the script of most captions.
    """
    return [*_critical(params), *_warning(params, main_script)]


def _share(name: str, says: str, frame: str, column: str, share: float, *, value: bool = True) -> dict[str, Any]:
    """The fields of a check that a flag has ``value`` in at least ``share`` of the rows."""
    return {
        "name": name,
        "says": says,
        "threshold": f"≥ {share:.2%}",
        "frame": frame,
        "expectation": "ExpectColumnValuesToBeInSet",
        "arguments": {"column": column, "value_set": [value], "mostly": share},
    }


def _rest(share: float) -> float:
    """One less ``share``, without what floating point would add: 1 - 0.7 is more than 0.3."""
    return round(1 - share, 12)


def _critical(params: ValidateParams) -> Iterator[Check]:
    yield Check(
        name="schema",
        severity="critical",
        says="every measure is there, under its name",
        threshold=f"{len(COLUMNS)} columns",
        frame="records",
        expectation="ExpectTableColumnsToMatchOrderedList",
        arguments={"column_list": list(COLUMNS)},
    )
    yield Check(
        name="ids_unique",
        severity="critical",
        says="no two records share an id",
        threshold="all",
        frame="records",
        expectation="ExpectColumnValuesToBeUnique",
        arguments={"column": "id"},
    )
    yield Check(
        name="records_kept",
        severity="critical",
        says="records are left to train on",
        threshold=f"≥ {params.min_records}",
        frame="kept",
        expectation="ExpectTableRowCountToBeBetween",
        arguments={"min_value": params.min_records},
    )
    readable, kept = (_rest(share) for share in (params.max_unreadable_share, params.max_reject_share))
    yield Check(severity="critical", **_share("images_readable", "images decode", "records", "readable", readable))
    yield Check(severity="critical", **_share("records_accepted", "records are not rejected", "records", "kept", kept))
    first = _rest(params.max_duplicate_share)
    yield Check(
        severity="critical",
        **_share("images_distinct", "images are not repeated", "images", "repeat", first, value=False),
    )
    captioned = params.min_captioned_share
    yield Check(
        severity="critical",
        **_share("captions_present", "records have a usable caption", "kept", "captioned", captioned),
    )
    yield Check(
        name="images_large_enough",
        severity="critical",
        says=f"images have {params.min_side} pixels on the shorter side",
        threshold=f"≥ {params.nearly_every:.2%}",
        frame="images",
        expectation="ExpectColumnValuesToBeBetween",
        arguments={"column": "short_side", "min_value": params.min_side, "mostly": params.nearly_every},
    )


def _warning(params: ValidateParams, main_script: str) -> Iterator[Check]:
    fewest, most = params.caption_words
    yield Check(
        name="caption_length",
        severity="warning",
        says=f"captions have {fewest} to {most} words",
        threshold=f"≥ {params.nearly_every:.2%}",
        frame="captions",
        expectation="ExpectColumnValuesToBeBetween",
        arguments={"column": "words", "min_value": fewest, "max_value": most, "mostly": params.nearly_every},
    )
    yield Check(
        name="caption_script",
        severity="warning",
        says=f"captions are in one script ({main_script or 'none'})",
        threshold=f"≥ {params.min_script_share:.2%}",
        frame="captions",
        expectation="ExpectColumnValuesToBeInSet",
        arguments={"column": "script", "value_set": [main_script], "mostly": params.min_script_share},
    )
    own = _rest(params.max_repeated_caption_share)
    yield Check(
        severity="warning",
        **_share("captions_distinct", "captions belong to one record only", "captions", "repeated", own, value=False),
    )
    for name, frame, says, largest in (
        ("labels_balanced", "labels", "no value of the labels is nearly all of them", params.max_label_share),
        ("answers_balanced", "answers", "no value of the answers is nearly all of them", params.max_answer_share),
        ("vocabulary", "vocabulary", "words come again", params.max_once_share),
        ("drift", "drift", "nothing has moved far from the accepted data set", params.max_drift),
    ):
        yield Check(
            name=name,
            severity="warning",
            says=says,
            threshold=f"≤ {largest:.2%}",
            frame=frame,
            expectation="ExpectColumnMaxToBeBetween",
            arguments={"column": "share", "max_value": largest},
        )
    yield Check(
        severity="warning",
        **_share("splits_apart", "no group and no image is in two official splits", "kept", "leaks", 1.0, value=False),
    )
    yield Check(
        name="images_with_contrast",
        severity="warning",
        says=f"images are not blank (contrast of {params.min_contrast:g})",
        threshold=f"≥ {params.nearly_every:.2%}",
        frame="images",
        expectation="ExpectColumnValuesToBeBetween",
        arguments={"column": "contrast", "min_value": params.min_contrast, "mostly": params.nearly_every},
    )
