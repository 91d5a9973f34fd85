"""A small real server with the service's contract, for the bundles of ``support.pipelines``.

``python answering.py BUNDLE PORT``. A picture is a record's id, a text the number of a caption; the scores are those
that the bundle's predictions hold. ``manner`` in the bundle says how it serves: well, never (it ends at once), silently
(it is never ready), wrongly (other scores), briefly (well for some requests, then 500), until watched (then ends), or
busily (every other request has to come again).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

BUNDLE = Path(sys.argv[1])
MANNER = (BUNDLE / "manner").read_text()
ROWS = [json.loads(line) for line in (BUNDLE / "predictions.jsonl").read_text().splitlines()]
SCORES = {(row["record"], row["caption"]): row["score"] for row in ROWS}
BRIEFLY = 7
asked = 0


async def ready(_: Request) -> Response:
    return PlainTextResponse("", 503 if MANNER == "silently" else 200)


async def lineage(_: Request) -> Response:
    return JSONResponse({"lineage": json.loads((BUNDLE / "lineage.json").read_text()), "pid": os.getpid()})


async def match(request: Request) -> Response:
    global asked
    asked += 1
    if MANNER == "briefly" and asked > BRIEFLY:
        return JSONResponse({"error": "out of order"}, 500)
    if MANNER == "until watched" and asked > BRIEFLY:
        os._exit(1)
    if MANNER == "busily" and asked % 2:
        return JSONResponse({"error": "busy"}, 429, {"Retry-After": "0"})
    async with request.form() as form:
        upload = form["image"]
        assert not isinstance(upload, str)
        record = (await upload.read()).decode()
        texts = json.loads(str(form["texts"]))
    found = [SCORES[record, int(text)] for text in texts]
    if MANNER == "wrongly":
        found = [1 - score for score in found]
    return JSONResponse({"answers": [{"text": text, "score": score} for text, score in zip(texts, found, strict=True)]})


if __name__ == "__main__":
    if MANNER == "never":
        sys.exit("error: this bundle cannot be served")
    routes = [Route("/readyz", ready), Route("/lineage", lineage), Route("/match", match, methods=["POST"])]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
