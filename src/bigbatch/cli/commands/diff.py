"""`bigbatch diff`."""

import argparse

from bigbatch.cli.options.argument_types import file_or_folder
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.output.comparison import comparison_lines, comparison_table
from bigbatch.cli.output.json import print_json
from bigbatch.printable import printable
from bigbatch.runs.comparison import compare
from bigbatch.runs.record import read_record


def add_diff(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands, "diff", "Compare two runs: what differs, what can change the result, and where they part."
    )
    parser.add_argument("old", type=file_or_folder, metavar="OLD", help="the folder of a run")
    parser.add_argument("new", type=file_or_folder, metavar="NEW", help="the folder of another run")
    add_json(parser)
    parser.set_defaults(run=diff_command)


def diff_command(options: argparse.Namespace) -> None:
    """Print what differs between two runs, and where they part."""
    comparison = compare(read_record(options.old), read_record(options.new))
    if options.json:
        print_json(comparison_table(comparison))
        return
    for line in comparison_lines(comparison):
        print(printable(line))
