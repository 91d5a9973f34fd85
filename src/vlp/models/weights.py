"""Published weights from local files, loaded whole or not at all; and our own, written or a clear error.

A tensor that is missing, unknown or of another shape is an error that names it: nothing is left at
its random start and nothing is ignored that the caller did not name.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 8
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
)
"""What readers raise for bytes that are none of theirs: the last three are pickle's own, for a text."""


class WeightsError(ValueError):
    """A weights file cannot be read, or does not fit the model tensor by tensor."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Neither warnings nor a progress bar from transformers, whose bar knows no log file; as before afterwards."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around whatever writes safetensors to ``path``, a file or a folder.

    Raises:
        OSError: in the place of safetensors' own error, which is none: a full disk, most of the time.
    """
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({' '.join(str(error).split())[:200]})") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, each made contiguous.

    Raises:
        OSError: it cannot be written; the message names the file.
    """
    with writing(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state_dict by its file's ending: ``.safetensors``, or ``.pth``, ``.pt``, ``.bin`` with tensors only.

    Raises:
        WeightsError: no such file, another ending, a damaged file, or anything in it but named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    if path.suffix not in {".safetensors", ".pth", ".pt", ".bin"}:
        raise WeightsError(f"{path}: unknown kind of weights file; use .safetensors, .pth, .pt or .bin")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: not a readable weights file ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a state_dict, tensors by name, and nothing else")
    return dict(loaded)


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy ``tensors`` into ``module``, each to its name.

    Args:
        module: what is filled, parameters and persistent buffers alike.
        tensors: by the names of ``module.state_dict()``, no more and no fewer.
        source: the file or folder they come from; opens the error.

    Raises:
        WeightsError: the names or shapes differ; nothing has been copied then.
    """
    own = module.state_dict()
    check_exact(
        source,
        missing=[name for name in own if name not in tensors],
        unexpected=[name for name in tensors if name not in own],
        misshapen=[
            f"{name} {tuple(tensor.shape)} for {tuple(own[name].shape)}"
            for name, tensor in tensors.items()
            if name in own and tensor.shape != own[name].shape
        ],
    )
    module.load_state_dict(dict(tensors), strict=True)


def check_exact(source: str, *, missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str]) -> None:
    """Raise ``WeightsError`` if any of the three lists names a tensor."""
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    faults = [f"{len(names)} {what}: {_some(names)}" for what, found in lists.items() if (names := sorted(found))]
    if faults:
        raise WeightsError(f"{source}: the weights do not fit the model; {'; '.join(faults)}")


def _some(names: list[str]) -> str:
    more = f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
