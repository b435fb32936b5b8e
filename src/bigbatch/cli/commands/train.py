"""`bigbatch train`."""

import argparse
import os
from pathlib import Path

from bigbatch.cli.options.aggregation import add_aggregation, resolve_aggregation
from bigbatch.cli.options.argument_types import file_or_folder, positive
from bigbatch.cli.options.machine import add_machine, processes_to_launch
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.options.reliability import add_reliability
from bigbatch.data.load import count_train_samples
from bigbatch.printable import printable
from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.place import find_place
from bigbatch.processes.portable import take_numerics
from bigbatch.recipe import Recipe
from bigbatch.rules.sampling import process_workers
from bigbatch.runs.folder import RunFolder, default_folder
from bigbatch.runs.lock import check_unlocked
from bigbatch.runs.summary import Summary
from bigbatch.user_code import is_user_code


def add_train(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "train", "Train a recipe. The weights do not depend on the number of processes.")
    add_recipe(parser)
    parser.add_argument(
        "--output", type=file_or_folder, metavar="DIR", help="the run's folder (default: runs/NAME-MINIBATCH-seedSEED)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint in the folder, if there is one; with more --epochs, if the rates "
        "so far stay the same",
    )
    parser.add_argument(
        "--stop-after-epoch", type=positive, metavar="E", help="stop after epoch E; --resume continues later"
    )
    parser.add_argument(
        "--stop-after-iteration", type=positive, metavar="I", help="stop after I iterations; --resume continues later"
    )
    add_machine(parser, timeout="the recipe's; 120 in the presets")
    add_aggregation(parser)
    add_reliability(parser)
    parser.set_defaults(run=train_command)


def train_command(options: argparse.Namespace) -> int:
    """Train here if this is one process of several or the only one, otherwise start the processes."""
    recipe = resolve_recipe(options)
    take_numerics(recipe.numerics)
    aggregation = resolve_aggregation(options)
    place = find_place(os.environ)
    if place is None:
        check_sizes(recipe, options.processes)
    # A launcher that starts the processes again means them to go on.
    is_resumed = options.resume or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    folder = RunFolder(options.output or default_folder(recipe, resume=is_resumed))
    if place is None or place.rank == 0:
        check_unlocked(folder.path)
        folder.check(recipe, resume=is_resumed, may_be_longer=True)

    from bigbatch.processes.join import joined

    if processes := processes_to_launch(options, place, worker_count=recipe.initial_worker_count):
        from bigbatch.processes.launch import launch

        return launch(
            [*options.arguments, "--output", str(folder.path), "--processes", str(processes)],
            processes,
            max_restarts=recipe.launch.max_restarts,
            stop_seconds=recipe.launch.timeout_seconds,
        )
    from bigbatch.training.trainer import train

    with joined(
        threads=options.threads_per_process,
        timeout_seconds=recipe.launch.timeout_seconds,
        tf32=recipe.precision == "tf32",
    ) as machine:
        summary = train(
            recipe,
            folder,
            machine,
            aggregation=aggregation,
            loader_workers=options.loader_workers,
            stop_after_epoch=options.stop_after_epoch,
            stop_after_iteration=options.stop_after_iteration,
        )
    if machine.processes.rank == 0:
        print_summary(summary, folder.path)
    return ExitCode.STOPPED if summary.stopped_by else 0


def check_sizes(recipe: Recipe, processes: int | None) -> None:
    """Refuse early what can be known to be impossible without starting anything.

    Raises:
        InputError: more processes than workers, or a minibatch larger than the data.
    """
    process_workers(recipe.initial_worker_count, rank=0, world_size=processes or 1)
    if not (is_user_code(recipe.data.name) or recipe.data.order):
        recipe.sampling(count_train_samples(recipe.data))


def print_summary(summary: Summary, path: Path) -> None:
    """Print the result of a run."""
    metric = summary.metric
    result = "no epoch is over" if summary.result is None else metric.text(summary.result)
    stopped_by = f" by {summary.stopped_by}: go on with --resume" if summary.stopped_by else ""
    early = f" early: {summary.ended_early}" if summary.ended_early else ""
    print(f"{metric.label:<17} {result} (median of the last 5 epochs), {summary.status}{stopped_by}{early}")
    print(f"weights_sha256    {summary.weights_sha256}")
    if summary.average_sha256:
        print(f"average_sha256    {summary.average_sha256}  (what was evaluated)")
    print(f"run               {printable(str(path))}  ({summary.iterations} iterations, {summary.seconds or 0:.1f} s)")
