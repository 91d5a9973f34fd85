"""Nothing to learn is a zero that leaves a gradient on everything it is said of."""

from __future__ import annotations

import torch

from vlp.models.nothing import nothing


def test_it_is_zero_and_gives_each_tensor_a_gradient_of_zero() -> None:
    tensors = [torch.ones(3, 2, requires_grad=True), torch.full((4,), -7.0, requires_grad=True)]
    loss = nothing(iter(tensors))
    loss.backward()
    assert loss.item() == 0
    assert all(each.grad is not None and not each.grad.any() for each in tensors)
