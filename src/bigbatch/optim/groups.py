"""Parameter groups: those that decay and those that do not."""

from typing import Any

from torch import nn

from bigbatch.optim.decay import parts_of
from bigbatch.recipe import Optimizer
from bigbatch.user_code import is_user_code


def weight_decay_groups(model: nn.Module, recipe: Optimizer) -> list[dict[str, Any]]:
    """Divide the trainable parameters into those that decay and those that do not (`parts_of`).

    If neither the recipe nor the optimizer's name gives a weight decay, there is one group, which says nothing of it.
    """
    parts, decay = parts_of(model, recipe), recipe.decay
    if decay is None:
        return [{"params": [part.parameter for part in parts]}]
    if not decay and not is_user_code(recipe.name):  # whose callable gets the same two groups for any decay
        return [{"params": [part.parameter for part in parts], "weight_decay": 0.0}]
    groups = {is_on: [part.parameter for part in parts if part.decays == is_on] for is_on in (True, False)}
    return [
        {"params": parameters, "weight_decay": decay if is_on else 0.0}
        for is_on, parameters in groups.items()
        if parameters
    ]


def layerwise_groups(model: nn.Module, recipe: Optimizer) -> list[dict[str, Any]]:
    """Divide in the same way. Parameters that do not decay get no layer's rate either, as in the authors' code.

    Also for a weight decay of 0: the two groups differ in `is_layerwise`.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for part in parts_of(model, recipe):
        groups[part.decays].append(part.parameter)
    return [
        {"params": parameters, "weight_decay": recipe.decay if decays else 0.0, "is_layerwise": decays}
        for decays, parameters in groups.items()
        if parameters
    ]
