"""Whatever bytes come, the answer is a 2xx or a 4xx that says why, and the service lives on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from io import BytesIO

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.bundles import png
from support.served import Server
from vlp.data.scenes import faults

pytestmark = pytest.mark.slow

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("P",),
    "BMP": ("1", "L", "RGB"),
    "TIFF": ("1", "L", "LAB", "CMYK", "RGB", "RGBA", "I;16", "F"),
}


def pictures() -> Iterator[tuple[str, bytes]]:
    """A file of each format and mode."""
    for kind, modes in MODES.items():
        for mode in modes:
            out = BytesIO()
            picture = Image.new(mode, (40, 30)) if mode in ("LAB", "I;16", "F") else _noise().convert(mode)
            picture.save(out, kind)
            yield f"{kind} {mode}", out.getvalue()


def faulty(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """A file of each image fault of the embedded data set."""
    pixels = np.asarray(_noise().resize((48, 48)))
    clean = faults.Clean(rng, pixels, png("red"))
    for name in sorted({fault.name for fault in faults.plan(1000, 1.0, 1).values() if fault.field == "image"}):
        if name not in faults.COPIES:
            yield f"fault {name}", faults.spoil_image(name, clean)[0]


def _noise() -> Image.Image:
    return Image.frombytes("RGB", (40, 30), random.Random(1).randbytes(3600))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or cut off."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(found) or 1)
        match rng.randrange(4):
            case 0 if found:
                found[at] = rng.randrange(256)
            case 1:
                del found[at : at + rng.randint(1, 20)]
            case 2:
                found[at:at] = found[at : at + rng.randint(1, 40)]
            case _:
                del found[max(at, len(found) // 2) :]
    return bytes(found)


@pytest.mark.parametrize("each", [8, pytest.param(160, marks=pytest.mark.soak)])
def test_no_file_is_a_failure_of_the_service(client: httpx.Client, server: Server, each: int) -> None:
    """``each``: mutations of a file, and random ones beside."""
    rng, answers = random.Random(5), {}
    files = dict(pictures()) | dict(faulty(rng))
    for name, data in files.items():
        answers[name] = [ask(client, data), *(ask(client, mutated(data, rng)) for _ in range(each))]
    answers["random"] = [ask(client, rng.randbytes(rng.randint(0, 3000))) for _ in range(each)]
    statuses = {name: {answer.status_code for answer in found} for name, found in answers.items()}
    assert {name: found for name, found in statuses.items() if not found <= {200, 400}} == {}
    refused = {name for name in files if answers[name][0].status_code != 200}
    assert refused == {"TIFF F", "fault animated", "fault empty", "fault tiny", "fault truncated"}
    reasons = [answer.json()["error"] for found in answers.values() for answer in found if answer.status_code == 400]
    assert all(reason.startswith("image: ") for reason in reasons)
    assert ask(client, png("red")).status_code == 200
    assert not [line for line in server.lines() if line["level"] == "error"]


def ask(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post("/match", files={"image": ("picture", data)}, data={"texts": "a red square"})


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_what_the_document_allows_or_forbids_is_answered_as_it_says(
    server: Server, client: httpx.Client, mode: schemathesis.GenerationMode
) -> None:
    """Requests made from the OpenAPI document, right ones and wrong ones."""
    schema = schemathesis.openapi.from_dict(client.get("/docs.json").json())
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is schemathesis.GenerationMode.NEGATIVE and operation.method == "get":
            continue  # nothing of it can be wrong

        @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: schemathesis.Case) -> None:
            case.validate_response(case.call(base_url=server.url, timeout=20), checks=checks)

        holds()
