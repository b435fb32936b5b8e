"""The parser of a command."""

import argparse
from typing import NoReturn, TypeAlias

from bigbatch.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser that leaves what to do about an error to its caller."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")  # noqa: EM102, TRY003 - one line


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it


def add_command(commands: Commands, name: str, description: str) -> Parser:
    """Add a command, and return its parser."""
    return commands.add_parser(name, help=description, description=description, allow_abbrev=False)
