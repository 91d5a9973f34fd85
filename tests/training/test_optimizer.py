"""Who steps by what: decay, rates by part, and the matrices of stacked layers by Muon."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from support.models import recipe
from vlp.models.attention import Counting, GridEmbedding
from vlp.params import ParamsError
from vlp.training.engine import Engine
from vlp.training.optimizer import optimizer, parameter_groups


def test_matrices_decay_and_biases_norms_and_embeddings_do_not() -> None:
    module = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2), nn.LayerNorm(2))
    decayed, plain = parameter_groups(module, 0.1, 1e-3)
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 2)]  # type: ignore[attr-defined]
    assert len(plain["params"]) == 4  # type: ignore[arg-type]


def test_what_is_added_and_not_multiplied_does_not_decay_whatever_its_shape() -> None:
    grid, counting = GridEmbedding(6, 8, (2, 3)), Counting(8, heads=2, size=4)
    decayed, plain = parameter_groups(nn.ModuleList([grid, counting]), 0.1, 1e-3)
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert {id(each) for each in (grid.rows, grid.columns, counting.closed)} <= {id(each) for each in plain["params"]}  # type: ignore[attr-defined]
    assert all(each.ndim == 2 for each in decayed["params"])  # type: ignore[attr-defined]


def test_a_part_of_the_backbone_can_learn_more_slowly() -> None:
    module = nn.Module()
    module.model = nn.ModuleDict({"text_encoder": nn.Linear(2, 2), "fusion": nn.Linear(2, 2)})
    module.text_encoder = nn.Linear(2, 2)  # no part of the backbone, whatever its name

    def rate(name: str) -> float:
        return 0.5 if name.endswith("bias") else 1.0

    slow = recipe(1, learning_rate=1.0, rates={"text_encoder": 0.1})
    optimizer = Engine(module, slow, {}, rate, torch.device("cpu")).optimizer
    found = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {name: found[id(parameter)] for name, parameter in module.named_parameters()} == {
        "model.text_encoder.weight": 0.1,
        "model.text_encoder.bias": 0.05,
        "model.fusion.weight": 1.0,
        "model.fusion.bias": 0.5,
        "text_encoder.weight": 1.0,
        "text_encoder.bias": 0.5,
    }


class Stacked(nn.Module):
    """An embedding, two layers one upon the other, a frozen one beside, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2))
        self.frozen = nn.ModuleList([nn.Linear(4, 4)]).requires_grad_(False)
        self.head = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)  # type: ignore[no-any-return]


def step(module: Stacked, changes: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """One step; returns the gradients that it followed."""
    module(torch.arange(5)).square().sum().backward()
    slopes = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    changes.step()
    changes.zero_grad()
    return slopes


def spread(matrix: torch.Tensor) -> float:
    """The longest of its directions in lengths of the shortest."""
    lengths = torch.linalg.svdvals(matrix)
    return float(lengths.max() / lengths.min())


def test_muon_takes_the_matrices_of_stacked_layers_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    module = Stacked()
    before = copy.deepcopy(module.state_dict())
    changes = optimizer(module, recipe(1, optimizer="muon", learning_rate=0.1, weight_decay=0.0))
    slopes = step(module, changes)
    keys = {name: set(changes.state[p]) for name, p in module.named_parameters() if p.requires_grad}
    by_muon = {name for name, found in keys.items() if found == {"momentum_buffer"}}
    assert by_muon == {"layers.0.0.weight", "layers.1.0.weight"}
    assert all(found == {"step", "exp_avg", "exp_avg_sq"} for name, found in keys.items() if name not in by_muon)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == keys.keys()
    for name in by_muon:  # steep and flat directions by nearly as much
        assert spread(module.state_dict()[name] - before[name]) < spread(slopes[name]) / 5


def test_matrices_taken_together_step_as_one_by_one() -> None:
    shapes = [(8, 8), (16, 8), (8, 8), (8, 16), (16, 8), (8, 8), (24, 8)]
    torch.manual_seed(0)
    together = nn.ModuleList([nn.Linear(columns, rows, bias=False) for rows, columns in shapes])
    alone = copy.deepcopy(together)
    changes = optimizer(together, recipe(1, optimizer="muon", learning_rate=0.1, matrix_rate=0.5, weight_decay=0.2))
    torchs = torch.optim.Muon(alone.parameters(), lr=0.05, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for one, other in zip(together.parameters(), alone.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        together[-1].weight.grad = alone[-1].weight.grad = None  # type: ignore[union-attr]
        changes.step()
        torchs.step()
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(changes.state[one], torchs.state[other])
        # bfloat16 keeps three digits of a step's direction.
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def test_its_steps_are_as_long_as_those_of_adamw() -> None:
    lengths = {}
    for name in ("adamw", "muon"):
        torch.manual_seed(0)
        module = nn.ModuleList([nn.Linear(64, 128, bias=False)])
        before = module[0].weight.detach().clone()  # type: ignore[union-attr,operator]
        changes = optimizer(module, recipe(1, optimizer=name, learning_rate=0.1, weight_decay=0.0))
        (module[0](torch.randn(128, 64)) ** 2).sum().backward()
        changes.step()
        lengths[name] = float((module[0].weight.detach() - before).square().mean().sqrt())  # type: ignore[operator]
    # AdamW's first step has the rate itself; later ones are a fifth of it, which is what Muon's are like.
    assert lengths["adamw"] == pytest.approx(0.1, rel=0.01)
    assert lengths["muon"] == pytest.approx(0.2 * 0.1, rel=0.3)


def test_the_schedule_reaches_both() -> None:
    module = Stacked()
    changes = optimizer(
        module,
        recipe(1, optimizer="muon", learning_rate=0.1, matrix_rate=2.0),
        lambda name: 0.5 if "head" in name else 1,
    )
    schedule = get_scheduler("linear", changes, 0, 4)
    for _ in range(2):
        step(module, changes)
        schedule.step()
    rates = {id(p): group["lr"] for group in changes.param_groups for p in group["params"]}
    assert {name: rates.get(id(p)) for name, p in module.named_parameters()} == {
        **{name: 0.05 for name, _ in module.named_parameters()},
        "layers.0.0.weight": 0.1,
        "layers.1.0.weight": 0.1,
        "frozen.0.weight": None,
        "frozen.0.bias": None,
        "head.weight": 0.025,
        "head.bias": 0.025,
    }


def test_where_nothing_is_stacked_or_nothing_else_is_trained_one_does_all() -> None:
    muon = recipe(1, optimizer="muon")
    assert len(optimizer(nn.Linear(2, 2), muon).param_groups) == 2
    assert len(optimizer(nn.ModuleList([nn.Linear(2, 2, bias=False)]), muon).param_groups) == 1


def test_matrices_in_parts_are_refused() -> None:
    with pytest.raises(ParamsError, match="optimizer muon needs whole matrices, which shard cuts"):
        recipe(1, optimizer="muon", shard=True)
