"""The text encoder: transformers' BERT, by its sizes or from a local folder in the published format.

Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from vlp.models.features import TextFeatures
from vlp.models.weights import WeightsError, load_exactly, read_tensors
from vlp.params import Section

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
# What a published checkpoint must agree on for its tensors to mean the same here.
COMPARED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
)


class TextEncoderParams(Section):
    """``model.text`` of params.yaml."""

    hidden: int = Field(ge=1, description="width of the token states; BERT-base has 768")
    layers: int = Field(ge=1, description="transformer layers; BERT-base has 12")
    heads: int = Field(ge=1, description="attention heads a layer; BERT-base has 12")
    intermediate: int = Field(ge=1, description="width inside the feed-forward blocks; BERT-base has 3072")
    max_positions: int = Field(ge=2, description="longest text in tokens; BERT-base has 512")
    dropout: float = Field(ge=0, lt=1, description="of hidden states and attention probabilities; BERT: 0.1")
    attention: Literal["eager", "sdpa"] = Field(
        default="eager", description="eager is faster in bf16 on a CPU at short lengths, sdpa on a GPU"
    )
    weights: str | None = Field(default=None, description="a folder with config.json and BERT's published weights")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class TextEncoder(nn.Module):
    """Token ids to token states and one pooled vector.

    Args:
        params: BERT's sizes.
        vocab_size: entries of the tokenizer's vocabulary.
        pad_token_id: its padding entry.
        pooler: make BERT's pooler; without it ``pooled`` is the first token's state.

    Attributes:
        width: Dt of ``tokens`` and ``pooled``.
    """

    def __init__(self, params: TextEncoderParams, vocab_size: int, pad_token_id: int, *, pooler: bool) -> None:
        super().__init__()
        self.width = params.hidden
        self.max_positions = params.max_positions
        self.bert = BertModel(_bert_config(params, vocab_size, pad_token_id), add_pooling_layer=pooler)
        _start_shallow(self.bert)
        self.bert.embeddings.register_forward_hook(_in_autocast_type)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Encode.

        Args:
            input_ids: int64 [N, L].
            attention_mask: int64 [N, L], 1 on tokens.

        Returns:
            ``tokens`` [N, L, Dt] and ``pooled`` [N, Dt].

        Raises:
            ValueError: L is above ``max_positions``.
        """
        if input_ids.shape[1] > self.max_positions:
            raise ValueError(f"input_ids: {input_ids.shape[1]} tokens, but max_positions is {self.max_positions}")
        out = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        tokens = out.last_hidden_state
        return TextFeatures(tokens=tokens, pooled=tokens[:, 0] if self.bert.pooler is None else out.pooler_output)

    def load_published(self, folder: Path) -> None:
        """Fill BERT from ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``.

        Both published layouts are read: BertModel's own names, and those of BertForPreTraining and
        BertForMaskedLM (``bert.*``, whose heads ``cls.*`` are left out). ``pooler.*`` is left out where
        this encoder has no pooler.

        Raises:
            WeightsError: a size in config.json or a tensor differs.
        """
        _compare(folder / "config.json", self.bert.config)
        found = [folder / name for name in WEIGHTS_FILES if (folder / name).is_file()]
        if not found:
            raise WeightsError(f"{folder}: neither {' nor '.join(WEIGHTS_FILES)}")
        load_exactly(self.bert, _own_names(read_tensors(found[0]), self.bert.pooler is not None), str(found[0]))


def _start_shallow(bert: BertModel) -> None:
    """Let every layer but the first add nothing at the start, so that a deep encoder learns as soon as a shallow one.

    Twelve random layers with their norms after the sums hand on next to nothing of a word: a run from random weights
    stays for thousands of steps at what the words' frequencies say. Published weights replace all of it.

    Source: branches that start at zero, Zhang et al. 2019 (Fixup), https://arxiv.org/abs/1901.09321
    """
    layers: Any = bert.encoder.layer
    for layer in list(layers)[1:]:
        nn.init.zeros_(layer.attention.output.dense.weight)
        nn.init.zeros_(layer.output.dense.weight)


def _in_autocast_type(_module: nn.Module, _args: tuple[object, ...], output: Tensor) -> Tensor:
    # The residual stream takes its type from the embeddings. In float32 under bf16 autocast, every layer would cast
    # to and fro: a fifth of a training step on a CPU.
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def _bert_config(params: TextEncoderParams, vocab_size: int, pad_token_id: int) -> BertConfig:
    config = BertConfig(
        vocab_size=vocab_size,
        pad_token_id=pad_token_id,
        hidden_size=params.hidden,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        intermediate_size=params.intermediate,
        max_position_embeddings=params.max_positions,
        hidden_dropout_prob=params.dropout,
        attention_probs_dropout_prob=params.dropout,
    )
    config._attn_implementation = params.attention
    return config


def _compare(path: Path, own: BertConfig) -> None:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; a published BERT has it beside its weights")
    try:
        published = json.loads(path.read_text(encoding="utf-8"))
        theirs = BertConfig(**{name: published[name] for name in COMPARED if name in published})
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise WeightsError(f"{path}: no sizes of a BERT ({' '.join(str(error).split())[:200]})") from None
    differing = [name for name in COMPARED if getattr(theirs, name) != getattr(own, name)]
    if differing:
        pairs = ", ".join(f"{name} {getattr(theirs, name)!r} for {getattr(own, name)!r}" for name in differing)
        raise WeightsError(f"{path}: another BERT than model.text and the tokenizer describe: {pairs}")


def _own_names(tensors: dict[str, Tensor], pooler: bool) -> dict[str, Tensor]:
    """BertModel's names for a published state_dict's, heads and stored position numbers left out."""
    prefixed = any(name.startswith("bert.") for name in tensors)
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if prefixed and name.startswith("cls."):
            continue
        # TensorFlow's names of the layer norms' tensors, still in the first published files.
        name = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name == "embeddings.position_ids" or (name.startswith("pooler.") and not pooler):
            continue
        own[name] = tensor
    return own
