"""``torch.compile``, part by part: what is arithmetic is fused, what looks at values stays Python.

Drawing hard negatives and joining texts look at values, so no compiler keeps a whole step in one graph; and a
network's repeated blocks, compiled one for all, are ready in a tenth of the time that the whole takes.

Source: https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from vlp.models.image_encoder import ImageEncoder
from vlp.training.memory import blocks


@contextmanager
def compiled(module: nn.Module, wanted: bool, *, recompute: bool = False) -> Iterator[None]:
    """Within it, the image encoder and the repeated blocks of ``module`` run compiled, from their first call on.

    Args:
        module: what is trained.
        wanted: whether to compile at all.
        recompute: blocks are to run again in the backward pass, each around what is compiled of it. The image encoder
            then stays as it is: compiled whole, it has no blocks, and block by block it is a graph for each shape.
    """
    images = [part for part in module.modules() if isinstance(part, ImageEncoder)] if wanted else []
    inside = {id(part) for image in images for part in image.modules()}
    repeated = [block for block in blocks(module) if id(block) not in inside] if wanted else []
    images = [] if recompute else images
    for image in images:
        image.compile(dynamic=False)  # every batch has as many images, of one size
    for block in repeated:
        block.compile(dynamic=True)  # texts are as many and as long as the batch has them
    try:
        yield
    finally:
        for part in (*images, *repeated):
            part._compiled_call_impl = None  # the class's own again: whoever evaluates has other shapes
