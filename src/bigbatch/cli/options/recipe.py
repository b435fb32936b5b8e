"""The options that make a recipe. A flag goes before --set, --set before the file, the file before the preset."""

import argparse
from typing import Final

from bigbatch.cli.options.argument_types import number, whole_number
from bigbatch.cli.options.parser import Parser
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import PRESETS, find_recipe

RECIPES: Final = f"a preset ({', '.join(PRESETS)}) or a TOML file"
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


def add_recipe(parser: Parser, *, default: str | None = None) -> None:
    """Add the recipe and the options that change it."""
    add_recipe_name(parser, default=default)
    add_minibatch_size(parser)
    add_changes(parser)


def add_recipe_name(parser: Parser, *, default: str | None = None) -> None:
    """Add the recipe."""
    if default is None:
        parser.add_argument("recipe", metavar="RECIPE", help=RECIPES)
    else:
        parser.add_argument(
            "recipe", metavar="RECIPE", nargs="?", default=default, help=f"{RECIPES} (default: {default})"
        )


def add_minibatch_size(parser: Parser) -> None:
    """Add the option that changes a recipe's minibatch size."""
    parser.add_argument(
        "--minibatch-size",
        type=whole_number,
        metavar="B",
        help="samples per update, over all workers (default: the recipe's)",
    )


def add_changes(parser: Parser) -> None:
    """Add the options that change a recipe, except its minibatch size."""
    parser.add_argument(
        "--epochs", type=number, metavar="E", help="passes over the training data (default: the recipe's length)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        metavar="S",
        help="seed of the first weights, the order of samples and the augmentation (default: the recipe's)",
    )
    add_set(parser)


def add_set(parser: Parser) -> None:
    """Add the option that changes any field of a recipe."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="change any field of the recipe, such as warmup.epochs=2; may be repeated",
    )


def resolve_recipe(options: argparse.Namespace, *, minibatch_size: int | None = None) -> Recipe:
    """Return the recipe that the options name, with their changes.

    Args:
        options: of the command line.
        minibatch_size: replaces the recipe's own, before the changes.

    Raises:
        InputError: an unknown recipe or field, or a value out of its range.
    """
    settings = [
        f"{field}={value}" for flag, field in FIELD_OF.items() if (value := getattr(options, flag, None)) is not None
    ]
    size = [] if minibatch_size is None else [f"minibatch_size={minibatch_size}"]
    return with_settings(find_recipe(options.recipe), [*size, *options.set, *settings])
