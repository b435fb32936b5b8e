"""`bigbatch diff`."""

import argparse
from collections.abc import Sequence

from bigbatch.cli.comparison_lines import comparison_lines, comparison_table
from bigbatch.cli.json_output import print_json
from bigbatch.comparison import compare
from bigbatch.printable import printable
from bigbatch.run_record import read_record


def diff_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Print what differs between two runs, and where they part."""
    del arguments
    comparison = compare(read_record(options.old), read_record(options.new))
    if options.json:
        print_json(comparison_table(comparison))
        return
    for line in comparison_lines(comparison):
        print(printable(line))
