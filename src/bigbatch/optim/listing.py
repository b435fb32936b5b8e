"""The parameters of a training by what the optimizer does with them: who decays, and at which rate."""

from dataclasses import dataclass

from torch import nn

from bigbatch.models.plain_names import plain_name
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.decay import in_short
from bigbatch.optim.inner_optimizers import groups_of
from bigbatch.optim.learning_rate import RATIO, note_ratios
from bigbatch.recipe import Optimizer


@dataclass(frozen=True)
class ParameterGroup:
    """A parameter group of the recipe's optimizer.

    Attributes:
        rate_ratio: its rate, as a multiple of the recipe's.
        weight_decay: its own; None if it says nothing of one.
        num_parameters: tensors in it.
        num_values: numbers in these.
        names: theirs, in short.
    """

    rate_ratio: float
    weight_decay: float | None
    num_parameters: int
    num_values: int
    names: list[str]


def list_groups(recipe: Optimizer, model: nn.Module, learning_rate: float) -> list[ParameterGroup]:
    """Return the parameter groups of the optimizer that the recipe builds for a model.

    Raises:
        InputError: it cannot be built.
    """
    optimizer = build_optimizer(recipe, model, learning_rate)
    note_ratios(optimizer, learning_rate)
    names = {id(parameter): plain_name(name) for name, parameter in model.named_parameters()}
    return [
        ParameterGroup(
            rate_ratio=group[RATIO],
            weight_decay=group.get("weight_decay"),
            num_parameters=len(group["params"]),
            num_values=sum(parameter.numel() for parameter in group["params"]),
            names=in_short(names.get(id(parameter), "?") for parameter in group["params"]),
        )
        for group in groups_of(optimizer)
    ]
