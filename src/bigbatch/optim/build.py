"""The optimizer that a recipe names."""

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.optim.groups import layerwise_groups, weight_decay_groups
from bigbatch.optim.layerwise import LAMB, LARS
from bigbatch.optim.learning_rate import note_ratios
from bigbatch.recipe import Optimizer
from bigbatch.user_code import call_user_code, is_user_code, takes_argument

Build = Callable[[Optimizer, nn.Module, float], torch.optim.Optimizer]


def build_optimizer(recipe: Optimizer, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Build the named optimizer, or call the user's `package.module:callable` with (groups, lr=..., **arguments).

    A callable that has a parameter `model` is given the model too. Rates of its own that it gives to groups keep their
    ratio to `lr` (`set_learning_rate`).

    Args:
        recipe: as scaled to the minibatch size (`Recipe.scaled_optimizer`); nothing is scaled here.
        model: whose trainable parameters it updates.
        learning_rate: of the first iteration.

    Raises:
        InputError: the model has nothing to train; or the callable returns no optimizer, or one whose rate cannot be
            set, or that `train` cannot use.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        msg = f"the model {type(model).__name__} has no parameter to train; name another, or freeze less of it"
        raise InputError(msg)
    if not is_user_code(recipe.name):
        return BUILDERS[recipe.name](recipe, model, learning_rate)
    arguments = {"lr": learning_rate, **recipe.arguments}
    if takes_argument(recipe.name, "model"):
        arguments = {"model": model, **arguments}
    optimizer = call_user_code(recipe.name, weight_decay_groups(model, recipe), **arguments)
    if not isinstance(optimizer, torch.optim.Optimizer):
        msg = f"'{recipe.name}' must return a torch.optim.Optimizer, not {type(optimizer).__name__}"
        raise InputError(msg)
    if callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None)):
        msg = (
            f"{type(optimizer).__name__} keeps the weights to evaluate apart (optimizer.eval()), which a recipe's "
            "training does not do; use a loop of your own"
        )
        raise InputError(msg)
    note_ratios(optimizer, learning_rate)
    return optimizer


def _sgd(recipe: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    groups = weight_decay_groups(model, recipe)
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def _adam(recipe: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(weight_decay_groups(model, recipe), lr=rate, betas=recipe.betas, eps=recipe.epsilon)


def _adamw(recipe: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weight_decay_groups(model, recipe), lr=rate, betas=recipe.betas, eps=recipe.epsilon)


def _lars(recipe: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    groups = layerwise_groups(model, recipe)
    return LARS(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, trust=recipe.trust)


def _lamb(recipe: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return LAMB(layerwise_groups(model, recipe), lr=rate, betas=recipe.betas, epsilon=recipe.epsilon)


BUILDERS: Final[dict[str, Build]] = {"sgd": _sgd, "adam": _adam, "adamw": _adamw, "lars": _lars, "lamb": _lamb}
