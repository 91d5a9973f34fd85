"""The names of the ways to explain, free of torch, so that a command line can list them."""

from __future__ import annotations

from typing import Literal

Method = Literal["gradcam", "attention", "gradient_attention", "occlusion"]
