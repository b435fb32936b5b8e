"""`bigbatch report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigbatch.cli.parser import add_command
from bigbatch.cli.tables import cell, print_table
from bigbatch.report import draw_error_curves, summarise
from bigbatch.runs import RunFolder

if TYPE_CHECKING:
    from bigbatch.cli.parser import Commands


def add_report(commands: "Commands") -> None:
    """Add the command with its options."""
    parser = add_command(commands, "report", "Print runs side by side, and draw their error curves.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="the runs' folders")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the error curves (.png, .svg or .pdf)")
    parser.set_defaults(run=report_command)


def report_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Print the table of the runs, and write the figure if one is asked for."""
    del arguments
    from rich.table import Table

    folders = [RunFolder(path) for path in options.folders]
    rows = [summarise(folder) for folder in folders]
    table = Table()
    for heading in rows[0]:
        table.add_column(heading, overflow="fold", justify="left" if heading in {"run", "weights"} else "right")
    for row in rows:
        table.add_row(*(cell(f"{value:.4g}" if isinstance(value, float) else value) for value in row.values()))
    print_table(table)
    if options.figure:
        draw_error_curves(folders, options.figure)
        print(f"figure: {options.figure}")
