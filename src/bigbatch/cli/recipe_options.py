"""From the command line's options to a recipe: flag over --set over file over preset."""

import argparse

from bigbatch.presets import find_recipe
from bigbatch.recipe import Recipe
from bigbatch.recipe_file import with_settings


def resolve_recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe that the options name, with their changes.

    Raises:
        InputError: an unknown recipe or field, or a value out of its range.
    """
    flags = {"minibatch_size": options.minibatch_size, "epochs": options.epochs, "seed": options.seed}
    settings = [f"{name}={value}" for name, value in flags.items() if value is not None]
    return with_settings(find_recipe(options.recipe), [*options.set, *settings])
