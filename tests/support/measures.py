"""Measured records and thresholds that a test changes one value of."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlp.data.suite import ValidateParams
from vlp.params import parse
from vlp.records import Measured

THRESHOLDS: dict[str, Any] = {
    "mode": "enforce",
    "min_records": 1,
    "max_unreadable_share": 0.25,
    "max_reject_share": 0.25,
    "max_duplicate_share": 0.25,
    "min_captioned_share": 0.75,
    "min_side": 32,
    "caption_words": [2, 10],
    "min_script_share": 0.75,
    "max_repeated_caption_share": 0.5,
    "max_label_share": 0.8,
    "max_answer_share": 0.8,
    "min_contrast": 5,
    "nearly_every": 0.75,
}


def params(**changes: Any) -> ValidateParams:
    return parse(ValidateParams, THRESHOLDS | changes, "validation")


def measured(number: int, **changes: Any) -> Measured:
    values: dict[str, Any] = {
        "id": f"r{number}",
        "group": f"g{number}",
        "split": None,
        "readable": True,
        "problem": "",
        "notes": (),
        "format": "PNG",
        "mode": "RGB",
        "width": 64,
        "height": 48,
        "file_bytes": 1000,
        "sharpness": 100.0,
        "contrast": 40.0,
        "saturation": 30.0,
        "border": 0.0,
        "content_hash": f"{number:064x}",
        "pixel_hash": f"{number:064x}",
        "thumbnail": bytes(192),
        "caption_problems": ("",),
        "caption_words": (5,),
        "caption_hashes": (f"{number:016x}",),
        "caption_scripts": ("latin",),
    }
    values |= changes
    coarse = np.frombuffer(values["thumbnail"], np.uint8).reshape(8, 8, 3)
    return Measured(**{"details": coarse.repeat(4, axis=0).repeat(4, axis=1).tobytes()} | values)


def unreadable(number: int) -> Measured:
    return measured(number, readable=False, problem="truncated: ends early", width=0, height=0, pixel_hash="")
