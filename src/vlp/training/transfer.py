"""Transfer learning: what a task starts from, what of it stays, and how fast the rest moves.

``start`` gives the backbone, ``Transfer`` holds the task to its ``transfer`` section while it is trained. Afterwards
the weights are plain ones again: what is saved, exported and served knows nothing of it.

Sources: a learning rate that falls with depth, Howard & Ruder 2018, https://arxiv.org/abs/1801.06146, by one factor a
layer as in Clark et al. 2020, https://arxiv.org/abs/2003.10555; LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from vlp.data.loading import Prepared
from vlp.models.configuration import VLPConfig
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.preprocessing.text import load_tokenizer, vocabulary_sha256
from vlp.recipe import LoraParams, TransferParams
from vlp.tasks.base import Task, pretrained_heads

PRETRAINED, SCRATCH, HUB = "pretrained", "scratch", "hub:"
ATTENTION = re.compile(r"\battention\b|_attention\b")
"""A matrix below a module of this name belongs to attention; those of BERT's do, too."""
_NUMBERED = re.compile(r"(?:^|\.)(?:layer(\d+)|(?:layer|blocks)\.(\d+))\.")
_LAST = ("fusion.norm.", "fusion.classifier.", "fusion.output.", "fusion.mlp.", "text_encoder.bert.pooler.")


def start(params: TransferParams, pretrained: Path, prepared: Prepared) -> tuple[VLPModel, dict[str, Head]]:
    """The backbone that ``params.start`` names, and the heads that pre-training left beside it.

    Args:
        params: the task's ``transfer`` section.
        pretrained: what the stage ``pretrain`` wrote.
        prepared: the data, whose numbers another backbone must share.

    Raises:
        ValueError: it is another model, or a backbone of another vocabulary or image size than the data.
        OSError: there is none, or the hub cannot be reached.
    """
    if params.start == SCRATCH:
        return VLPModel(VLPConfig.from_pretrained(pretrained)), {}
    folder = pretrained if params.start == PRETRAINED else _folder(params.start)
    _check_kind(folder)
    model = VLPModel.from_pretrained(folder)
    own: dict[str, Any] = {"vocab_size": prepared.vocabulary_size, "image_size": prepared.image_size}
    if model.config.vocabulary is not None:  # as many words can be others, or the same under other ids
        own["vocabulary"] = vocabulary_sha256(load_tokenizer(prepared.folder / "tokenizer"))
    for name, wanted in own.items():
        if (found := getattr(model.config, name)) != wanted:
            raise ValueError(
                f"{folder}/config.json: {name} is {found}, the prepared data's {wanted}: prepare the data as it was "
                "for this backbone (text.tokenizer, image.size)"
            )
    return model, pretrained_heads(folder)


def _check_kind(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise OSError(f"{folder}: no config.json: not a backbone that save_pretrained wrote (transfer.start)")
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, LookupError, TypeError):
        kind = None
    if kind != VLPConfig.model_type:
        raise ValueError(
            f"{path}: model_type is {kind!r}, a backbone's {VLPConfig.model_type!r} (transfer.start); published "
            "encoders are model.image.weights and model.text.weights"
        )


def _folder(name: str) -> Path:
    if not name.startswith(HUB):
        if not Path(name).is_dir():
            raise OSError(f"{name}: no such folder, given as transfer.start; a name on the hub is hub:owner/name")
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=["*.json", "*.safetensors"]))


class Transfer:
    """A task held to its ``transfer`` section. Make it after ``warm_start``, and ``merge`` after training.

    Args:
        task: its backbone is changed in place.

    Raises:
        ValueError: the section asks for what this task cannot do.
    """

    def __init__(self, task: Task) -> None:
        params = task.params.transfer
        self._task = task
        self._lora: Any = None
        self._decay = params.layer_decay
        self._levels = _levels(task.model)
        # Where a task reads an encoder directly, nothing stands between the two.
        fused = any(parameter.requires_grad for parameter in task.model.fusion.parameters())
        self._below = self._levels.get("fusion", 0) if fused else 0
        where = f"tasks.{task.name}.transfer"
        for part in params.freeze:
            module: nn.Module = getattr(task.model, part)
            module.requires_grad_(False)
            task.resting.append(module)
        if params.lora is not None:
            self._lora = _adapted(task.model, params.lora, f"{where}.lora")
            task.resting.append(task.model)
        if not any(parameter.requires_grad for parameter in task.parameters()):
            raise ValueError(f"{where}: nothing is left to train; take a part out of freeze")

    def rate(self, name: str) -> float:
        """The learning rate of the task's parameter ``name``, in parts of the recipe's: 1 for heads, and times
        ``layer_decay`` for every layer of the backbone down from there.
        """
        if not name.startswith("model."):
            return 1.0
        name = name.removeprefix("model.")
        part = name.partition(".")[0]
        below = self._below if part != "fusion" else 0
        return float(self._decay ** (below + self._levels[part] - _level(name, self._levels[part])))

    def merge(self) -> None:
        """Make plain weights of what was learnt beside them, under the names that they had."""
        self._task.resting.clear()
        if self._lora is not None:
            self._lora.merge_and_unload()
            self._lora = None


def _levels(model: VLPModel) -> dict[str, int]:
    """How many layers each part has, what stands before its first one included."""
    found: dict[str, int] = {}
    for name, _ in model.named_parameters():
        part = name.partition(".")[0]
        found[part] = max(found.get(part, 0), _number(name) + 1)
    return found


def _number(name: str) -> int:
    """The layer's number, from 1; 0 where the name has none."""
    match = _NUMBERED.search(name)
    if match is None:
        return 0
    return int(match[1]) if match[1] else int(match[2]) + 1


def _level(name: str, levels: int) -> int:
    return levels - 1 if name.startswith(_LAST) else _number(name)


def _adapted(model: VLPModel, params: LoraParams, where: str) -> Any:
    """The model with thin matrices beside those of its attention, which alone are trained.

    Raises:
        ValueError: the task trains no attention of the backbone.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad and ATTENTION.search(name)
    ]
    if not targets:
        raise ValueError(f"{where}: the task trains no attention of the backbone; take lora out")
    config = LoraConfig(r=params.rank, lora_alpha=params.alpha, target_modules=targets, lora_dropout=0.0)
    return LoraModel(model, config, "default")
