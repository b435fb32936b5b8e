"""Tables that fit a terminal, and that a file or a pipe can search line by line."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_OF_A_FILE: Final = 160


def print_table(table: "Table") -> None:
    """Print a table without lines between its columns, unwrapped where there is no terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console

    table.box = SIMPLE_HEAD
    table.pad_edge = False
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    console.print(table)
