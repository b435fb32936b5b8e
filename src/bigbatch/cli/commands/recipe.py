"""`bigbatch recipe`."""

import argparse
import inspect
from typing import Final

from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.options.recipe import RECIPES, add_changes, add_minibatch_size, resolve_recipe
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.recipe import Recipe, differences
from bigbatch.recipe.commented import to_commented_toml
from bigbatch.recipe.presets import PRESETS, find_recipe

NEXT: Final = "`bigbatch recipe digits > my.toml` writes one to a file. Edit that, and `bigbatch train my.toml`."


def add_recipe_command(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands,
        "recipe",
        "Print a recipe as TOML, every field with its meaning; without a name, list the presets.",
        details="`bigbatch recipe digits > my.toml` makes a file to edit; `bigbatch train my.toml` trains it.",
    )
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help=RECIPES)
    add_minibatch_size(parser)
    add_changes(parser)
    parser.set_defaults(run=recipe_command)


def recipe_command(options: argparse.Namespace) -> None:
    """Print a recipe, or the presets with a line for each."""
    if options.recipe is not None:
        recipe = resolve_recipe(options)
        print(to_commented_toml(recipe, heading_of(options.recipe, recipe)), end="")
        return
    if options.set or any(value is not None for value in (options.minibatch_size, options.epochs, options.seed)):
        msg = f"RECIPE is missing: which one shall be changed? {RECIPES}"
        raise InputError(msg)
    for name in PRESETS:
        title, _, _ = _card(name).partition("\n")
        print(f"{name:<18} {title}")
    print(f"\n{NEXT}")


def heading_of(name: str, recipe: Recipe) -> str:
    """Return where a recipe comes from, and what was changed in it."""
    source = _card(name) if name in PRESETS else printable(f"{name}, with every field.")
    changes = "; ".join(map(printable, differences(find_recipe(name), recipe)))
    return f"{source}\n\nChanged: {changes}." if changes else source


def _card(preset: str) -> str:
    return inspect.getdoc(PRESETS[preset]) or ""
