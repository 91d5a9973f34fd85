"""A task exported as the export stage does it, opened as serving does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import scenes
from vlp.export import bundle, onnx
from vlp.runtime.predictor import Predictor


def predictor(folder: Path, prepared: Path, task: Any) -> Predictor:
    """The predictor of a bundle in ``folder`` that holds ``task``, which was made on ``scenes.prepare``'s data."""
    folder.mkdir()
    contents = bundle.Contents(
        tasks={task.name: onnx.write_task(task, folder / task.name)},
        tokenizer=prepared / "tokenizer" / "tokenizer.json",
        params={"image": json.loads(scenes.IMAGE.model_dump_json()), "text": json.loads(scenes.TEXT.model_dump_json())},
        metrics={},
        lineage={},
    )
    bundle.write(folder, contents)
    return Predictor.open(folder, threads=1)
