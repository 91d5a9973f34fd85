"""What is not a prediction: the page and its files, the samples, and what is served, as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from service import endpoints, metrics, openapi
from service.settings import is_picture, read
from vlp.runtime import bundle as bundles

PAGE = Path(__file__).parent / "page"
SETTINGS = read()


async def index(_: Request) -> Response:
    """The page for people."""
    return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})


async def tasks(request: Request) -> Response:
    """What this bundle answers, and the limits of a request."""
    predictor = request.app.state.predictor
    images = predictor.inputs.image_params  # the tighter of the settings' limits and the bundle's
    return JSONResponse(
        {
            "tasks": list(predictor.tasks),
            "endpoints": [_endpoint(endpoint, predictor.bundle) for endpoint in endpoints.available(predictor.tasks)],
            "limits": {
                "max_bytes": images.max_bytes,
                "max_pixels": images.max_pixels,
                "max_texts": SETTINGS.max_texts,
                "max_characters": SETTINGS.max_characters,
            },
        }
    )


def _endpoint(endpoint: endpoints.Endpoint, bundle: bundles.Bundle) -> dict[str, str]:
    told = {"name": endpoint.name, "task": endpoint.task}
    # Of a classifier: whoever asks must know whether it looks at a picture, a text or both.
    modality = bundle.tasks[endpoint.task].decision.get("modality")
    return told if modality is None else {**told, "modality": str(modality)}


async def lineage(request: Request) -> Response:
    """What the bundle was made of: data, parameters, weights, libraries, metrics."""
    bundle = request.app.state.predictor.bundle
    found: dict[str, Any] = {
        "bundle": bundle.name,
        **{
            name: _json(bundle.path(file)) if file in bundle.files else {}
            for name, file in {"lineage": bundles.LINEAGE, "metrics": bundles.METRICS}.items()
        },
        "params": bundle.params,
        "tasks": {name: {"decision": task.decision} for name, task in bundle.tasks.items()},
        "files": bundle.files,
        "engines": {name: asdict(choice) for name, choice in request.app.state.predictor.engines.items()},
    }
    return JSONResponse(found)


async def document(request: Request) -> Response:
    """The OpenAPI document of the endpoints that this bundle answers."""
    state = request.app.state
    return JSONResponse(openapi.document(state.service, endpoints.available(state.predictor.tasks), SETTINGS))


async def figures(_: Request) -> Response:
    """For Prometheus."""
    content, kind = await to_thread.run_sync(metrics.exposed)
    return Response(content, headers={"content-type": kind})


async def samples(_: Request) -> Response:
    """The sample pictures, where they come from, and texts to try with them."""
    index = SETTINGS.samples / "index.json"
    return JSONResponse(_json(index) if index.is_file() else {"source": "", "samples": []})


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Pictures(StaticFiles):
    """The pictures of a folder, and nothing else that lies in or below it."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """As of ``StaticFiles``: nothing where the path is no picture's."""
        return super().lookup_path(path) if is_picture(path) and Path(path).name == path else ("", None)


site = Starlette(
    routes=[
        Route("/", index),
        Route("/tasks", tasks),
        Route("/lineage", lineage),
        Route("/metrics", figures),
        Route("/docs.json", document),
        Route("/samples/index.json", samples),
        Mount("/page", StaticFiles(directory=PAGE)),
        Mount("/samples", Pictures(directory=SETTINGS.samples, check_dir=False)),
    ]
)
