"""The pictures that ``/retrieve`` searches: those of the samples folder, turned into vectors at start."""

from __future__ import annotations

from pathlib import Path

from vlp.runtime.predictor import Hit, ImageError, Index, Predictor

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class CollectionError(ValueError):
    """A picture of the collection cannot be read; the message names the file."""


class Collection:
    """A searchable folder of pictures; empty where the bundle has no retrieval task.

    Args:
        predictor: of the bundle that is served.
        folder: its pictures are the collection; each one's name is its id.

    Raises:
        CollectionError: a file that is named as a picture is none.
    """

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self._predictor = predictor
        self._files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}
        self._index: Index | None = None
        if "retrieval" in predictor.tasks:
            try:
                self._index = self._predictor.index(images={name: self._open(name) for name in self._files})
            except ImageError as error:
                raise CollectionError(f"{folder}: {error}") from None

    def search(self, image: bytes | None, texts: list[str], k: int) -> list[Hit]:
        """At most ``k`` hits, best first; by the bundle's two stages where it has them."""
        assert self._index is not None, "asked of a bundle without retrieval"
        return self._predictor.retrieve(self._index, image=image, texts=texts, k=k, look=self._open)

    def _open(self, name: str) -> bytes:
        return self._files[name].read_bytes()
