"""What changes the weights: AdamW, and where a recipe asks for it Muon for the matrices inside stacked layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, overload

import torch
from torch import Tensor, nn

from vlp.recipe import Recipe

Rates = Callable[[str], float]
"""A parameter's learning rate by its name, in parts of the recipe's."""


def optimizer(module: nn.Module, recipe: Recipe, rates: Rates | None = None) -> torch.optim.Optimizer:
    """The optimiser of what is trained of ``module``: one that schedules, checkpoints and steps see as one.

    Under ``optimizer: muon`` the matrices of stacked layers (text encoder, fusion block, a decoder's) step by their
    momentum made orthogonal, so that every direction of a matrix is learnt as fast as its strongest; scaled as long as
    steps of AdamW are, times ``matrix_rate``. All else (images' convolutions, embeddings, norms,
    biases, heads) stays with AdamW.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the scale: Liu et al. 2025,
    https://arxiv.org/abs/2502.16982

    Args:
        module: what is trained; frozen parameters are in no group.
        recipe: rates, decay, and which of the two.
        rates: the share of the learning rate that each parameter gets; 1 for all if None.
    """
    groups = parameter_groups(module, recipe.weight_decay, recipe.learning_rate, _by_part(recipe, rates))
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=recipe.betas, fused=True)
    stacked = _stacked_matrices(module)
    rest = list(_chosen(groups, lambda parameter: id(parameter) not in stacked))
    matrices = list(_chosen(groups, lambda parameter: id(parameter) in stacked))
    parts: list[torch.optim.Optimizer] = []
    if rest:
        parts.append(torch.optim.AdamW(rest, betas=recipe.betas, fused=True))
    if matrices:
        for group in matrices:
            group["lr"] *= recipe.matrix_rate
        parts.append(_Muon(matrices, adjust_lr_fn="match_rms_adamw"))
    return _Joined(parts)


def parameter_groups(
    module: nn.Module, weight_decay: float, learning_rate: float, rates: Rates | None = None
) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and embeddings, of positions too, do not (they are no interactions of features).

    Args:
        module: what is trained; frozen parameters are in no group.
        weight_decay: of the matrices.
        learning_rate: at the top of the schedule.
        rates: the share of it that each parameter gets; 1 for all if None.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    embeddings = _embeddings(module)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # Where a place or a threshold is learnt, a parameter has two dimensions and more to be broadcast.
            multiplies = parameter.ndim >= 2 and "weight" in name.rpartition(".")[2]
            decay = weight_decay if multiplies and id(parameter) not in embeddings else 0.0
            groups.setdefault((rates(name) if rates else 1.0, decay), []).append(parameter)
    return [
        {"params": groups[rate, decay], "weight_decay": decay, "lr": learning_rate * rate}
        for rate, decay in sorted(groups, reverse=True)  # the full rate first: it is the one that curves show
    ]


def _by_part(recipe: Recipe, rates: Rates | None) -> Rates | None:
    """``rates``, times the recipe's own of the part of the backbone that a parameter belongs to."""
    if not recipe.rates:
        return rates
    parts: dict[str, float] = {f"model.{part}": share for part, share in recipe.rates.items()}
    return lambda name: (rates(name) if rates else 1.0) * parts.get(".".join(name.split(".", 2)[:2]), 1.0)


def _embeddings(module: nn.Module) -> set[int]:
    return {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}


def _stacked_matrices(module: nn.Module) -> set[int]:
    """The matrices of layers that stand one upon the other: what Muon is for. First and last layers are none."""
    stacks = (part for part in module.modules() if isinstance(part, nn.ModuleList))
    inside = chain.from_iterable(stack.parameters() for stack in stacks)
    return {id(parameter) for parameter in inside if parameter.ndim == 2} - _embeddings(module)


def _chosen(groups: Iterable[dict[str, Any]], keep: Callable[[nn.Parameter], bool]) -> Iterator[dict[str, Any]]:
    """The groups with those of their parameters that are kept; none that is left empty."""
    for group in groups:
        if kept := [parameter for parameter in group["params"] if keep(parameter)]:
            yield {**group, "params": kept}


class _Muon(torch.optim.Muon):
    """torch's, whose steps take matrices of one shape together: a hundred small products one by one are mostly calls.

    Options, states and numbers are torch's own, to what its bfloat16 keeps.
    """

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            if not parameters:
                continue
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            moves = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            alike: dict[torch.Size, list[int]] = {}
            for index, parameter in enumerate(parameters):
                alike.setdefault(parameter.shape, []).append(index)
            for (rows, columns), chosen in alike.items():
                turned = _orthogonal(torch.stack([moves[index] for index in chosen]), group)
                length = group["lr"] * 0.2 * max(rows, columns) ** 0.5  # "match_rms_adamw"
                torch._foreach_add_([parameters[index] for index in chosen], turned.unbind(), alpha=-length)
        return loss


def _orthogonal(matrices: Tensor, options: dict[str, Any]) -> Tensor:
    """Near the closest matrices whose columns (or rows, where they are fewer) are at right angles and of length 1.

    Args:
        matrices: (matrices, rows, columns).
        options: Muon's, of the Newton–Schulz iteration.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=options["eps"])
    first, third, fifth = options["ns_coefficients"]
    for _ in range(options["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return (x.mT if tall else x).to(matrices.dtype)


class _Joined(torch.optim.Optimizer):
    """Several optimisers, each of its own parameters, as one: their groups and states are shared, not copied.

    Args:
        parts: at least one; the first one's first group is the one that curves show.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self._parts = parts
        super().__init__(
            [parameter for part in parts for group in part.param_groups for parameter in group["params"]], {}
        )
        self.param_groups = [group for part in parts for group in part.param_groups]
        self.state = _States(parts)  # type: ignore[assignment]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss


class _States:
    """What each of several optimisers remembers, looked up by parameter."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self._of = {
            parameter: part.state for part in parts for group in part.param_groups for parameter in group["params"]
        }

    def __getitem__(self, parameter: nn.Parameter) -> dict[str, Any]:
        return self._of[parameter][parameter]
