"""From the command line's options to how gradients are summed over the processes."""

import argparse

from bigbatch.errors import InputError
from bigbatch.reduction.options import ALL_REDUCES, AUTO, COMPRESSIONS, NATIVE, AggregationOptions


def add_aggregation(parser: argparse.ArgumentParser) -> None:
    """Add the options; none of them changes the bits, but for what is called native."""
    group = parser.add_argument_group("aggregation", "how gradients are summed over the processes")
    group.add_argument(
        "--all-reduce",
        choices=ALL_REDUCES,
        help="auto: the fastest exact algorithm by size, measured once (default); native: the backend's own",
    )
    group.add_argument(
        "--reduction",
        choices=("exact", NATIVE),
        help="exact: the same bits for any number of processes (default); native: as --all-reduce native",
    )
    group.add_argument(
        "--bucket-mb", type=float, default=AggregationOptions.bucket_mb, metavar="MB", help="bucket size (default 4)"
    )
    group.add_argument(
        "--no-overlap", action="store_true", help="sum after backpropagation, not during it (to measure the difference)"
    )
    group.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="bfloat16: send rounded gradients; not exact, with --reduction native only",
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
