"""Overlays of ``params.yaml``: merged into it in place, its comments kept.

An overlay has two rules. A mapping is merged into the mapping of the same name, and any other value (a number, a
text, a list, null) takes the place of what was there. A mapping tagged ``!replace`` is not merged but takes the
place, too; and a key whose value is ``!drop`` goes, which is how an overlay leaves tasks out. Where it has gone
already nothing is to be done, so that an overlay can be applied again; a name that is not there and looks like one
that is gets a warning, and the section that it goes from must be there::

    tasks:
      vqa: !drop
    pretrain:
      phases: !replace
        all: {objectives: [matching], training: {steps: 200}}
"""

from __future__ import annotations

import difflib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.tokens import CommentToken

from vlp.files import atomic

logger = logging.getLogger(__name__)

NULL = "tag:yaml.org,2002:null"


class OverlayError(ValueError):
    """An overlay or a setting cannot be applied to a file of parameters."""


def apply(overlay: Path | None, settings: Sequence[str], params: Path) -> None:
    """Merge ``overlay`` and then each of ``settings`` into the file ``params``, keeping its comments.

    Args:
        overlay: its file; None for none.
        settings: ``key.path=value``, the value in YAML; the key must be there already.
        params: the file to change; it is replaced whole or not at all.

    Raises:
        OverlayError: a file is missing or no mapping, the overlay cannot be merged, or a setting names no key.
    """
    base = _read(params)
    if overlay is not None:
        read = _read(overlay)
        try:
            merge(base, read)
        except OverlayError as error:
            raise OverlayError(f"{overlay}: {error}") from None
    for setting in settings:
        _set(base, setting)
    text = io.StringIO()
    _yaml().dump(base, text)
    with atomic(params) as partial:
        partial.write_text(text.getvalue().rstrip("\n") + "\n", encoding="utf-8")


def merge(base: CommentedMap, overlay: CommentedMap, above: str = "") -> None:
    """Merge ``overlay`` into ``base``, in place, by the rules above.

    Args:
        base: a section.
        overlay: what to merge into it.
        above: the section's own dotted name and a dot, for messages.

    Raises:
        OverlayError: ``overlay`` has another tag than ``!replace`` and ``!drop``, or drops from what is no section.
    """
    tail = _take_tail(base)
    for key, value in overlay.items():
        before, name = base.get(key), f"{above}{key}"
        if isinstance(before, CommentedMap) and isinstance(value, CommentedMap) and _tag(value) is None:
            merge(before, value, f"{name}.")
            continue
        if _tag(value) == "!drop":
            if key not in base and (near := _near(str(key), map(str, base))):
                logger.warning("%s: !drop, but there is none; did you mean %r?", name, near)
            _drop(base, key)
            continue
        if dropped := next(_dropped(value, name), None):
            why = f"{name} is !replace: leave the key out" if _tag(value) else f"there is no section {name}"
            hint = "" if key in base else nearest(str(key), map(str, base))
            raise OverlayError(f"{dropped}: !drop, but {why}{hint}")
        inner = _take_tail(before)
        base[key] = _fresh(value)
        _give_tail(base, key, inner)
    if base:
        _give_tail(base, next(reversed(base)), tail)


def _drop(base: CommentedMap, key: Any) -> None:
    if key not in base:
        return
    before = list(base)[: list(base).index(key)]
    tail = _take_tail(base[key]) if isinstance(base[key], CommentedMap | CommentedSeq) else ""
    del base[key]
    if before:
        _take_tail(base[before[-1]])  # the comment that stood before the key goes with it
        _give_tail(base, before[-1], tail)


def _dropped(value: Any, name: str) -> Iterator[str]:
    """The dotted names below ``name`` that ``value`` would drop."""
    if _tag(value) == "!drop":
        yield name
    elif isinstance(value, CommentedMap):
        for key, item in value.items():
            yield from _dropped(item, f"{name}.{key}")
    elif isinstance(value, CommentedSeq):
        for place, item in enumerate(value):
            yield from _dropped(item, f"{name}.{place}")


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda representer, _: representer.represent_scalar(NULL, "null"))
    return yaml


def _tag(value: Any) -> str | None:
    tag = value.tag.value if hasattr(value, "tag") else None
    if tag not in (None, "!replace", "!drop"):
        raise OverlayError(f"an overlay knows the tags !replace and !drop, not {tag}")
    return tag


def _fresh(value: Any) -> Any:
    """``value`` as an overlay has it, without its tags and comments."""
    _tag(value)
    if isinstance(value, CommentedMap):
        fresh: Any = CommentedMap((key, _fresh(item)) for key, item in value.items())
    elif isinstance(value, CommentedSeq):
        fresh = CommentedSeq(_fresh(item) for item in value)
    else:
        return value
    if value.fa.flow_style():
        fresh.fa.set_flow_style()
    return fresh


# ruamel.yaml hangs the blank lines and comments that stand before a key on the last leaf before that key. Where
# that leaf is replaced, or is no longer the last, these lines (its tail) have to move to the new last leaf.


def _last_slot(value: Any, slot: tuple[Any, Any] | None = None) -> tuple[Any, Any] | None:
    """The innermost block collection on ``value``'s last line, and the key of its last leaf."""
    if not isinstance(value, (CommentedMap, CommentedSeq)) or not value or value.fa.flow_style():
        return slot
    key = next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1
    return _last_slot(value[key], (value, key))


def _take_tail(value: Any) -> str:
    slot = _last_slot(value)
    if slot is None:
        return ""
    owner, key = slot
    tokens = owner.ca.items.get(key)
    place = 2 if isinstance(owner, CommentedMap) else 0
    if not tokens or tokens[place] is None:
        return ""
    own, _, tail = tokens[place].value.partition("\n")
    tokens[place] = CommentToken(own + "\n", tokens[place].start_mark, None) if own else None
    return str(tail)


def _give_tail(owner: CommentedMap, key: Any, tail: str) -> None:
    if not tail:
        return
    target, last = _last_slot(owner[key], (owner, key)) or (owner, key)
    place = 2 if isinstance(target, CommentedMap) else 0
    tokens = target.ca.items.setdefault(last, [None, None, None, None])
    own = tokens[place].value if tokens[place] is not None else "\n"
    mark = tokens[place].start_mark if tokens[place] is not None else CommentMark(0)
    tokens[place] = CommentToken(own + tail, mark, None)


def _read(path: Path) -> CommentedMap:
    try:
        loaded = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OverlayError(f"{path}: no such file; run from the project's root") from None
    except YAMLError as error:
        raise OverlayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, CommentedMap):
        raise OverlayError(f"{path}: expected sections, found {type(loaded).__name__}")
    return loaded


def _set(base: CommentedMap, setting: str) -> None:
    dotted, equals, text = setting.partition("=")
    if not equals:
        raise OverlayError(f"--set {setting}: expected key.path=value")
    *parents, last = dotted.split(".")
    section: Any = base
    for depth, key in enumerate([*parents, last]):
        if not isinstance(section, CommentedMap) or key not in section:
            where = ".".join([*parents, last][: depth + 1])
            known = list(section) if isinstance(section, CommentedMap) else []
            raise OverlayError(f"--set {setting}: params.yaml has no {where}{nearest(key, known)}")
        if depth < len(parents):
            section = section[key]
    try:
        value = _yaml().load(text)
    except YAMLError as error:
        raise OverlayError(f"--set {setting}: not valid YAML: {' '.join(str(error).split())}") from None
    merge(section, CommentedMap({last: value}))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message: the known name nearest to ``name``, or all of them."""
    known = list(known)
    near = _near(name, known)
    return f"; did you mean {near!r}?" if near else f"; there is {', '.join(sorted(known)) or 'none'}"


def _near(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)
