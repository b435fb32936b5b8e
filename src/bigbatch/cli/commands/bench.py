"""`bigbatch bench`: of a step, and of an all-reduce."""

import argparse
import os
from typing import Any

from bigbatch.cli.options.aggregation import add_aggregation, resolve_aggregation
from bigbatch.cli.options.argument_types import figure_file, positive, seconds, sizes
from bigbatch.cli.options.machine import add_machine, join, processes_to_launch
from bigbatch.cli.options.parser import Commands, Parser, add_command
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import print_table
from bigbatch.errors import InputError
from bigbatch.planning.communication_figures import draw_all_reduces, size_in_words
from bigbatch.processes.place import find_place


def add_bench(commands: Commands) -> None:
    """Add the command, or commands, with their options."""
    benches = add_command(commands, "bench", "Measure speed.").add_subparsers(
        metavar="WHAT", required=True, parser_class=Parser, dest="what"
    )
    parser = add_command(benches, "step", "Time the exact step against a plain DistributedDataParallel loop, in pairs.")
    add_recipe(parser, default="fashion-mnist")
    add_machine(parser)
    add_aggregation(parser)
    parser.add_argument("--rounds", type=positive, default=11, metavar="N", help="pairs of turns (default 11)")
    parser.add_argument(
        "--seconds", type=seconds, default=2.0, metavar="S", help="about how long a turn lasts (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=bench_step_command)
    parser = add_command(benches, "all-reduce", "Time every all-reduce, by size, beside the backend's own.")
    add_machine(parser)
    parser.add_argument(
        "--sizes", type=sizes, metavar="S,T,...", help="of the buffers, as 4KB,1MB (default: 4 KB to 100 MB)"
    )
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="turns of each (default 15)")
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, metavar="S", help="about how long a size may take (default 10)"
    )
    parser.add_argument("--figure", type=figure_file, metavar="FILE", help="write a figure (.png, .svg or .pdf)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=bench_all_reduce_command)


def bench_step_command(options: argparse.Namespace) -> None:
    """Time the step here if this is one process of several or the only one, otherwise start the processes."""
    recipe = resolve_recipe(options)
    aggregation = resolve_aggregation(options)
    from bigbatch.benchmark.step import bench_step, find_input
    from bigbatch.processes.launch import launch

    place = find_place(os.environ)
    processes = processes_to_launch(options, place, worker_count=recipe.worker_count)
    num_processes = processes or (place.world_size if place else 1)
    if recipe.worker_count % num_processes:
        msg = f"the plain loop needs equal shares: {recipe.worker_count} workers among {num_processes} processes"
        raise InputError(msg)
    find_input(recipe)
    if processes:
        launch([*options.arguments, "--processes", str(processes)], processes)
        return
    with join(options) as machine:
        result = bench_step(
            recipe, machine, rounds=options.rounds, seconds_per_turn=options.seconds, aggregation=aggregation
        )
    if machine.processes.rank == 0:
        if options.json:
            print_json(result)
        else:
            print(_sentences(result))


def _sentences(result: dict[str, Any]) -> str:
    return (
        f"{result['model']}, minibatch {result['minibatch_size']} as workers of {result['worker_minibatch_size']}, "
        f"{result['processes']} processes on {result['device']}, {result['rounds']} pairs of turns "
        f"of {result['iterations_per_turn']} iterations\n"
        f"bigbatch, {result['all_reduce']:<16} {result['images_per_second']:>10,.0f} images/s (median)\n"
        f"plain DDP loop             {result['plain_images_per_second']:>10,.0f} images/s (median)\n"
        f"ratio                      {result['ratio']:>10.3f} (median; "
        f"{result['ratio_least']:.3f} to {result['ratio_largest']:.3f})"
    )


def bench_all_reduce_command(options: argparse.Namespace) -> None:
    """Time the all-reduces here if this is one process of several, otherwise start the processes."""
    from bigbatch.processes.launch import launch

    place = find_place(os.environ)
    if (place.world_size if place else options.processes) == 1:
        msg = "an all-reduce needs at least 2 processes; give --processes P"
        raise InputError(msg)
    if place is None:
        launch([*options.arguments, "--processes", str(options.processes or 2)], options.processes or 2)
        return
    from bigbatch.benchmark.all_reduce import SIZES, bench_all_reduce

    with join(options) as machine:
        result = bench_all_reduce(
            machine, sizes=options.sizes or SIZES, rounds=options.rounds, seconds_per_size=options.seconds
        )
    if machine.processes.rank != 0:
        return
    if options.json:
        print_json(result)
    else:
        _print_all_reduces(result)
    if options.figure:
        draw_all_reduces(result, options.figure)


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
