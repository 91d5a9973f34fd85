"""Outs that are whole or absent: write under a temporary name, then rename.

A stage killed at any moment leaves at most a hidden ``.<name>.partial``, which the next run removes.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on an error it goes.

    Args:
        path: the final file or folder; its parents are made.
        folder: make the temporary path a folder.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.partial")
    _remove(partial)
    if folder:
        partial.mkdir()
    try:
        yield partial
    except BaseException:
        _remove(partial)
        raise
    if folder and final.exists():
        _remove(final)
    os.replace(partial, final)


def lines(path: str | os.PathLike[str], *, blank: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file by their number, without their ends and a byte order mark.

    Only a line feed ends one, as JSON lines and vocabularies have it: ``str.splitlines`` would also cut at characters
    that stand inside of texts, such as U+2028.

    Args:
        path: the file.
        blank: with those that hold nothing but white space.
    """
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            line = line.removesuffix("\n").removesuffix("\r")
            if blank or line.strip():
                yield number, line


def _plain(value: Any) -> Any:
    """Numbers that read well in a diff: floats to six decimals, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as sorted, indented JSON, atomically; floats are rounded to six decimals."""
    with atomic(path) as partial:
        text = json.dumps(_plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> int:
    """Write one sorted JSON object a line, atomically; returns how many."""
    count = 0
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_plain(row), sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` under the columns of all of them, atomically; floats are rounded to six decimals."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_plain(row) for row in rows)
