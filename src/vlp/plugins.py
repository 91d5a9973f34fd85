"""Open sets: in a folder of plug-ins the file's name is the plug-in's name.

There is no registry to fill and nothing to import first: ``find("vlp.models.fusion", "film")``
imports ``vlp/models/fusion/film.py``, and adding a plug-in is adding that file.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType


class UnknownPluginError(ValueError):
    """A plug-in was asked for by a name that no file of its folder has."""


def names(package: str) -> list[str]:
    """The names of the plug-ins in ``package`` (dotted), sorted; ``base`` and private files are none."""
    paths = importlib.import_module(package).__path__
    found = (module.name for module in pkgutil.iter_modules(paths))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """Import the plug-in ``name`` of ``package``.

    Raises:
        UnknownPluginError: there is no such file; the message lists those there are.
    """
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownPluginError(f"{package}: no plug-in {name!r}; {hint}there is {', '.join(known) or 'none'}")
    return importlib.import_module(f"{package}.{name}")
