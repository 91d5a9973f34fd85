"""Asks a server about real test records, and holds its answers against what the evaluation measured on them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx

from flows.settings import Serving
from vlp.files import lines

TIMEOUT_S = 30.0
BUSY = (429, 503)


class SmokeError(RuntimeError):
    """A server does not answer as the evaluation of its version did."""


def test(url: str, version: Path, settings: Serving) -> int:
    """Ask the server at ``url`` about the samples of the folder ``version``.

    Returns:
        How many records it was asked about.

    Raises:
        SmokeError: it answers otherwise than was measured, or not at all.
    """
    samples = _lines(version / "samples.jsonl")[: settings.smoke_records]
    if not samples:
        raise SmokeError(f"{version}: no samples to test with; run the stage samples")
    key = os.environ.get("VLP_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    wrong = []
    with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        for sample in samples:
            expected = sample["scores"]
            scores = _ask(client, version / sample["image"], sample)
            near = [
                abs(score - wanted) <= settings.smoke_tolerance for score, wanted in zip(scores, expected, strict=True)
            ]
            if not all(near):
                wrong.append(f"{sample['record']}: scores {scores}, evaluated {expected}")
    if len(wrong) > (1 - settings.smoke_min_share) * len(samples):
        raise SmokeError(f"{len(wrong)} of {len(samples)} records are answered otherwise than evaluated; {wrong[0]}")
    return len(samples)


def _ask(client: httpx.Client, image: Path, sample: dict[str, Any]) -> list[float]:
    files = {"image": (image.name, image.read_bytes(), "application/octet-stream")}
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = client.post("/match", files=files, data={"texts": json.dumps(sample["texts"])})
        except httpx.TransportError as error:
            raise SmokeError(f"{sample['record']}: {type(error).__name__}: {error}") from None
        # Beside other people's requests a server may be busy, and say when to come again.
        if answer.status_code not in BUSY or time.monotonic() > deadline:
            break
        time.sleep(_wait_s(answer))
    if answer.status_code != 200:
        raise SmokeError(f"{sample['record']}: answered with {answer.status_code}: {answer.text[:300]}")
    try:
        scores = [float(each["score"]) for each in answer.json()["answers"]]
    except (KeyError, TypeError, ValueError):
        raise SmokeError(f"{sample['record']}: not the answer of /match: {answer.text[:300]}") from None
    if len(scores) != len(sample["texts"]):
        raise SmokeError(f"{sample['record']}: {len(scores)} answers to {len(sample['texts'])} texts")
    return scores


def _wait_s(answer: httpx.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), TIMEOUT_S) if asked.isdigit() else 1.0


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for _, line in lines(path)]
