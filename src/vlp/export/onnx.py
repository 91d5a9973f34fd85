"""One module of a task as one ONNX file: the same weights give the same bytes.

The exporter writes into the graph where in the source, on which machine, each node came from. That is
stripped: nothing in the file depends on a path, a process or the hour.

Source: https://docs.pytorch.org/docs/stable/onnx_export.html
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.export import Dim

from vlp import plugins
from vlp.data.loading import Prepared
from vlp.data.parallel import ordered_map
from vlp.tasks.base import ExportPart, Task

OPSET = 20
"""Fixed, so that a newer exporter does not change what a bundle needs of its runtime."""
MAX_BYTES = 2**31 - 1  # of one protobuf message
# Where a node came from, which the exporter notes for debugging.
_NOTES = ("metadata_props", "doc_string")


class ExportError(ValueError):
    """A module cannot be exported, or what was exported is not a valid graph."""


def write_tasks(names: Sequence[str], tasks: Path, prepared: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Export tasks into folders of their names, several at once: an exporter keeps one core busy.

    Args:
        names: of tasks.
        tasks: holds what each saved, in a folder of its name.
        prepared: the data that they were trained on.
        out: an empty folder.

    Returns:
        Their entries of ``bundle.json``.

    Raises:
        ExportError: as ``write_onnx``.
    """
    write = partial(_write_one, tasks=tasks, prepared=prepared, out=out)
    # Even one task in a process of its own: it settles there how many threads PyTorch has.
    return dict(zip(names, ordered_map(write, names, at_once=1, few=1), strict=True))


def _write_one(name: str, tasks: Path, prepared: Path, out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    return write_task(plugins.find("vlp.tasks", name).Task.load(tasks / name, Prepared(prepared)), out / name)


def write_task(task: Task, folder: Path) -> dict[str, Any]:
    """Export every part of ``task`` into ``folder``; returns its entry of ``bundle.json``.

    Raises:
        ExportError: as ``write_onnx``.
    """
    folder.mkdir(parents=True)
    parts = {}
    for name, part in task.export_parts().items():
        path = folder / f"{name}.onnx"
        write_onnx(part, path, f"{task.name}/{name}")
        inputs, outputs = ports(path)
        parts[name] = {"file": f"{folder.name}/{path.name}", "inputs": inputs, "outputs": outputs}
    return {"decision": task.decision, "parts": parts}


def write_onnx(part: ExportPart, path: Path, name: str) -> None:
    """Export ``part`` to ``path``, weights inlined, checked.

    Args:
        part: a module, put into eval mode, and example inputs of two rows or more along each dynamic axis.
        path: the file to write.
        name: the graph's name and, in errors, the part's.

    Raises:
        ExportError: the exporter cannot follow the module, or the file would exceed 2 GB.
    """
    part.module.eval()  # in training mode dropout would be exported
    unknown = sorted(set(part.dynamic) - set(part.inputs))
    if unknown:
        raise ExportError(f"{name}: dynamic axes of {', '.join(unknown)}, which is no input ({', '.join(part.inputs)})")
    model = _exported(part, name)
    _strip(model)
    model.graph.name = name
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(f"{name}: {model.ByteSize()} bytes; one ONNX file holds at most {MAX_BYTES}")
    data = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(data, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{name}: the exported graph is not valid ONNX ({error})") from None
    path.write_bytes(data)


def ports(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of a graph: name, NumPy type and shape, dynamic axes by name."""
    graph = onnx.load(path, load_external_data=False).graph
    return [_port(value) for value in graph.input], [_port(value) for value in graph.output]


def _port(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in tensor.shape.dim]
    return {"name": value.name, "type": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, "shape": shape}


def _exported(part: ExportPart, name: str) -> onnx.ModelProto:
    dims = {label: Dim(label, max=part.most.get(label)) for axes in part.dynamic.values() for label in axes.values()}
    shapes = tuple({axis: dims[label] for axis, label in part.dynamic.get(key, {}).items()} for key in part.inputs)
    # Copies: the exporter takes one tensor that stands for two inputs as one input.
    examples = tuple(tensor.clone() for tensor in part.inputs.values())
    with torch.no_grad(), _quiet(), _uncollected():
        try:
            program = torch.onnx.export(
                part.module,
                examples,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(f"{name}: {type(part.module).__name__} cannot be exported ({error})") from error
    assert program is not None
    return program.model_proto


def _strip(message: Any) -> None:
    """Clear notes of where things came from, in the message and in every message inside it."""
    for field, value in message.ListFields():
        if field.name in _NOTES:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                _strip(item)


@contextmanager
def _uncollected() -> Iterator[None]:
    """An exporter makes millions of objects and hardly any garbage: to look for it is an eighth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own running commentary off: what matters it raises."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        # Several inputs share a named axis; that is meant.
        warnings.filterwarnings("ignore", message=".*The axis name", category=UserWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
