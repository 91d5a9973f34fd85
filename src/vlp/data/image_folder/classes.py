"""Folders as classes: the words that a folder's name stands for, and captions made of them."""

from __future__ import annotations

import json
import string

from vlp.data.raw.columns import whole_text
from vlp.data.raw.root import Root, RootError
from vlp.data.raw.templates import stable_hash
from vlp.records import Caption

HOLES = ("label", "a_label")
"""What a prompt may hold: the class, and the class with its article."""

MAX_NAMES_BYTES = 16 * 2**20


def words(folder: str) -> str:
    """The words of a folder's name: ``golden_retriever`` and ``GoldenRetriever`` are ``golden retriever``."""
    spaced = "".join(
        f" {now}" if now.isupper() and before.islower() else now
        for before, now in zip(" " + folder, folder, strict=False)
    )
    return " ".join(spaced.replace("_", " ").replace("-", " ").lower().split())


def with_article(label: str) -> str:
    """``label`` after a or an, by its first letter: right but for words such as *hour* and *unicorn*."""
    return f"{'an' if label[:1].lower() in tuple('aeiou') else 'a'} {label}"


def is_prompt(template: str) -> bool:
    """Whether ``template`` holds at least one of ``HOLES``, and nothing else in braces."""
    try:
        holes = [hole for hole in string.Formatter().parse(template) if hole[1] is not None]
    except ValueError:
        return False
    return bool(holes) and all(name in HOLES and not form and not conversion for _, name, form, conversion in holes)


def fill(template: str, label: str) -> str:
    """The caption that ``template`` makes of ``label``."""
    return template.format(label=label, a_label=with_article(label))


def captions(prompts: tuple[str, ...], label: str, others: list[str], choice: str) -> tuple[Caption, ...]:
    """A caption a prompt; its false twin names another class, where there is one to name.

    Args:
        prompts: templates.
        label: the class.
        others: classes that a twin may name.
        choice: decides among several, the same way each time.
    """
    made = []
    for prompt in prompts:
        other = others[stable_hash(f"{choice} {prompt}") % len(others)] if others else None
        negative = None if other is None else fill(prompt, other)
        made.append(Caption(text=fill(prompt, label), negative=negative, kind="class" if negative else ""))
    return tuple(made)


def read_names(root: Root, name: str) -> dict[str, str]:
    """The JSON object ``name`` below ``root``: from a folder's name to its class (``n01440764``: tench).

    Raises:
        RootError: it is missing or no such object.
    """
    data, problem = root.read(name, MAX_NAMES_BYTES)
    if problem:
        raise RootError(f"class_names {name!r}: {problem}")
    try:
        found = json.loads(data)
        for text in (*found, *found.values()) if isinstance(found, dict) else ():
            whole_text(str(text), "a name")
    except (ValueError, RecursionError) as error:
        raise RootError(f"class_names {name!r}: not usable JSON ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) and value.strip() for value in found.values()):
        raise RootError(f"class_names {name!r}: expected an object of texts, folder by folder")
    return found
