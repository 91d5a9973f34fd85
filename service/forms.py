"""From an HTTP request to typed fields, in place of BentoML's own reading.

BentoML fetches a file field's *text* as an address, keeps one of several fields of a name, and answers 500
to a broken form. Here a file is an upload or nothing, repeated fields are a list, and whatever is wrong is a
400 (or 415) that says so.
"""

from __future__ import annotations

import json
import types
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from bentoml import IODescriptor
from bentoml.exceptions import BentoMLException, InvalidArgument
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.settings import read

if TYPE_CHECKING:
    from starlette.requests import Request

_LIMITS = read()
MULTIPART = "multipart/form-data"
JSON = "application/json"


class UnsupportedMediaType(BentoMLException):
    """The request's body is of another kind than the endpoint takes."""

    error_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class Fields(IODescriptor):
    """The fields of an endpoint's request. Those typed ``bytes`` are uploads, and make it a multipart form."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.multipart_fields = [name for name, field in cls.model_fields.items() if bytes in _kinds(field.annotation)]
        cls.media_type = MULTIPART if cls.multipart_fields else JSON

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Self:
        """Read and check ``request``; BentoML calls this in place of ``serde``.

        Raises:
            BentoMLException: with the status and what is wrong.
        """
        del serde
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != cls.media_type:
            raise UnsupportedMediaType(f"Content-Type: expected {cls.media_type}, found {media or 'none'}")
        try:
            if cls.media_type == JSON:
                return cls.model_validate_json(await request.body())
            return cls.model_validate(await cls._form(request))
        except ValidationError as error:
            raise InvalidArgument("; ".join(_line(fault) for fault in error.errors(include_url=False))) from None

    @classmethod
    async def _form(cls, request: Request) -> dict[str, Any]:
        try:
            # The guard has bounded the body. Of fields there may be more than can be right: the model says which.
            most = 2 * _LIMITS.max_texts + len(cls.model_fields) + 1
            form = await request.form(
                max_files=len(cls.multipart_fields), max_fields=most, max_part_size=_LIMITS.max_bytes
            )
        except HTTPException as error:
            raise InvalidArgument(f"the form cannot be read: {error.detail}") from None
        except UnicodeError as error:
            raise InvalidArgument(f"the form cannot be read: {error}") from None
        try:
            return {name: await cls._field(name, form) for name in form}
        finally:
            await form.close()

    @classmethod
    async def _field(cls, name: str, form: FormData) -> Any:
        if name not in cls.model_fields:
            return None  # the model says that it is one too many
        values = form.getlist(name)
        if name in cls.multipart_fields:
            if len(values) != 1 or not isinstance(values[0], UploadFile):
                raise InvalidArgument(f"{name}: expected one uploaded file; addresses and texts are not fetched")
            return await values[0].read()
        if any(isinstance(value, UploadFile) for value in values):
            raise InvalidArgument(f"{name}: expected text, found an uploaded file")
        if list not in _kinds(cls.model_fields[name].annotation):
            return values[0] if len(values) == 1 else values
        return _listed(str(values[0])) if len(values) == 1 else values


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field may have, without what they hold: ``list[str] | None`` → list and None."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        return {kind for one in get_args(annotation) for kind in _kinds(one)}
    return {get_origin(annotation) or annotation}


def _listed(value: str) -> list[Any]:
    """A list sent as one field: BentoML's client writes JSON; anything else is its only entry."""
    if value.startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        if isinstance(found, list):
            return found
    return [value]


def _line(fault: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else str(message)
