"""The options that name a run and one of its checkpoints."""

from bigbatch.cli.options.argument_types import file_or_folder
from bigbatch.cli.options.parser import Parser


def add_run(parser: Parser) -> None:
    """Add the folder of a run."""
    parser.add_argument("folder", type=file_or_folder, metavar="RUN", help="the run's folder")


def add_best(parser: Parser) -> None:
    """Add the choice of the best checkpoint."""
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the checkpoint with the best result, by the run's first metric, not the last one",
    )
