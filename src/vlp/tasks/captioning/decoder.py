"""A causal language model that writes with the image in view.

The image comes in one of two ways: as what every layer looks at beside the words (cross-attention), or as the words
before the first one (a prefix of as many places as the image has tokens). The first is cheaper and is what a small
GPT-2 by sizes uses; the second works with any causal language model that transformers can read from a local folder.

Sources: Radford et al. 2019 (GPT-2); cross-attention to image tokens: Li et al. 2022 (BLIP),
https://arxiv.org/abs/2201.12086; prefix: Mokady et al. 2021 (ClipCap), https://arxiv.org/abs/2111.09734
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from vlp.models.attention import GridEmbedding
from vlp.models.weights import quiet_transformers
from vlp.params import Section


class DecoderParams(Section):
    """``tasks.captioning.decoder``: a GPT-2 by its sizes, or ``path``, a local folder of any causal language model."""

    look: Literal["cross_attention", "prefix"] = Field(
        "cross_attention", description="how the image is seen; prefix suits any model"
    )
    hidden: int = Field(0, ge=0, description="width; pre-training's fused width lets its blocks start the layers")
    layers: int = Field(0, ge=0)
    heads: int = Field(0, ge=0)
    intermediate: int = Field(0, ge=0, description="width inside the feed-forward blocks")
    dropout: float = Field(0.0, ge=0, lt=1)
    path: str | None = Field(None, description="instead of sizes: a folder with config.json and safetensors")
    new_vocabulary: bool = Field(
        False, description="with path: keep the layers and learn this data's words anew; false: vocabularies must agree"
    )
    config: dict[str, Any] | None = Field(None, description="the resolved configuration; a saved task has it")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        sizes = (self.hidden, self.layers, self.heads, self.intermediate)
        if self.path is not None and any(sizes):
            raise ValueError("path: a model that is read has its own sizes; leave hidden, layers, heads, intermediate")
        if self.path is not None and self.dropout:
            raise ValueError("path: a model that is read has its own dropout; leave dropout")
        if self.path is None and self.new_vocabulary:
            raise ValueError("new_vocabulary: it is of a model that is read; give path, or leave it")
        if self.path is None and self.config is None and not all(sizes):
            raise ValueError("hidden, layers, heads and intermediate, or path, are needed")
        if self.heads and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class Decoder(nn.Module):
    """The language model and its view of the image.

    Args:
        params: which model.
        vocabulary: V, entries of the data's tokenizer.
        longest: tokens of a caption, [CLS] and [SEP] included.
        image_width: Dv of the image encoder's grid.
        grid: its rows and columns.

    Attributes:
        language_model: transformers' own.
        image: the grid as the language model sees it.

    Raises:
        ValueError: the model of ``path`` has another vocabulary, or too few positions, or cannot look.
    """

    def __init__(
        self, params: DecoderParams, vocabulary: int, longest: int, *, image_width: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.look = params.look
        config = _config(params, vocabulary, longest + (grid[0] * grid[1] if params.look == "prefix" else 0))
        self.language_model = AutoModelForCausalLM.from_config(config)
        self.image = GridEmbedding(image_width, config.hidden_size, grid)

    @property
    def config(self) -> dict[str, Any]:
        """What it takes to build the language model again, without the folder that it came from."""
        found: dict[str, Any] = self.language_model.config.to_diff_dict()
        found.pop("_name_or_path", None)
        return {**found, "model_type": self.language_model.config.model_type}

    def load_published(self, params: DecoderParams, vocabulary: int) -> None:
        """Take the weights of ``params.path``, if there is one."""
        if params.path is None:
            return
        with quiet_transformers():
            read: Any = AutoModelForCausalLM.from_pretrained(
                params.path, local_files_only=True, use_safetensors=True, attn_implementation="eager"
            )
        if params.new_vocabulary:
            read.resize_token_embeddings(vocabulary)
            embeddings = {id(part.weight): part for part in (read.get_input_embeddings(), read.get_output_embeddings())}
            for part in embeddings.values():
                nn.init.normal_(part.weight, std=0.02)
        self.language_model.load_state_dict(read.state_dict())

    def forward(self, grid: Tensor, input_ids: Tensor, image_index: Tensor) -> Tensor:
        """Logits of each next token.

        Args:
            grid: the image encoder's tokens [B, P, Dv].
            input_ids: int64 [N, L], padded behind: what stands behind a token does not change its logits.
            image_index: int64 [N], the image of each text.

        Returns:
            [N, L, V].
        """
        image = self.image(grid).index_select(0, image_index)
        return self._run(image, input_ids, None)[0][:, -input_ids.shape[1] :]

    def begin(self, grid: Tensor, first: Tensor) -> tuple[Tensor, Cache]:
        """The first step of decoding: logits [B, V] behind the token ``first`` int64 [B, 1], and the cache."""
        cache: Cache = DynamicCache()
        if self.look == "cross_attention":
            cache = EncoderDecoderCache(cache, DynamicCache())
        logits, cache = self._run(self.image(grid), first, cache)
        return logits[:, -1], cache

    def step(self, token: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """A further step: logits [B, V] behind ``token`` int64 [B, 1], and the cache, longer by one."""
        seen = None
        if isinstance(cache, EncoderDecoderCache):
            # Keys and values are in the cache; of this, the model takes only the shape.
            layer: Any = cache.cross_attention_cache.layers[0]
            seen = layer.keys.transpose(1, 2).flatten(2)
        out = self.language_model(
            input_ids=token,
            past_key_values=cache,
            use_cache=True,
            **({"encoder_hidden_states": seen} if seen is not None else {}),
        )
        return out.logits[:, -1], out.past_key_values

    def generate(self, grid: Tensor, first: int, **how: Any) -> Tensor:
        """Captions by transformers' ``generate``: int64 [B, L], without the token ``first``.

        Args:
            grid: the image encoder's tokens [B, P, Dv].
            first: the token that every caption begins with.
            how: as of ``generate``.
        """
        image = self.image(grid)
        begin = torch.full((len(grid), 1), first, dtype=torch.int64, device=grid.device)
        if self.look == "cross_attention":
            found = self.language_model.generate(
                begin, attention_mask=torch.ones_like(begin), encoder_hidden_states=image, **how
            )
            return found[:, 1:]
        embedded = torch.cat([image, self.language_model.get_input_embeddings()(begin)], dim=1)
        mask = torch.ones(embedded.shape[:2], dtype=torch.int64, device=grid.device)
        return self.language_model.generate(inputs_embeds=embedded, attention_mask=mask, **how)

    def _run(self, image: Tensor, input_ids: Tensor, cache: Cache | None) -> tuple[Tensor, Any]:
        more = {"past_key_values": cache, "use_cache": cache is not None}
        if self.look == "cross_attention":
            out = self.language_model(input_ids=input_ids, encoder_hidden_states=image, **more)
        else:
            words = self.language_model.get_input_embeddings()(input_ids)
            out = self.language_model(inputs_embeds=torch.cat([image.to(words.dtype), words], dim=1), **more)
        return out.logits, out.past_key_values


def _config(params: DecoderParams, vocabulary: int, places: int) -> PretrainedConfig:
    if params.config is not None:
        given = {key: value for key, value in params.config.items() if key != "model_type"}
        config: Any = AutoConfig.for_model(params.config["model_type"], **given)
    elif params.path is not None:
        config = AutoConfig.from_pretrained(params.path, local_files_only=True)
        _check(config, params, vocabulary, places)
    else:
        config = AutoConfig.for_model(
            "gpt2",
            vocab_size=vocabulary,
            n_positions=places,
            n_embd=params.hidden,
            n_layer=params.layers,
            n_head=params.heads,
            n_inner=params.intermediate,
            activation_function="gelu",  # as the fusion blocks, which the layers start from
            add_cross_attention=params.look == "cross_attention",
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            embd_pdrop=params.dropout,
            attn_pdrop=params.dropout,
            resid_pdrop=params.dropout,
        )
    if params.new_vocabulary:
        config.vocab_size = vocabulary
    # These are the tokenizer's, and handed to ``generate``.
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    config._attn_implementation = "eager"  # what ONNX can follow, and the fastest at such lengths on a CPU
    return config


def _check(config: Any, params: DecoderParams, vocabulary: int, places: int) -> None:
    where = f"tasks.captioning.decoder.path: {Path(params.path or '')}"
    if config.vocab_size != vocabulary and not params.new_vocabulary:
        raise ValueError(
            f"{where}: a vocabulary of {config.vocab_size}, but the data's tokenizer has {vocabulary}; set "
            "text.tokenizer to the model's own, or new_vocabulary: true to keep its layers only"
        )
    if params.look == "cross_attention" and not getattr(config, "add_cross_attention", False):
        raise ValueError(f"{where}: has no cross-attention; set look: prefix")
    if (most := getattr(config, "max_position_embeddings", places)) < places:
        raise ValueError(f"{where}: {most} positions, but image and caption take {places}")
