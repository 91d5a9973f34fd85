"""Every fusion block, exported and answered through the runtime: none computes otherwise than in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import IMAGE_PARAMS, TEXT_PARAMS, tiny_matching, write_prepared
from vlp import plugins
from vlp.data.loading import Prepared
from vlp.export import bundle, onnx
from vlp.export.parity.matching import comparison
from vlp.runtime.predictor import Predictor

pytestmark = pytest.mark.slow
WIDE = {"hidden": 16, "layers": 1, "dropout": 0.1}
# The block of support.bundles.MODEL counts here; tests/stages/test_export.py asks the same of it as it is.
BLOCKS: dict[str, dict[str, Any]] = {
    "concat_mlp": {"hidden": [16], "dropout": 0.1},
    "film": WIDE,
    "transformer": {**WIDE, "heads": 2, "mlp_ratio": 2.0},
    "cross_attention": {**WIDE, "heads": 2, "mlp_ratio": 2.0, "counting_heads": 1},
}


def test_no_block_is_forgotten() -> None:
    assert sorted(BLOCKS) == plugins.names("vlp.models.fusion")


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_answers_the_same_after_export(name: str, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    write_prepared(prepared)
    task = tiny_matching(prepared, {"name": name, **BLOCKS[name]})
    (tmp_path / "bundle").mkdir()
    contents = bundle.Contents(
        tasks={"matching": onnx.write_task(task, tmp_path / "bundle" / "matching")},
        tokenizer=prepared / "tokenizer" / "tokenizer.json",
        params={"image": IMAGE_PARAMS, "text": TEXT_PARAMS},
        metrics={},
        lineage={},
    )
    bundle.write(tmp_path / "bundle", contents)
    made = comparison(task, Predictor.open(tmp_path / "bundle"), Prepared(prepared).split("test"), samples=4)
    for request in made.requests:
        np.testing.assert_allclose(made.by_runtime(request), made.by_torch(request), atol=1e-5)
