"""`bigbatch bench all-reduce`."""

import argparse
import os
from typing import Any, Final

from bigbatch.cli.options.argument_types import buffer_size, figure_file, list_of, positive, seconds
from bigbatch.cli.options.machine import add_machine, join
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import print_table
from bigbatch.errors import InputError
from bigbatch.planning.communication_figures import draw_all_reduces, size_in_words
from bigbatch.processes.place import find_place

DEFAULT_PROCESSES: Final = 2


def add_bench_all_reduce(benches: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        benches, "all-reduce", "Compare the speed of every exact all-reduce with that of the backend's own, by size."
    )
    add_machine(parser, processes=str(DEFAULT_PROCESSES), loader_workers=False)
    parser.add_argument(
        "--sizes",
        type=list_of(buffer_size),
        metavar="S,T,...",
        help="sizes of the buffers, such as 4KB,1MB (default: 4 KB to 100 MB)",
    )
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="turns of each algorithm, for each size (default: 15)"
    )
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, metavar="S", help="approximate seconds for each size (default: 10)"
    )
    parser.add_argument("--figure", type=figure_file, metavar="FILE", help="draw the result (.png, .svg or .pdf)")
    add_json(parser)
    parser.set_defaults(run=bench_all_reduce_command)


def bench_all_reduce_command(options: argparse.Namespace) -> int:
    """Time the all-reduces here if this is one process of several, otherwise start the processes."""
    from bigbatch.processes.launch import launch

    place = find_place(os.environ)
    processes = place.world_size if place else options.processes or DEFAULT_PROCESSES
    if processes == 1:
        msg = "an all-reduce needs at least 2 processes; give --processes P"
        raise InputError(msg)
    if place is None:
        return launch([*options.arguments, "--processes", str(processes)], processes)
    from bigbatch.benchmark.all_reduce import SIZES, bench_all_reduce

    with join(options) as machine:
        result = bench_all_reduce(
            machine, sizes=options.sizes or SIZES, rounds=options.rounds, seconds_per_size=options.seconds
        )
    if machine.processes.rank == 0:
        if options.json:
            print_json(result)
        else:
            _print_all_reduces(result)
        if options.figure:
            draw_all_reduces(result, options.figure)
    return 0


def _print_all_reduces(result: dict[str, Any]) -> None:
    from rich.table import Table

    processes = result["processes"]
    title = f"milliseconds of an all-reduce among {processes} processes: median (quartiles), beside the native one"
    table = Table(title=title, title_justify="left")
    names = list(next(iter(result["seconds_by_bytes"].values())))
    for heading in ("size", *names):
        table.add_column(heading, justify="right")
    for size, timings in result["seconds_by_bytes"].items():
        cells = [
            f"{1e3 * t['median']:.3g} ({1e3 * t['lower']:.3g}-{1e3 * t['upper']:.3g}) x{t['ratio']:.2f}"
            for t in timings.values()
        ]
        table.add_row(size_in_words(int(size)), *cells)
    print_table(table)
