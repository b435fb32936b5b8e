"""The options of a training on faults and checkpoints; none of them changes the weights of a run without faults."""

import argparse

from bigbatch.recipe.sections.launch import ON_NONFINITE


def add_reliability(parser: argparse.ArgumentParser) -> None:
    """Add the options; each sets a field of the recipe's sections `launch` and `checkpoints`."""
    group = parser.add_argument_group("faults and checkpoints", "what a flag leaves out, the recipe says")
    group.add_argument(
        "--max-restarts",
        type=int,
        metavar="N",
        help="after a fault, start the processes again from the last checkpoint, at most N times (default 0)",
    )
    group.add_argument(
        "--on-nonfinite",
        choices=ON_NONFINITE,
        help="at a loss or gradient that is NaN or infinite: stop (default), or skip that update",
    )
    group.add_argument(
        "--save-every-epochs", type=int, metavar="E", help="save a checkpoint every E epochs (default 1; 0: never)"
    )
    group.add_argument(
        "--save-every-iterations", type=int, metavar="I", help="and every I iterations (default 0: never)"
    )
    group.add_argument(
        "--save-every-seconds", type=float, metavar="S", help="and every S seconds (default 600; 0: never)"
    )
    group.add_argument("--keep", type=int, metavar="N", help="keep the newest N checkpoints, and the best (default 2)")
