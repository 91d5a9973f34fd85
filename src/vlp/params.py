"""``params.yaml`` as typed, frozen classes.

Each room keeps its own section class beside the code that uses it; a stage names the sections it
reads as the fields of one ``Section`` of sections::

    class Params(Section):
        seed: int
        image: ImageParams

    params = load(Params)

An unknown key, a wrong type or an impossible value is one line that names file, section and key,
and the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

PARAMS_FILE = Path("params.yaml")


class ParamsError(ValueError):
    """``params.yaml`` says something that cannot be; one line per mistake."""


class Section(BaseModel):
    """A frozen section of ``params.yaml``: every key typed, none ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


def read(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """The whole file as plain dictionaries, by the same YAML 1.2 rules as DVC's (``1e-3`` is a number)."""
    # Here, not above: serving has sections but no file, and no YAML library installed.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the project's root") from None
    except YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ParamsError(f"{path}: expected sections, found {type(loaded).__name__}")
    return loaded


def load(cls: type[AnySection], path: Path = PARAMS_FILE) -> AnySection:
    """Read the top-level sections that are the fields of ``cls``.

    Raises:
        ParamsError: a section is missing, or a key is unknown, mistyped or out of bounds; or the file
            has a top-level section that no stage of the ``dvc.yaml`` beside it reads.
    """
    whole = read(path)
    known = _graph_sections(path.with_name("dvc.yaml")) | set(cls.model_fields)
    unknown = [
        f"{path}: {name}: no stage reads this section{_nearest(name, known)}" for name in whole if name not in known
    ]
    if unknown and len(known) > len(cls.model_fields):
        raise ParamsError("\n".join(unknown))
    return parse(cls, {name: whole[name] for name in cls.model_fields if name in whole}, str(path))


def load_section(dotted: str, cls: type[AnySection], path: Path = PARAMS_FILE) -> AnySection:
    """Read one section by its dotted name (``tasks.matching``): for plug-ins, which are named by a value.

    Raises:
        ParamsError: as ``load``.
    """
    value: Any = read(path)
    for depth, name in enumerate(dotted.split(".")):
        if not isinstance(value, dict) or name not in value:
            where = ".".join(dotted.split(".")[: depth + 1])
            known = value if isinstance(value, dict) else ()
            raise ParamsError(f"{path}: {where}: missing{_nearest(name, known)}")
        value = value[name]
    return parse(cls, value, f"{path}: {dotted}")


def parse(cls: type[AnySection], value: Any, where: str) -> AnySection:
    """Check ``value`` against ``cls``; ``where`` opens each line of the error."""
    try:
        # By way of JSON: strict about types, yet a list is a tuple, as in the file.
        return cls.model_validate_json(json.dumps({} if value is None else value, default=str))
    except ValidationError as error:
        lines = [_line(cls, fault, where) for fault in error.errors(include_url=False)]
        raise ParamsError("\n".join(lines)) from None


def _line(cls: type[Section], fault: Any, where: str) -> str:
    *parents, key = fault["loc"] or ("",)
    owner = _descend(cls, parents)
    known = list(owner.model_fields) if owner else []
    name = ".".join(str(part) for part in fault["loc"])
    place = f"{where}: {name}" if name else where
    match fault["type"]:
        case "extra_forbidden":
            return f"{place}: unknown key{_nearest(str(key), known)}"
        case "missing":
            return f"{place}: missing"
        case _:
            message = fault["msg"].removeprefix("Value error, ")
            return f"{place}: {message[0].lower()}{message[1:]}, found {_short(fault['input'])}"


def _descend(cls: type[Section], path: list[Any]) -> type[Section] | None:
    """The section class at ``path`` below ``cls``, for naming its valid keys."""
    current: type[Section] | None = cls
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        current = _section_of(field.annotation) if field else (current if not isinstance(part, str) else None)
    return current


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict, tuple, list):
        return next((found for arg in get_args(annotation) if (found := _section_of(arg))), None)
    return None


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; valid names: {', '.join(sorted(known))}" if known else ""


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _graph_sections(path: Path) -> set[str]:
    """The top-level sections that the stages of ``dvc.yaml`` read; empty where there is no such file."""
    if not path.exists():
        return set()
    graph = read(path)
    found: set[str] = set()
    for stage in (graph.get("stages") or {}).values():
        body = stage.get("do", stage)
        found.update(str(name).split(".")[0] for name in body.get("params", ()) if isinstance(name, str))
        if isinstance(over := stage.get("foreach"), str):
            found.add(over.strip("${} ").split(".")[0])
    return found
