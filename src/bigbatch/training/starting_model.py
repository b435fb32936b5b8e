"""The model that a training starts from: initialised, with the weights of a file, and with what is not trained."""

from dataclasses import dataclass

import torch
from torch import nn

from bigbatch.data.dataset import Splits
from bigbatch.recipe import Recipe
from bigbatch.training.freezing import Freezing, freeze_for_good
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.warm_start import WarmStart, warm_start


@dataclass(frozen=True)
class StartingModel:
    """A model before its first iteration.

    Attributes:
        model: on its device. What is never trained is frozen; what is trained later is not frozen yet.
        started_from: what it has taken from the recipe's file of weights; None if it names none.
        freezing: what will not be trained at first; None if that is nothing.
    """

    model: nn.Module
    started_from: WarmStart | None
    freezing: Freezing | None


def starting_model(recipe: Recipe, data: Splits, device: torch.device) -> StartingModel:
    """Build the recipe's model for its data, and give it the weights that it starts from.

    Raises:
        InputError: it cannot be built, the weights do not fit, or it has nothing that is named to be frozen.
    """
    model = build_recipe_model(recipe, num_classes=data.num_classes, in_channels=data.in_channels).to(device)
    started_from = warm_start(model, recipe.model)
    return StartingModel(model, started_from, freeze_for_good(model, recipe.model))
