"""What an operator may set, each by an environment variable ``VLP_<NAME>``."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

PREFIX = "VLP_"
ROOT = Path(__file__).resolve().parent.parent
"""Of the repository, or of a bento's files."""
KEY_LENGTH = 16
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class SettingsError(ValueError):
    """An environment variable that cannot be; the message names it and what to do."""


class Settings(BaseModel):
    """Limits and places. What governs the model itself stands in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path = Field(ROOT / "models" / "bundle", description="the exported bundle that is served")
    api_key: SecretStr | None = Field(
        None, description="when set, every request but health and the page needs it as a Bearer token"
    )
    runtime: Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bf16"] = Field(
        "onnxruntime", description="what runs the graphs; auto: for each the fastest that agrees, measured at start"
    )
    tolerance: float = Field(
        1e-4, ge=0, le=0.1, description="what another runtime's outputs may differ by, as a share of the largest value"
    )
    workers: int = Field(1, ge=1, le=64, description="processes; each opens the bundle and gets a share of the cores")
    parallel: int = Field(8, ge=1, le=256, description="predictions that one worker has under way at a time")
    batch: int = Field(
        16,
        ge=1,
        le=1_024,
        description="rows of one run of a graph, which predictions under way share; 1: none is shared",
    )
    max_bytes: int = Field(10_000_000, ge=1_000, le=1_000_000_000, description="bytes of a request's body")
    max_pixels: int = Field(16_000_000, ge=4_096, le=80_000_000, description="width times height of an uploaded image")
    max_texts: int = Field(64, ge=1, le=10_000, description="texts of a request")
    max_characters: int = Field(1_000, ge=1, le=100_000, description="characters of a text")
    max_concurrency: int = Field(
        32, ge=1, le=100_000, description="predictions waiting or running in all workers; one more is answered 429"
    )
    timeout_s: float = Field(20.0, gt=0, le=3_600, description="seconds a prediction may take, waiting included")
    upload_timeout_s: float = Field(10.0, gt=0, le=3_600, description="seconds a request's body may take to arrive")
    samples: Path = Field(Path(__file__).parent / "samples", description="the pictures that the page offers")
    index: Path | None = Field(None, description="a saved index that /retrieve searches in place of the samples")
    records: Path | None = Field(None, description="folder for records of what was served; none are kept without")

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch("[!-~]+", key.get_secret_value()):
            raise ValueError("only letters, digits and signs of ASCII, without spaces, can be sent in a header")
        if key is not None and len(key) < KEY_LENGTH:
            raise ValueError(f"a key has at least {KEY_LENGTH} letters, digits and signs, not {len(key)}")
        return key


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that ``environ`` holds.

    Raises:
        SettingsError: a variable that begins with ``VLP_`` is unknown or has an impossible value.
    """
    # A secret that comes from a file brings its line's end along, which no header can hold.
    stripped = {name: value.strip() for name, value in environ.items() if name.startswith(PREFIX)}
    given = {name.removeprefix(PREFIX).lower(): value for name, value in stripped.items() if value}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_line(fault) for fault in error.errors())) from None


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def _line(fault: object) -> str:
    assert isinstance(fault, dict)
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
        known = f"did you mean {variable(near[0])}?" if near else "known: " + ", ".join(map(variable, _names()))
        return f"{variable(name)}: unknown setting; {known}"
    found = "" if name == "api_key" else f", found {fault['input']!r}"  # a secret is never shown
    message = fault["msg"].removeprefix("Value error, ")
    return f"{variable(name)}: {message[0].lower()}{message[1:]}{found}"


def _names() -> list[str]:
    return list(Settings.model_fields)


def is_picture(name: str) -> bool:
    """Whether a file of that name in the samples folder is one of its pictures: all else there is nobody's business."""
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURES
