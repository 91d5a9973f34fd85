"""What contrastive losses share: a temperature that comes back from its bound, logits that autocast does not round."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vlp.models import contrastive


@pytest.mark.parametrize("start", [1.0, 5.0, contrastive.MAX_LOGIT_SCALE])
def test_a_temperature_at_its_bound_still_has_a_gradient(start: float) -> None:
    own = torch.nn.Parameter(torch.tensor([start]))
    contrastive.bound(own)
    contrastive.scale(own).sum().backward()
    assert own.grad is not None and float(own.grad) == float(contrastive.scale(own).detach()) > 0
    assert float(own.detach()) == pytest.approx(min(start, contrastive.MAX_LOGIT_SCALE))


def test_weights_that_were_learnt_without_the_bound_are_judged_within_it() -> None:
    assert float(contrastive.scale(torch.tensor([7.0]))) == pytest.approx(100.0, rel=1e-6)


def test_the_coldest_start_is_the_bound() -> None:
    start = contrastive.logit_scale(contrastive.LEAST_TEMPERATURE)
    assert float(start.detach()) == pytest.approx(contrastive.MAX_LOGIT_SCALE)
    contrastive.scale(start).sum().backward()
    assert start.grad is not None and bool(start.grad.any())


def test_logits_are_the_same_under_autocast() -> None:
    rows, columns = (F.normalize(torch.randn(6, 16), dim=-1) for _ in range(2))
    plain = contrastive.scaled_cosines(torch.tensor(100.0), rows, columns)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive.scaled_cosines(torch.tensor(100.0), rows, columns), plain)
