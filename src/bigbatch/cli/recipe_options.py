"""From the command line's options to a recipe: flag over --set over file over preset."""

import argparse
from typing import Final

from bigbatch.recipe import Recipe
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import find_recipe

FIELD_OF: Final = {
    "minibatch_size": "minibatch_size",
    "epochs": "epochs",
    "seed": "seed",
    "timeout": "launch.timeout_seconds",
    "max_restarts": "launch.max_restarts",
    "on_nonfinite": "launch.on_nonfinite",
    "save_every_epochs": "checkpoints.every_epochs",
    "save_every_iterations": "checkpoints.every_iterations",
    "save_every_seconds": "checkpoints.every_seconds",
    "keep": "checkpoints.keep",
}


def resolve_recipe(options: argparse.Namespace, *, minibatch_size: int | None = None) -> Recipe:
    """Return the recipe that the options name, with their changes.

    Args:
        options: of the command line.
        minibatch_size: what takes the place of the recipe's own, before the changes.

    Raises:
        InputError: an unknown recipe or field, or a value out of its range.
    """
    settings = [
        f"{field}={value}" for flag, field in FIELD_OF.items() if (value := getattr(options, flag, None)) is not None
    ]
    size = [] if minibatch_size is None else [f"minibatch_size={minibatch_size}"]
    return with_settings(find_recipe(options.recipe), [*size, *options.set, *settings])
