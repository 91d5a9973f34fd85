"""A searchable collection of images and texts: one unit vector an item, compared by cosine.

The same index answers "which texts fit this image", "which images fit this text" and "what is like the things that I
looked at": a query is the direction of the mean of whatever vectors it is made of.

On disk a folder of two plain files: ``index.json`` (items) and ``vectors.npy`` (float32 [N, W]).
"""

from __future__ import annotations

import io
import json
import tokenize
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from vlp.files import atomic

FORMAT = 1
ITEMS, VECTORS = "index.json", "vectors.npy"
# What NumPy's reader of a header raises, which takes it for Python's text of a dictionary.
_HEADER_FAULTS = (
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    SyntaxError,
    MemoryError,
    RecursionError,
    OverflowError,
    tokenize.TokenError,
)
_UNIT = 1e-3
"""How far from one the length of a vector may be that somebody sent."""


class SearchError(ValueError):
    """An index is missing, damaged, or made by another model; or an item is not in it."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is indexed: a name of the caller's own, and what is said of it, if anything.

    ``texts`` are what a second stage can look at once more, and are cleaned then.
    """

    id: str
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: the item, and how well it fits; comparable within one search only."""

    item: Item
    score: float


class Index:
    """Items and their vectors.

    Args:
        items: with ids of their own.
        vectors: float32 [N, W], each of length one.
        model: what made the vectors; a query by another model is refused.

    Raises:
        SearchError: ids repeat, or the numbers of items and vectors differ.
    """

    def __init__(self, items: Sequence[Item], vectors: np.ndarray, model: str) -> None:
        if vectors.ndim != 2 or len(vectors) != len(items):
            raise SearchError(f"{len(items)} items, but vectors of shape {vectors.shape}")
        self.items, self.vectors, self.model = tuple(items), np.asarray(vectors, np.float32), model
        self._place = {item.id: place for place, item in enumerate(self.items)}
        if len(self._place) != len(self.items):
            raise SearchError(f"{len(self.items)} items, but only {len(self._place)} different ids")

    def __len__(self) -> int:
        return len(self.items)

    def vectors_of(self, ids: Sequence[str]) -> np.ndarray:
        """The vectors [n, W] of those items.

        Raises:
            SearchError: an id is not in the index.
        """
        if unknown := [name for name in ids if name not in self._place]:
            raise SearchError(f"the index has no item {unknown[0]!r}")
        return self.vectors[[self._place[name] for name in ids]]

    def search(self, query: np.ndarray, k: int, exclude: Collection[str] = ()) -> list[Hit]:
        """The ``k`` items nearest by cosine, best first; of equally near ones the earlier.

        Args:
            query: float [W], of length one.
            k: most answers.
            exclude: ids that are no answer.

        Raises:
            SearchError: the query is of another width.
        """
        if query.shape != self.vectors.shape[1:]:
            raise SearchError(f"a query of shape {query.shape}, but vectors of width {self.vectors.shape[1]}")
        similarity = self.vectors @ query.astype(np.float32)
        out = sorted({self._place[name] for name in exclude if name in self._place})
        similarity[out] = -np.inf
        best = _least(-similarity, max(0, min(k, len(self) - len(out))))
        return [Hit(self.items[place], float(similarity[place])) for place in best.tolist()]

    def save(self, folder: str | Path) -> None:
        """Write the index as a folder; one that is there is replaced."""
        about = {"format": FORMAT, "model": self.model, "items": [asdict(item) for item in self.items]}
        with atomic(Path(folder), folder=True) as partial:
            text = json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False)
            (partial / ITEMS).write_text(text + "\n", encoding="utf-8")
            np.save(partial / VECTORS, self.vectors, allow_pickle=False)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what ``save`` wrote; the vectors are mapped, not copied.

        Raises:
            SearchError: naming the file that is missing or damaged.
        """
        folder = Path(folder)
        try:
            about = _parsed((folder / ITEMS).read_bytes(), folder / ITEMS)
        except OSError as error:
            raise SearchError(f"{folder / ITEMS}: cannot be read ({error}); make the index again") from None
        try:
            vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SearchError(f"{folder / VECTORS}: cannot be read ({error}); make the index again") from None
        return cls._of(about, vectors, folder / ITEMS)

    @classmethod
    def parse(cls, items: bytes, vectors: bytes) -> Self:
        """The index of two files' contents, which anybody may have sent.

        Args:
            items: of ``index.json``.
            vectors: of ``vectors.npy``.

        Raises:
            SearchError: naming the file and what is wrong with it.
        """
        about, found = _parsed(items, Path(ITEMS)), _array(vectors)
        # What is no number compares as false.
        if found.size and not (np.abs(np.linalg.norm(found, axis=1) - 1) < _UNIT).all():
            raise SearchError(f"{VECTORS}: expected vectors of length one")
        return cls._of(about, found, Path(ITEMS))

    @classmethod
    def _of(cls, about: dict[str, Any], vectors: np.ndarray, path: Path) -> Self:
        try:
            items = [_item(item) for item in about["items"]]
            return cls(items, vectors, str(about["model"]))
        except (KeyError, TypeError, UnicodeEncodeError) as error:
            raise SearchError(f"{path}: not the items of an index ({error!r:.200})") from None


def _least(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the ``count`` least, the least first; of equal ones the earlier, at the cut as well.

    Only those are put in order: an index can be large, and a quick selection takes any of the equal ones at the cut.
    """
    if not count:
        return np.empty(0, np.int64)
    last = np.partition(values, count - 1)[count - 1]
    below = np.flatnonzero(values < last)
    best = np.concatenate([below, np.flatnonzero(values == last)[: count - len(below)]])
    return np.asarray(best[np.lexsort((best, values[best]))])


def direction(vectors: np.ndarray) -> np.ndarray:
    """The unit vector [W] along the mean of vectors [n, W]: several things as one query or one item.

    Raises:
        SearchError: there is none, or they cancel out.
    """
    if not len(vectors):
        raise SearchError("nothing to search for: give an image, texts or items")
    mean = vectors.astype(np.float64).mean(0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise SearchError("the vectors cancel out: they have no common direction")
    return np.asarray(mean / length, np.float32)


def _item(told: dict[str, Any]) -> Item:
    texts = told["texts"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts: expected a list of texts, found {texts!r:.80}")
    name = str(told["id"])
    "".join((name, *texts)).encode()  # half of a surrogate pair, which JSON can hold, could be answered to nobody
    return Item(id=name, texts=tuple(texts))


def _parsed(about: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(about.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SearchError(f"{path}: not valid JSON ({error}); make the index again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SearchError(f"{path}: not an index of format {FORMAT}; make the index again")
    return found


def _array(data: bytes) -> np.ndarray:
    """The float32 matrix of an NPY file, no larger than the file is: NumPy's reader believes what the header says.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, kind = read(file)
    except _HEADER_FAULTS as error:
        raise SearchError(f"{VECTORS}: not an NPY file ({' '.join(str(error).split())[:200]})") from None
    held = len(data) - file.tell()
    if kind != np.float32 or fortran or len(shape) != 2 or min(shape) < 0 or 4 * shape[0] * shape[1] != held:
        raise SearchError(f"{VECTORS}: expected rows of 32-bit floats, found {kind} {shape} in {held} bytes")
    return np.frombuffer(data, np.float32, offset=file.tell()).reshape(shape)
