"""The OpenAPI document: BentoML's, with only what this bundle answers, and with what the guard adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bentoml

from service.endpoints import Endpoint
from service.settings import Settings

_ERROR = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong and, where it helps, what to do"},
        "request_id": {"type": "string", "description": "as in the header X-Request-ID and in the log"},
    },
}
_REFUSALS = {
    "400": "The request is wrong; the error says what.",
    "401": "The API key is missing or wrong.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is of another content type.",
    "429": "Too many predictions are waiting; the header Retry-After says when to come again.",
    "503": "No answer in time; the header Retry-After says when to come again.",
}


def document(service: Any, available: Sequence[Endpoint], settings: Settings) -> dict[str, Any]:
    """OpenAPI 3.0 of the endpoints in ``available`` and of what can be read by GET."""
    found: dict[str, Any] = service.openapi_spec.asdict()
    paths = {f"/{endpoint.name}": found["paths"][f"/{endpoint.name}"] for endpoint in available}
    for path, item in paths.items():
        operation = item["post"]
        operation["summary"] = str(operation["description"]).splitlines()[0]
        operation["responses"] = {"200": operation["responses"][200], **_errors(settings)}
        for media in operation["requestBody"]["content"].values():
            media.pop("encoding", None)
        operation["operationId"] = path.removeprefix("/")
    paths |= {path: {"get": _reading(summary, settings)} for path, summary in _READABLE.items()}
    components = {"schemas": _schemas(found["components"]["schemas"], paths) | {"Error": _ERROR}}
    whole: dict[str, Any] = {
        "openapi": found["openapi"],
        "info": {"title": "vlp", "version": bentoml.__version__, "description": "Questions about pictures."},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": components,
    }
    if settings.api_key is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"key": []}]
    return dict(_plain(whole))


_READABLE = {"/tasks": "What this bundle answers", "/lineage": "What it was made of"}


def _errors(settings: Settings) -> dict[str, Any]:
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        status: {"description": text, "content": schema}
        for status, text in _REFUSALS.items()
        if status != "401" or settings.api_key is not None
    }


def _reading(summary: str, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "operationId": summary.lower().replace(" ", "_"),
        "responses": {"200": {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}},
    }
    if settings.api_key is not None:
        found["responses"]["401"] = _errors(settings)["401"]
    return found


def _schemas(every: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """Those that the paths refer to, directly or through another."""
    wanted, text = dict[str, Any](), str(paths)
    while True:
        more = {name: every[name] for name in every.keys() - wanted.keys() if f"schemas/{name}'" in text}
        if not more:
            return {name: wanted[name] for name in sorted(wanted)}
        wanted |= more
        text = str(wanted)


def _plain(value: Any) -> Any:
    """``value`` with BentoML's own words for a file replaced by OpenAPI's."""
    if isinstance(value, dict):
        found = {str(key): _plain(one) for key, one in value.items()}
        return found | {"type": "string", "format": "binary"} if found.get("type") == "file" else found
    return [_plain(one) for one in value] if isinstance(value, list) else value
