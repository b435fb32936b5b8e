"""The option of how runs are judged."""

from bigbatch.cli.options.argument_types import margin
from bigbatch.cli.options.parser import Parser


def add_margin(parser: Parser) -> None:
    """Add the margin of a match."""
    parser.add_argument(
        "--margin",
        type=margin,
        metavar="M",
        help="the largest difference from the reference that counts as a match, in the metric's unit: percentage "
        "points of errors (default: two standard deviations of the reference's runs)",
    )
