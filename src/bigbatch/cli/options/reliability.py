"""The options of a training on faults and checkpoints; none of them changes the weights of a run without faults."""

from bigbatch.cli.options.argument_types import number, whole_number
from bigbatch.cli.options.parser import Parser
from bigbatch.recipe.sections.launch import ON_NONFINITE


def add_reliability(parser: Parser) -> None:
    """Add the options; each sets a field of the recipe's sections `launch` and `checkpoints`."""
    group = parser.add_argument_group(
        "faults and checkpoints", "An option that is not given has the recipe's value; the presets have these defaults."
    )
    group.add_argument(
        "--max-restarts",
        type=whole_number,
        metavar="N",
        help="after a fault, start again from the last checkpoint, at most N times (default: 0)",
    )
    group.add_argument(
        "--on-nonfinite",
        choices=ON_NONFINITE,
        help="if a loss or gradient is NaN or infinite: stop, or skip that update (default: stop)",
    )
    group.add_argument(
        "--save-every-epochs",
        type=whole_number,
        metavar="E",
        help="save a checkpoint every E epochs; 0: never (default: 1)",
    )
    group.add_argument(
        "--save-every-iterations",
        type=whole_number,
        metavar="I",
        help="save one also every I iterations; 0: never (default: 0)",
    )
    group.add_argument(
        "--save-every-seconds",
        type=number,
        metavar="S",
        help="save one also every S seconds; 0: never (default: 600)",
    )
    group.add_argument(
        "--keep", type=whole_number, metavar="N", help="keep the newest N checkpoints, and the best (default: 2)"
    )
