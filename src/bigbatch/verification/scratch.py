"""What an optimizer does, seen on one parameter of one number in float64."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from bigbatch.errors import InputError, first_line
from bigbatch.optim import build_optimizer, correct_momentum, set_learning_rate
from bigbatch.optimizer_options import Optimizer


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
    parameter = nn.Parameter(torch.full(shape, start, dtype=torch.float64))
    module = nn.Module()
    module.register_parameter(name, parameter)
    optimizer = build_optimizer(recipe, module, 1.0)
    if recipe.momentum_correction:
        correct_momentum(optimizer, is_requested=True)
    return optimizer, parameter


def moves(
    recipe: Optimizer, rates: Sequence[float], gradients: Iterable[float], *, start: float = 0.0, name: str = "weight"
) -> list[float]:
    """Return what each update takes off the parameter, given the rate and the gradient of each.

    Raises:
        InputError: the optimizer cannot be stepped so.

    >>> moves(Optimizer(momentum=0.5, nesterov=False, weight_decay=0.0), [1.0, 1.0], [1.0, 1.0])
    [1.0, 1.5]
    """
    optimizer, parameter = scratch_optimizer(recipe, start=start, name=name)
    found = []
    for rate, gradient in zip(rates, gradients, strict=True):
        before = parameter.item()
        set_learning_rate(optimizer, rate)
        parameter.grad = torch.full_like(parameter, gradient)
        try:
            optimizer.step()
        except (TypeError, ValueError, RuntimeError) as error:
            kind, reason = type(optimizer).__name__, first_line(error)
            msg = f"{kind}.step() does not work with one dense gradient and no closure ({reason})"
            raise InputError(msg) from error
        found.append(before - parameter.item())
    return found
