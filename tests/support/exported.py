"""A real task on real scenes, exported by the real exporter and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import scenes
from vlp.data.loading import Prepared
from vlp.export import bundle, onnx
from vlp.runtime.predictor import Predictor


def predictor(task: Any, prepared: Prepared, work: Path) -> Predictor:
    """The bundle of one task, in ``work``, opened."""
    folder = work / "bundle"
    folder.mkdir()
    (work / "metrics.json").write_text("{}", encoding="utf-8")
    contents = bundle.Contents(
        tasks={task.name: onnx.write_task(task, folder / task.name)},
        tokenizer=prepared.folder / "tokenizer" / "tokenizer.json",
        params={"image": scenes.IMAGE.model_dump(mode="json"), "text": scenes.TEXT.model_dump(mode="json")},
        metrics={task.name: work / "metrics.json"},
        lineage={"data": "0" * 64},
    )
    bundle.write(folder, contents)
    return Predictor.open(folder, threads=1)
