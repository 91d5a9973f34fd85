"""What ``/retrieve`` searches: the pictures of the samples folder, a saved index, or an index that a request brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings, is_picture
from vlp.runtime.predictor import Hit, ImageError, Index, InputError, Predictor, SearchError


class CollectionError(ValueError):
    """The collection cannot be searched; the message names the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is looked for: any of a picture, texts and ids of items that were liked, taken together."""

    image: bytes | None
    texts: Sequence[str]
    like: Sequence[str]
    k: int


class Collection:
    """Searchable pictures; none where the bundle has no retrieval task.

    Args:
        predictor: of the bundle that is served.
        settings: the folder whose pictures are the collection, each by its name, or an index saved before; and how
            many texts, and how long, an item of an index that a request brings may have.

    Raises:
        CollectionError: a file that is named as a picture is none; or the index is damaged or another model's.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self._predictor = predictor
        self._settings = settings
        self._files: dict[str, Path] = {}
        if settings.samples.is_dir():
            found = sorted(settings.samples.iterdir())
            self._files = {path.name: path for path in found if is_picture(path.name)}
        self._index = self._built() if "retrieval" in predictor.tasks else None

    def search(self, query: Query) -> list[Hit]:
        """At most ``k`` hits, best first; by the bundle's two stages where it has them."""
        assert self._index is not None, "asked of a bundle without retrieval"
        return self._found(self._index, query)

    def search_sent(self, query: Query, items: bytes, vectors: bytes) -> list[Hit]:
        """As ``search``, in an index that a request brings: what ``Index.save`` wrote.

        Raises:
            SearchError: the index is damaged, or another model's.
            InputError: a text of it is refused.
        """
        index = Index.parse(items, vectors)
        self._predictor.check_index(index)
        for item in index.items:
            if len(item.texts) > self._settings.max_texts:
                raise InputError(
                    f"index: item {item.id!r} has {len(item.texts)} texts, {self._settings.max_texts} allowed"
                )
            if any(len(text) > self._settings.max_characters for text in item.texts):
                raise InputError(
                    f"index: a text of item {item.id!r} has over {self._settings.max_characters} characters"
                )
        return self._found(index, query)

    def _found(self, index: Index, query: Query) -> list[Hit]:
        # A second look needs the pictures: all of them, or the order would be by two measures.
        known = index is self._index and all(item.id in self._files for item in index.items)
        return self._predictor.retrieve(
            index,
            image=query.image,
            texts=query.texts,
            like=query.like,
            k=query.k,
            look=self._open if known else None,
        )

    def _built(self) -> Index:
        saved, folder = self._settings.index, self._settings.samples
        try:
            if saved is None:
                return self._predictor.index(images={name: self._open(name) for name in self._files})
            index = Index.load(saved)
            self._predictor.check_index(index)
            return index
        except SearchError as error:
            raise CollectionError(str(error)) from None
        except ImageError as error:
            raise CollectionError(f"{folder}: {error}") from None

    def _open(self, name: str) -> bytes:
        return self._files[name].read_bytes()
