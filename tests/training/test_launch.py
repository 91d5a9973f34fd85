"""What a run is refused for before anything is trained."""

from __future__ import annotations

import pytest

from support import models
from vlp.training.launch import require_company


@pytest.mark.parametrize(("batch_size", "accumulate", "left"), [(1, 1, 1), (4, 4, 1), (2, 4, 0)])
def test_a_loss_that_tells_images_apart_wants_two_of_them_in_a_pass(
    batch_size: int, accumulate: int, left: int
) -> None:
    message = rf"tasks\.retrieval\.training: .* batch_size {batch_size} with accumulate {accumulate} leaves it {left}"
    with pytest.raises(ValueError, match=message):
        require_company(models.recipe(1, batch_size, accumulate=accumulate), "tasks.retrieval.training")


def test_two_images_a_pass_are_company() -> None:
    require_company(models.recipe(1, 4, accumulate=2), "tasks.retrieval.training")
