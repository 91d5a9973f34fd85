"""What a run is refused for before anything is trained, by how it was launched."""

from __future__ import annotations

import pytest

from support import models
from vlp.training.launch import require_company


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "processes", "gathers", "left"),
    [
        (1, 1, 1, True, 1),
        (4, 4, 1, False, 1),
        (4, 2, 1, False, None),
        (4, 2, 2, False, 1),
        (4, 2, 2, True, None),  # one image a process, and the other's is there, too
        (8, 8, 4, True, 1),
        (2, 4, 1, True, 0),
    ],
)
def test_a_loss_that_tells_images_apart_wants_two_of_them_in_a_pass(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, accumulate: int, processes: int, gathers: bool, left: int | None
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    recipe = models.recipe(1, batch_size, accumulate=accumulate)
    if left is None:
        require_company(recipe, "tasks.retrieval.training", gathers=gathers)
        return
    message = rf"tasks\.retrieval\.training: .* batch_size {batch_size} with accumulate {accumulate} leaves it {left}"
    with pytest.raises(ValueError, match=message):
        require_company(recipe, "tasks.retrieval.training", gathers=gathers)
