"""The service a user would write first: BentoML around PyTorch eager, one request at a time.

``VLP_REFERENCE`` names the folder of ``benchmarks/reference.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import numpy as np
import torch
from PIL import Image

from benchmarks import reference
from vlp.preprocessing import text
from vlp.runtime.threads import usable_processors


@bentoml.service(name="plain", threads=1)
class Plain:
    def __init__(self) -> None:
        folder = Path(os.environ["VLP_REFERENCE"])
        torch.set_num_threads(usable_processors())
        self.model = reference.task(folder)
        self.tokenizer = text.load_tokenizer(folder / "tokenizer")

    @bentoml.api
    def match(self, image: Image.Image, texts: list[str]) -> list[float]:
        pixels = np.asarray(image.convert("RGB").resize((reference.SIZE, reference.SIZE), Image.Resampling.BICUBIC))
        encoded = self.tokenizer.encode_batch(texts)
        longest = max(len(one.ids) for one in encoded)
        ids = torch.tensor([one.ids + [0] * (longest - len(one.ids)) for one in encoded])
        mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in encoded])
        with torch.inference_mode():
            features = self.model.model.encode_image(torch.from_numpy(pixels[None].copy()))
            return torch.sigmoid(self.model.logits(features, ids, mask)).tolist()
