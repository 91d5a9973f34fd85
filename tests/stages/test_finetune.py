from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vlp.stages import finetune
from support import models
from vlp.params import read

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def test_retrieval_of_one_image_a_pass_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = read(PARAMS)
    recipe = models.recipe(1, 4, accumulate=4).model_dump(mode="json")
    section = {**whole["tasks"]["retrieval"], "training": recipe}
    params = {"seed": 7, "augment": whole["augment"], "tasks": {"retrieval": section}}
    Path("params.yaml").write_text(json.dumps(params), encoding="utf-8")  # JSON is YAML
    monkeypatch.setattr(sys, "argv", ["finetune", "retrieval"])
    with pytest.raises(ValueError, match=r"tasks\.retrieval\.training: .* batch_size 4 with accumulate 4 leaves it 1"):
        finetune.main()
