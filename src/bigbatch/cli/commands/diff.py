"""`bigbatch diff`."""

import argparse

from bigbatch.cli.options.argument_types import file_or_folder
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.output.comparison import comparison_lines, comparison_table
from bigbatch.cli.output.json import print_json
from bigbatch.printable import printable
from bigbatch.runs.comparison import compare
from bigbatch.runs.record import read_record


def add_diff(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "diff", "Compare two runs: what cannot matter, what can, and where they part.")
    parser.add_argument("old", type=file_or_folder, metavar="RUN", help="a run's folder")
    parser.add_argument("new", type=file_or_folder, metavar="RUN", help="another's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=diff_command)


def diff_command(options: argparse.Namespace) -> None:
    """Print what differs between two runs, and where they part."""
    comparison = compare(read_record(options.old), read_record(options.new))
    if options.json:
        print_json(comparison_table(comparison))
        return
    for line in comparison_lines(comparison):
        print(printable(line))
