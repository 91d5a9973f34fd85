"""The backbone: image encoder, text encoder, fusion block.

An image is encoded once, however many texts are about it::

    image = model.encode_image(batch.images)
    for texts in batch.texts.values():
        text = model.encode_text(texts.input_ids, texts.attention_mask)
        fused = model.fuse(text, texts.attention_mask, image.index(texts.image_index))
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from transformers import PreTrainedModel

from vlp import plugins
from vlp.models.configuration import FUSIONS, ModelParams, VLPConfig, fusion_params
from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.models.image_encoder import ImageEncoder
from vlp.models.text_encoder import TextEncoder
from vlp.models.weights import check_exact, quiet_transformers, writing
from vlp.records import Batch


class VLPModel(PreTrainedModel):
    """Image encoder, text encoder and fusion block by a configuration; heads are objectives' and tasks' own.

    Attributes:
        image_width: Dv of ``ImageFeatures.pooled``.
        text_width: Dt of ``TextFeatures``.
        fused_width: D of ``Fused``.
        grid: rows and columns of image tokens.
    """

    config_class = VLPConfig
    base_model_prefix = "model"
    main_input_name = "images"

    def __init__(self, config: VLPConfig) -> None:
        super().__init__(config)
        params = config.params()
        block: Any = plugins.find(FUSIONS, config.fusion["name"]).Fusion
        self.image_encoder = ImageEncoder(params.image, config.image_size)
        self.text_encoder = TextEncoder(params.text, config.vocab_size, config.pad_token_id, pooler=block.uses_pooler)
        self.grid = self.image_encoder.grid
        self.image_width: int = self.image_encoder.width
        self.text_width: int = self.text_encoder.width
        self.fusion = block(
            fusion_params(config.fusion), image_width=self.image_width, text_width=self.text_width, grid=self.grid
        )
        self.fused_width: int = self.fusion.width
        self.post_init()

    @classmethod
    def from_params(cls, params: ModelParams, *, vocab_size: int, image_size: int, pad_token_id: int) -> Self:
        """A new model: random by torch's current seed, then the published weights that ``params`` names.

        Args:
            params: ``model`` of params.yaml.
            vocab_size: entries of the tokenizer's vocabulary.
            image_size: side S of prepared images in pixels.
            pad_token_id: the tokenizer's padding entry.

        Raises:
            WeightsError: published weights do not fit, tensor by tensor.
        """
        model = cls(
            VLPConfig.from_params(params, vocab_size=vocab_size, image_size=image_size, pad_token_id=pad_token_id)
        )
        if params.image.weights is not None:
            model.image_encoder.load_published(Path(params.image.weights))
        if params.text.weights is not None:
            model.text_encoder.load_published(Path(params.text.weights))
        return model

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:  # type: ignore[override]
        """Load what ``save_pretrained`` wrote, every tensor of it and nothing else.

        transformers by itself starts missing tensors at random and drops unknown ones with a warning.

        Args:
            path: the folder.
            kwargs: as of ``PreTrainedModel.from_pretrained``. Only safetensors are read.

        Raises:
            WeightsError: a tensor is missing, unexpected or of another shape.
            OSError: no such folder or file.
        """
        with quiet_transformers():  # its load report says in a warning what is an error here
            loaded: Any = super().from_pretrained(
                path,
                **{"local_files_only": True, **kwargs},
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        model, info = loaded
        check_exact(
            str(path),
            missing=info["missing_keys"],
            unexpected=info["unexpected_keys"],
            misshapen=[f"{name} {tuple(theirs)} for {tuple(own)}" for name, theirs, own in info["mismatched_keys"]],
        )
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """As ``PreTrainedModel.save_pretrained``, without its progress bar, which knows no log file.

        Raises:
            OSError: the folder cannot be written: a full disk, for one.
        """
        with quiet_transformers(), writing(Path(save_directory)):
            super().save_pretrained(save_directory, **kwargs)

    def _init_weights(self, module: nn.Module) -> None:
        # Every module has initialised its parameters in its constructor, ResNet and BERT by their papers; what is
        # left are the buffers that no checkpoint holds, which loading leaves empty.
        reset: Any = getattr(module, "reset_buffers", None)
        if reset is not None:
            reset()

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings, which a masked-text head ties its output to."""
        return self.text_encoder.bert.get_input_embeddings()

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode each image once.

        Args:
            images: uint8 [B, S, S, 3].

        Returns:
            ``tokens`` [B, P, D] as the fusion block wants them, ``pooled`` [B, Dv].
        """
        return self.fusion.embed_image(self.image_encoder(images))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Encode texts without the image.

        Args:
            input_ids: int64 [N, L].
            attention_mask: int64 [N, L], 1 on tokens.

        Returns:
            ``tokens`` [N, L, Dt], ``pooled`` [N, Dt].
        """
        return self.text_encoder(input_ids, attention_mask)

    def fuse(self, text: TextFeatures, attention_mask: Tensor, image: ImageFeatures) -> Fused:
        """Let texts and images meet.

        Args:
            text: N texts.
            attention_mask: int64 [N, L].
            image: ``image.of(texts)``: N rows, or B where each serves N / B consecutive texts.

        Returns:
            ``tokens`` [N, L, D] or None, ``pooled`` [N, D].
        """
        return self.fusion(text, attention_mask, image)

    def forward(self, batch: Batch) -> dict[str, Fused]:
        """Every group of texts of ``batch`` fused with its images, by the group's name."""
        image = self.encode_image(batch.images)
        return {
            name: self.fuse(
                self.encode_text(texts.input_ids, texts.attention_mask),
                texts.attention_mask,
                image.of(texts),
            )
            for name, texts in batch.texts.items()
        }
