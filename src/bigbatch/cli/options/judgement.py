"""The option of how runs are judged."""

from bigbatch.cli.options.argument_types import percentage_points
from bigbatch.cli.options.parser import Parser


def add_margin(parser: Parser) -> None:
    """Add the margin of a match."""
    parser.add_argument(
        "--margin",
        type=percentage_points,
        metavar="M",
        help="the largest difference in error that counts as a match, in percentage points "
        "(default: two standard deviations of the reference's runs)",
    )
