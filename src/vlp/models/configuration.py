"""What a model is: ``model:`` of params.yaml, and the config.json beside saved weights."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from pydantic import field_validator
from transformers import PretrainedConfig

from vlp import plugins
from vlp.models.image_encoder import ImageEncoderParams
from vlp.models.text_encoder import TextEncoderParams
from vlp.params import ParamsError, Section, parse

FUSIONS = "vlp.models.fusion"


class ModelParams(Section):
    """``model`` of params.yaml: two encoders and the block that fuses them."""

    image: ImageEncoderParams
    text: TextEncoderParams
    fusion: dict[str, Any]
    """``name``: a file of src/vlp/models/fusion; beside it, the keys of that file's ``Params``."""

    @field_validator("fusion")
    @classmethod
    def _known_fusion(cls, value: dict[str, Any]) -> dict[str, Any]:
        fusion_params(value)
        return value


def fusion_params(fusion: dict[str, Any]) -> Section:
    """The chosen block's own ``Params``.

    Raises:
        ParamsError: no ``name``, or a key or value that the block does not take.
        UnknownPluginError: no block of that name.
    """
    if not isinstance(fusion.get("name"), str):
        raise ParamsError(f"name: missing; one of {', '.join(plugins.names(FUSIONS))}")
    section: type[Section] = plugins.find(FUSIONS, fusion["name"]).Params
    return parse(section, {key: value for key, value in fusion.items() if key != "name"}, fusion["name"])


class VLPConfig(PretrainedConfig):
    """The architecture of a ``VLPModel``, as transformers saves and loads it.

    ``image``, ``text`` and ``fusion`` are the sections of ``ModelParams``, resolved (every default
    written out) and without the paths of published weights, which a saved model no longer needs.

    Raises:
        ParamsError: a key is unknown, missing, mistyped or out of bounds.
    """

    model_type: ClassVar[str] = "vlp"
    has_no_defaults_at_init: ClassVar[bool] = True

    image: dict[str, Any]
    text: dict[str, Any]
    fusion: dict[str, Any]
    vocab_size: int
    image_size: int
    pad_token_id: int
    vocabulary: str | None = None
    """SHA-256 of the vocabulary whose ids its texts had in pre-training; None of weights that nobody told it of."""

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - _TRANSFORMERS_KEYS)
        if unknown:
            raise ParamsError(f"config.json: {', '.join(unknown)}: unknown key")
        for name, least in {"vocab_size": 1, "image_size": 1, "pad_token_id": 0}.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ParamsError(f"config.json: {name}: expected an integer of at least {least}, found {value!r}")
        if self.pad_token_id >= self.vocab_size:
            raise ParamsError(f"config.json: pad_token_id: {self.pad_token_id} is outside vocab_size {self.vocab_size}")
        params = self.params()
        self.image = _plain(params.image)
        self.text = _plain(params.text)
        self.fusion = {"name": self.fusion["name"], **_plain(fusion_params(self.fusion))}
        super().__post_init__(**kwargs)

    @classmethod
    def from_params(cls, params: ModelParams, *, vocab_size: int, image_size: int, pad_token_id: int) -> Self:
        """The architecture that ``params`` asks for.

        Args:
            params: ``model`` of params.yaml.
            vocab_size: entries of the tokenizer's vocabulary.
            image_size: side S of prepared images in pixels.
            pad_token_id: the tokenizer's padding entry.
        """
        return cls(
            image={**_plain(params.image), "weights": None},
            text={**_plain(params.text), "weights": None},
            fusion=params.fusion,
            vocab_size=vocab_size,
            image_size=image_size,
            pad_token_id=pad_token_id,
        )

    def params(self) -> ModelParams:
        """The typed sections."""
        return parse(ModelParams, {"image": self.image, "text": self.text, "fusion": self.fusion}, "config.json")


# What transformers itself writes into config.json or hands through from_pretrained, its own fields aside.
_TRANSFORMERS_KEYS = {
    "_attn_implementation_internal",
    "_experts_implementation_internal",
    "_name_or_path",
    "model_type",
    "name_or_path",
    "num_labels",
}


def _plain(section: Section) -> dict[str, Any]:
    # By way of JSON: tuples become lists, so that a config equals itself after a round trip.
    loaded: dict[str, Any] = json.loads(section.model_dump_json())
    return loaded
