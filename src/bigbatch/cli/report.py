"""`bigbatch report`."""

import argparse
from collections.abc import Sequence

from bigbatch.cli.tables import cell, print_table
from bigbatch.report import draw_error_curves, summarise
from bigbatch.runs import RunFolder


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
