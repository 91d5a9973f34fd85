"""What a decoder can take over from a pre-trained backbone, tensor by tensor, where the shapes are the same.

A block of the ``cross_attention`` fusion and a layer of GPT-2 are the same thing in other names: pre-norm
self-attention, cross-attention to the image, feed-forward. Masked-text training has taught the former which words fit
which places of the image; the latter only has to learn to do it from left to right. Words start from the text
encoder's embeddings, the image's places from the fusion block's. Where the decoder has more layers than the fusion has
blocks, the blocks are its last ones: the first then learn what the text encoder does before the words meet the image.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from vlp.models.modeling import VLPModel
from vlp.tasks.captioning.decoder import Decoder

# GPT-2's layer ← fusion block; its Conv1D weights are those of Linear, turned.
_LAYER = {
    "ln_1": "self_norm",
    "attn.c_attn": "self_attention.query_key_value",
    "attn.c_proj": "self_attention.output",
    "ln_cross_attn": "cross_norm",
    "crossattention.q_attn": "cross_attention.query",
    "crossattention.c_attn": "cross_attention.key_value",
    "crossattention.c_proj": "cross_attention.output",
    "ln_2": "feed_forward.0",
    "mlp.c_fc": "feed_forward.1",
    "mlp.c_proj": "feed_forward.3",
}


_WORDS = "text_encoder.bert.embeddings.word_embeddings.weight"
_FIXED = {
    "language_model.transformer.wte.weight": _WORDS,
    "language_model.lm_head.weight": _WORDS,
    "language_model.transformer.ln_f.weight": "fusion.norm.weight",
    "language_model.transformer.ln_f.bias": "fusion.norm.bias",
}


@torch.no_grad()
def from_backbone(decoder: Decoder, model: VLPModel) -> list[str]:
    """Copy into ``decoder`` what fits; returns the names of the tensors that were filled."""
    own, theirs, filled = decoder.state_dict(), model.state_dict(), []
    layers = len(decoder.language_model.transformer.h) if "language_model.transformer.wte.weight" in own else 0
    blocks = len({name.split(".")[2] for name in theirs if name.startswith("fusion.blocks.")})
    for name, tensor in own.items():
        source = _source(name, theirs, layers - blocks)
        if source is not None and source.shape == tensor.shape:
            tensor.copy_(source)
            filled.append(name)
    return filled


def _source(name: str, theirs: dict[str, Tensor], first: int) -> Tensor | None:
    if name.startswith("image."):
        return theirs.get(f"fusion.image_embedding.{name.removeprefix('image.')}")
    if name in _FIXED:
        return theirs.get(_FIXED[name])
    layer = re.fullmatch(r"language_model\.transformer\.h\.(\d+)\.(.+)\.(weight|bias)", name)
    if layer is None or layer[2] not in _LAYER:
        return None
    found = theirs.get(f"fusion.blocks.{int(layer[1]) - first}.{_LAYER[layer[2]]}.{layer[3]}")
    return found.T if found is not None and found.ndim == 2 else found
