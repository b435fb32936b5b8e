"""`bigbatch bench step`."""

import argparse
import os
from typing import Any

from bigbatch.cli.options.aggregation import add_aggregation, resolve_aggregation
from bigbatch.cli.options.argument_types import positive, seconds
from bigbatch.cli.options.machine import add_machine, check_outside_group, join, processes_to_launch
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.errors import InputError
from bigbatch.processes.place import find_place
from bigbatch.processes.portable import take_numerics
from bigbatch.recipe import Recipe
from bigbatch.recipe.numerics import PORTABLE


def add_bench_step(benches: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        benches,
        "step",
        "Compare the speed of the exact step with a plain DistributedDataParallel loop.",
        details="The two take turns, in pairs, so that other work on the machine slows both.",
    )
    add_recipe(parser, default="fashion-mnist")
    add_machine(parser, loader_workers=False)
    parser.add_argument("--rounds", type=positive, default=11, metavar="N", help="pairs of turns (default: 11)")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=2.0,
        metavar="S",
        help="approximate seconds of a turn (default: 2)",
    )
    parser.add_argument(
        "--numerics",
        choices=(PORTABLE,),
        help="compare portable with native numerics instead: in one process, on the recipe's own data, for any task",
    )
    add_json(parser)
    add_aggregation(parser)
    parser.set_defaults(run=bench_step_command)


def bench_step_command(options: argparse.Namespace) -> int:
    """Time the step here if this is one process of several or the only one, otherwise start the processes."""
    recipe = resolve_recipe(options)
    if options.numerics:
        return bench_numerics_command(recipe, options)
    take_numerics(recipe.numerics)
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
        return launch([*options.arguments, "--processes", str(processes)], processes)
    with join(options, precision=recipe.precision) as machine:
        result = bench_step(
            recipe, machine, rounds=options.rounds, seconds_per_turn=options.seconds, aggregation=aggregation
        )
    if machine.processes.rank == 0:
        if options.json:
            print_json(result)
        else:
            print(_sentences(result))
    return 0


def bench_numerics_command(recipe: Recipe, options: argparse.Namespace) -> int:
    """Time portable beside native numerics.

    Raises:
        InputError: several processes are asked for.
    """
    check_outside_group("bench step --numerics")
    if options.processes not in {None, 1}:
        msg = "what numerics cost is measured in one process; leave out --processes"
        raise InputError(msg)
    from bigbatch.benchmark.numerics import bench_numerics

    result = bench_numerics(
        recipe, threads=options.threads_per_process, rounds=options.rounds, seconds_per_turn=options.seconds
    )
    if options.json:
        print_json(result)
        return 0
    print(
        f"{result['recipe']}, {result['model']} in {result['precision']}, minibatch {result['minibatch_size']}, "
        f"1 process, {result['rounds']} pairs of turns of {result['iterations_per_turn']} iterations\n"
        f"native numerics            {result['native_samples_per_second']:>10,.0f} samples/s (median)\n"
        f"portable numerics          {result['portable_samples_per_second']:>10,.0f} samples/s (median)\n"
        f"ratio                      {result['ratio']:>10.3f} (median; "
        f"{result['ratio_least']:.3f} to {result['ratio_largest']:.3f})"
    )
    return 0


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
