"""What an optimizer does, seen on one parameter of one number in float64."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.optim.absorbed_rate import correct_momentum
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.inner_optimizers import groups_of, write_rate
from bigbatch.optim.probe import cannot_step
from bigbatch.recipe import Optimizer
from bigbatch.user_code import is_user_code, takes_argument


def scratch_optimizer(
    recipe: Optimizer, *, start: float = 0.0, name: str = "weight"
) -> tuple[torch.optim.Optimizer, nn.Parameter]:
    """Build the recipe's optimizer for a single parameter, corrected if the recipe asks for it.

    Args:
        recipe: names the optimizer and its settings.
        start: the parameter's value.
        name: "weight", which decays, or "bias", which decays if the recipe says so.
    """
    shape = (1, 1) if name == "weight" else (1,)
    return optimizer_of(recipe, torch.full(shape, start, dtype=torch.float64), name)


def optimizer_of(recipe: Optimizer, values: Tensor, name: str) -> tuple[torch.optim.Optimizer, nn.Parameter]:
    """Build it for a parameter of these values."""
    module = nn.Linear(1, 1, dtype=torch.float64)  # both, as an optimizer of the user's may want two groups
    parameter = nn.Parameter(values)
    module.register_parameter(name, parameter)
    optimizer = build_optimizer(replace(recipe, weight_decay_on=(), no_weight_decay=()), module, 1.0)
    if recipe.momentum_correction:
        correct_momentum(optimizer, is_requested=True)
    return optimizer, parameter


def needs_model(recipe: Optimizer) -> bool:
    """Tell whether an optimizer of the user's can only be built for the whole model."""
    if not is_user_code(recipe.name):
        return False
    if takes_argument(recipe.name, "model"):
        return True
    try:
        scratch_optimizer(recipe)
    except InputError:
        return False
    except Exception:  # noqa: BLE001 - the user's own code may raise anything
        return True
    return False


def moves(
    recipe: Optimizer,
    rates: Sequence[float],
    gradients: Iterable[float],
    *,
    start: float = 0.0,
    name: str = "weight",
    is_held: bool = False,
) -> list[float]:
    """Return what each update takes off the parameter, given the rate and the gradient of each.

    Args:
        recipe: names the optimizer and its settings.
        rates: of each update.
        gradients: of each update.
        start: the parameter's value.
        name: "weight" or "bias", as for `scratch_optimizer`.
        is_held: put the parameter back to its start after each.

    Raises:
        InputError: the optimizer cannot be stepped so.

    >>> moves(Optimizer(momentum=0.5, nesterov=False, weight_decay=0.0), [1.0, 1.0], [1.0, 1.0])
    [1.0, 1.5]
    """
    optimizer, parameter = scratch_optimizer(recipe, start=start, name=name)
    found = []
    for rate, gradient in zip(rates, gradients, strict=True):
        before = parameter.item()
        _step(optimizer, parameter, torch.full_like(parameter, gradient), rate)
        found.append(before - parameter.item())
        if is_held:
            parameter.data.fill_(start)
    return found


def first_move(recipe: Optimizer, weights: Sequence[float], gradient: Sequence[float], *, rate: float) -> list[float]:
    """Return what the first update takes off each of the numbers of one parameter.

    Raises:
        InputError: the optimizer cannot be stepped so.

    >>> first_move(Optimizer(nesterov=False, weight_decay=0.5), [1.0, 0.0], [0.0, 2.0], rate=0.25)
    [0.125, 0.5]
    """
    before = torch.tensor([weights], dtype=torch.float64)
    optimizer, parameter = optimizer_of(recipe, before.clone(), "weight")
    _step(optimizer, parameter, torch.tensor([gradient], dtype=torch.float64), rate)
    found: list[float] = (before - parameter.detach()).flatten().tolist()
    return found


def _step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor, rate: float) -> None:
    """Let an optimizer take one step on the parameter, at this rate whatever ratio its group has.

    Raises:
        InputError: it cannot.
    """
    for group in groups_of(optimizer):
        write_rate(group, rate)
    parameter.grad = gradient
    try:
        optimizer.step()
    except Exception as error:
        raise cannot_step(optimizer, error) from error
