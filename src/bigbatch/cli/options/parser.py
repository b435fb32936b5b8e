"""The parser of a command."""

import argparse
from functools import partial
from typing import Final, NoReturn, TypeAlias

from bigbatch.errors import InputError

NAMES_WIDTH: Final = 30  # of the column of options in a help text, in characters


class Parser(argparse.ArgumentParser):
    """A parser that takes whole words only, and leaves errors to its caller.

    Args:
        prog: the name of the command.
        description: what it does.
        epilog: what its help says last.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        form = partial(argparse.HelpFormatter, max_help_position=NAMES_WIDTH)
        super().__init__(prog=prog, description=description, epilog=epilog, allow_abbrev=False, formatter_class=form)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")  # noqa: EM102, TRY003 - one line


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it


def add_commands(parser: Parser, *, name: str, metavar: str) -> Commands:
    """Make a parser one of several commands; the options' `name` says which was given, or None."""
    return parser.add_subparsers(title="commands", metavar=metavar, parser_class=Parser, dest=name)


def add_command(commands: Commands, name: str, summary: str, *, details: str = "") -> Parser:
    """Add a command, and return its parser.

    Args:
        commands: to which it is added.
        name: of the command.
        summary: one sentence, which the list of commands shows too.
        details: more sentences, which only the command's own help shows.
    """
    return commands.add_parser(name, help=summary, description=f"{summary} {details}".strip())


def add_json(parser: Parser, *, note: str = "") -> None:
    """Add the choice of JSON."""
    parser.add_argument("--json", action="store_true", help=f"print JSON instead of text{note}")
