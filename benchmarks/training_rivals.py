"""What this project's training stands beside: the tutorial's plain loop, HF Trainer's dual encoder, open_clip.

Each is a generator of the seconds that a step took, with the loss, so that a benchmark can take turns.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from vlp.models.modeling import VLPModel
from vlp.records import Batch

NORMALISED = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class Taken:
    """One step: seconds, pairs and loss."""

    seconds: float
    pairs: int
    loss: float


def wait(device: torch.device) -> float:
    """The time, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class PlainPairs(Dataset[tuple[Tensor, Tensor, Tensor, float]]):
    """As tutorials have it: each item opens its file, decodes, resizes and tokenises, padded to the most."""

    def __init__(self, table: Path, tokenizer: Path, size: int, length: int, *, true_only: bool = False) -> None:
        rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
        self.rows = [row for row in rows if row["label"] or not true_only]
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_padding(length=length)
        self.tokenizer.enable_truncation(length)
        self.transform = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor(), NORMALISED])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, float]:
        row = self.rows[index]
        with Image.open(row["image"]) as picture:
            pixels = self.transform(picture.convert("RGB"))
        said = self.tokenizer.encode(row["caption"])
        return pixels, torch.tensor(said.ids), torch.tensor(said.attention_mask), float(row["label"])


class PlainModel(nn.Module):
    """The same backbone and one logit, an image encoded for each of its pairs."""

    def __init__(self, model: VLPModel) -> None:
        super().__init__()
        self.model = model
        self.logit = nn.Linear(model.fused_width, 1)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits [N] of N pairs."""
        encoder = self.model.image_encoder
        image = self.model.fusion.embed_image(encoder.features(encoder.resnet(pixels)))
        fused = self.model.fuse(self.model.encode_text(ids, mask), mask, image)
        return self.logit(fused.pooled).squeeze(-1)


def plain_loop(
    model: nn.Module, pairs: PlainPairs, batch: int, learning_rate: float, device: torch.device, workers: int = 0
) -> Iterator[Taken]:
    """The tutorial's loop in float32: decode in the loop, forward, loss, backward, step, ``loss.item()``."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    loader = DataLoader(pairs, batch_size=batch, shuffle=True, num_workers=workers, drop_last=True)
    while True:
        start = wait(device)
        for pixels, ids, mask, label in loader:
            logits = model(pixels.to(device), ids.to(device), mask.to(device))
            loss = F.binary_cross_entropy_with_logits(logits, label.float().to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            value = loss.item()
            now = wait(device)
            yield Taken(now - start, len(label), value)
            start = wait(device)


def open_clip_loop(
    batches: Iterable[Batch], size: int, length: int, device: torch.device, *, bf16: bool, tiny: bool
) -> Iterator[Taken]:
    """open_clip's RN50 (its text tower of 12 layers), its loss, bf16 where asked, fed from our shards.

    Its text tower reads as many tokens of every text as it is made for. Made for CLIP's 77, it does most of its
    arithmetic on padding behind captions of 13, and that is no difference of the software.

    Args:
        batches: one caption an image, under any name.
        size: of the images in pixels.
        length: tokens that the text tower is made for and every text is padded to.
        device: to compute on.
        bf16: autocast.
        tiny: a small one, to try the script with.
    """
    import open_clip

    layers, width = ([1, 1, 1, 1], 16) if tiny else ([3, 4, 6, 3], 64)
    text = {
        "context_length": length,
        "vocab_size": 49408,
        "width": 64 if tiny else 512,
        "heads": 8,
        "layers": 1 if tiny else 12,
    }
    vision = {"image_size": size, "layers": layers, "width": width}
    model = open_clip.CLIP(embed_dim=64 if tiny else 1024, vision_cfg=vision, text_cfg=text)
    model.to(device, memory_format=torch.channels_last).train()
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    mean, std = (torch.tensor(value, device=device).view(3, 1, 1) for value in (NORMALISED.mean, NORMALISED.std))
    start = wait(device)
    for batch in batches:
        (texts,) = batch.texts.values()
        ids = F.pad(texts.input_ids, (0, length - texts.input_ids.shape[1]))
        pixels = (batch.images.permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            image, said, scale = model(pixels, ids)
            loss = loss_of(image, said, scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        now = wait(device)
        yield Taken(now - start, len(ids), float(loss.detach()))
        start = now


def flops_of(steps: Iterator[Taken]) -> float:
    """Floating-point operations of the matrix products and convolutions of the next step, both passes, for a pair."""
    with FlopCounterMode(display=False) as counter:
        taken = next(steps)
    return float(counter.get_total_flops()) / taken.pairs


def dual_encoder_run(
    pairs: PlainPairs, sizes: dict[str, Any], batch: int, steps: int, *, bf16: bool, cpu: bool
) -> list[Taken]:
    """HF Trainer on ``VisionTextDualEncoder`` (ResNet and BERT, contrastive), by its own defaults.

    Args:
        pairs: true pairs only.
        sizes: ``vocabulary``, ``text`` (BERT's sizes), ``depths`` and ``hidden_sizes`` of the ResNet.
        batch: pairs a step.
        steps: how many; the first warms up.
        bf16: ask the Trainer for it.
        cpu: stay off the GPU.
    """
    from transformers import (
        BertConfig,
        BertModel,
        ResNetConfig,
        ResNetModel,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        VisionTextDualEncoderModel,
    )

    class Pooled(ResNetModel):  # type: ignore[misc]
        """The dual encoder wants one vector a picture, and to know how wide it is."""

        def forward(self, pixel_values: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
            out = super().forward(pixel_values)
            return out.last_hidden_state, out.pooler_output.flatten(1)

    text = sizes["text"]
    widths = sizes["hidden_sizes"]
    vision = Pooled(ResNetConfig(depths=sizes["depths"], hidden_sizes=widths, hidden_size=widths[-1]))
    bert = BertConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=text["hidden"],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        intermediate_size=text["intermediate"],
    )
    model = VisionTextDualEncoderModel(vision_model=vision, text_model=BertModel(bert))
    found: list[Taken] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            found.append(Taken(time.perf_counter() - self.start, batch, float("nan")))

    def collate(items: list[tuple[Tensor, Tensor, Tensor, float]]) -> dict[str, Any]:
        pixels, ids, mask, _ = zip(*items, strict=True)
        return {
            "pixel_values": torch.stack(pixels), "input_ids": torch.stack(ids), "attention_mask": torch.stack(mask),
            "return_loss": True,
        }  # fmt: skip

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out, per_device_train_batch_size=batch, max_steps=steps, report_to=[], save_strategy="no",
            logging_strategy="no", remove_unused_columns=False, bf16=bf16, use_cpu=cpu, disable_tqdm=True,
            dataloader_pin_memory=not cpu,
        )  # fmt: skip
        begin = time.perf_counter()
        Trainer(
            model,
            arguments,
            data_collator=collate,
            train_dataset=pairs,
            callbacks=[Clock()],
        ).train()
        whole = time.perf_counter() - begin
    # A step's own clock leaves out the decoding between steps: what the whole run took is what a user waits.
    return [Taken((whole - found[0].seconds) / (steps - 1), batch, float("nan"))]
