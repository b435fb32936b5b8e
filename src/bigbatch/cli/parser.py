"""What commands share of the command line: the parser, and the options of a recipe and of the machine."""

import argparse
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from bigbatch.cli.argument_types import not_negative, positive, process_count, seconds
from bigbatch.errors import InputError

BEST_HELP: Final = "the checkpoint with the lowest validation error instead of the last"
RECIPE_HELP: Final = "a preset (digits, fashion-mnist, cifar10, imagenet-resnet50) or a TOML file"


class Parser(argparse.ArgumentParser):
    """A parser that leaves what to do about an error to its caller."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")  # noqa: EM102, TRY003 - one line


if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[Parser]  # noqa: SLF001 - it has no public name


def add_command(commands: "Commands", name: str, description: str) -> Parser:
    """Add a command, and return its parser."""
    return commands.add_parser(name, help=description, description=description, allow_abbrev=False)


def add_recipe(parser: Parser, *, default: str | None = None) -> None:
    """Add the recipe and the options that change it."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP, nargs="?" if default else None, default=default)
    parser.add_argument("--minibatch-size", type=int, metavar="B", help="samples per update, over all workers")
    add_changes(parser)


def add_changes(parser: Parser) -> None:
    """Add the options that change a recipe, whatever its minibatch size."""
    parser.add_argument("--epochs", type=int, metavar="E", help="passes over the training data")
    parser.add_argument("--seed", type=int, metavar="S", help="of initialisation, order and augmentation")
    add_set(parser)


def add_set(parser: Parser) -> None:
    """Add the option that changes any field of a recipe."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="change any field of the recipe, as in --set warmup.epochs=2; may be repeated",
    )


def add_machine(parser: Parser) -> None:
    """Add the options of processes, threads and time."""
    parser.add_argument(
        "--processes",
        type=process_count,
        metavar="P",
        help="processes on this machine (default: one a GPU or core, at most one a worker)",
    )
    parser.add_argument(
        "--threads-per-process",
        type=positive,
        default=1,
        metavar="T",
        help="CPU threads of each; the bits depend on it (default 1)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="seconds after which a silent process is given up (default: the recipe's, or 120)",
    )
    parser.add_argument(
        "--loader-workers",
        type=not_negative,
        default=0,
        metavar="L",
        help="processes that read ahead, for each process (default 0: read in place)",
    )
