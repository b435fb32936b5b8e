"""Tables that fit a terminal, and that a file or a pipe can search line by line."""

from typing import TYPE_CHECKING, Final

from bigbatch.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

WIDTH_OF_A_FILE: Final = 160


def cell(value: object) -> "Text":
    """Return a value as the text of a cell: no markup, and nothing that a terminal would obey."""
    from rich.text import Text

    return Text(printable(str(value)))


def print_table(table: "Table", *, width_of_a_file: int = WIDTH_OF_A_FILE) -> None:
    """Print a table without lines between its columns; where there is no terminal, up to a width of its own."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console

    table.box = SIMPLE_HEAD
    table.pad_edge = False
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = width_of_a_file
    console.print(table)
