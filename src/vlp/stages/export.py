"""Stage ``export``: every trained task as ONNX, checked against its model, in one bundle of plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlp.stages.base import run
from vlp import params as parameters
from vlp import plugins
from vlp.data.loading import Prepared
from vlp.export import bundle, lineage, onnx, quantization
from vlp.export.parity import base as parity
from vlp.files import atomic, write_json
from vlp.params import Section
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.runtime.predictor import Predictor

PREPARED, TASKS, BUNDLE = Path("data/prepared"), Path("models/tasks"), Path("models/bundle")
EVALUATION, METRICS = Path("reports/evaluation"), Path("metrics")


class Params(Section):
    """The sections this stage reads; the untyped ones are checked by their own stages and go on record here."""

    seed: int
    image: ImageParams
    text: TextParams
    model: dict[str, Any]
    pretrain: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    export: parity.ExportParams


def main() -> None:
    """Export, measure and check; beyond tolerance there is no bundle."""
    params = parameters.load(Params)
    prepared = Prepared(PREPARED)
    tasks = {name: plugins.find("vlp.tasks", name).Task.load(TASKS / name, prepared) for name in sorted(params.tasks)}

    def compared(name: str, predictor: Predictor, split: str) -> parity.Comparison:
        compare = plugins.find("vlp.export.parity", name).comparison
        found: parity.Comparison = compare(tasks[name], predictor, prepared.split(split), params.export.samples)
        return found

    def measure(name: str, predictor: Predictor, split: str) -> parity.Parity:
        return parity.measure(compared(name, predictor, split))

    def ask(name: str, predictor: Predictor) -> None:
        parity.ask(compared(name, predictor, "train"))

    light: dict[str, quantization.Trial] = {}
    measured: dict[str, parity.Parity] = {}
    with atomic(BUNDLE, folder=True) as folder:
        contents = bundle.Contents(
            tasks=onnx.write_tasks(list(tasks), TASKS, PREPARED, folder),
            tokenizer=PREPARED / "tokenizer" / "tokenizer.json",
            params=params.model_dump(mode="json"),
            metrics={name: EVALUATION / name / "metrics.json" for name in tasks},
            lineage=lineage.of_content(PREPARED, [TASKS / name for name in tasks]),
        )
        if params.export.int8:
            light = quantization.lighten(folder, contents, ask, measure, params.export)
        bundle.write(folder, contents)
        predictor = Predictor.open(folder)
        for name in tasks:
            measured[name] = measure(name, predictor, "test")
            parity.check(name, measured[name], params.export, rounded=name in light and light[name].kept)
    _write(measured, light)


def _write(measured: dict[str, parity.Parity], light: dict[str, quantization.Trial]) -> None:
    """The figures of each task by what runs it, and what quantising it would have cost or does."""
    exact: dict[str, dict[str, Any]] = {}
    timing: dict[str, dict[str, Any]] = {}
    for name, found in measured.items():
        size = sum(path.stat().st_size for path in (BUNDLE / name).iterdir())
        exact[name] = {"onnxruntime": found.exact | {"bytes": size}}
        timing[name] = {"onnxruntime": found.timing}
        if name in light:
            drops = {f"{split}_metric_drop": drop for split, drop in light[name].drops.items()}
            exact[name]["int8"] = {"kept": light[name].kept, **drops}
    write_json(METRICS / "export.json", exact)
    write_json(METRICS / "timing" / "export.json", timing)


if __name__ == "__main__":
    run(main)
