"""The options of how gradients are summed over the processes."""

import argparse
from typing import Final

from bigbatch.cli.options.argument_types import number
from bigbatch.cli.options.parser import Parser
from bigbatch.errors import InputError
from bigbatch.reduction.options import ALL_REDUCES, AUTO, COMPRESSIONS, NATIVE, AggregationOptions

REDUCTIONS: Final = ("exact", NATIVE)


def add_aggregation(parser: Parser) -> None:
    """Add the options; none of them changes the bits, except what is called native."""
    group = parser.add_argument_group(
        "aggregation", "How gradients are summed over the processes. Only `native` changes the bits of the result."
    )
    group.add_argument(
        "--all-reduce",
        choices=ALL_REDUCES,
        metavar="ALGORITHM",
        help=f"{', '.join(ALL_REDUCES)}; auto: the fastest exact one for each size, measured once; native: that of the "
        "backend (default: auto)",
    )
    group.add_argument(
        "--reduction",
        choices=REDUCTIONS,
        help="exact: the same bits for any number of processes; native: like --all-reduce native (default: exact)",
    )
    group.add_argument(
        "--bucket-mb",
        type=number,
        default=AggregationOptions.bucket_mb,
        metavar="MB",
        help="gradients are sent in buckets of this size (default: 4)",
    )
    group.add_argument(
        "--no-overlap",
        action="store_true",
        help="sum after backpropagation, not during it; slower, to measure the difference",
    )
    group.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="bfloat16: send rounded gradients; needs --reduction native (default: none)",
    )


def resolve_aggregation(options: argparse.Namespace) -> AggregationOptions:
    """Return the options as one value.

    Raises:
        InputError: they contradict each other, or a size is impossible.
    """
    all_reduce = options.all_reduce or (NATIVE if options.reduction == NATIVE else AUTO)
    if options.reduction and (options.reduction == NATIVE) != (all_reduce == NATIVE):
        msg = f"--reduction {options.reduction} contradicts --all-reduce {all_reduce}; leave one of them out"
        raise InputError(msg)
    return AggregationOptions(
        all_reduce=all_reduce,
        bucket_mb=options.bucket_mb,
        overlap=not options.no_overlap,
        compression=options.compression,
    )
