"""`bigbatch reproduce`."""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from bigbatch.cli.options.aggregation import REDUCTIONS
from bigbatch.cli.options.argument_types import file_or_folder
from bigbatch.cli.options.machine import add_machine, check_outside_group
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.options.recipe import add_set
from bigbatch.cli.options.run_folder import add_run
from bigbatch.cli.output.comparison import comparison_lines
from bigbatch.errors import InputError
from bigbatch.models.weights_file import sha256_of_file
from bigbatch.paths import is_file
from bigbatch.printable import printable
from bigbatch.processes.portable import take_numerics
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml, with_settings
from bigbatch.runs.comparison import compare
from bigbatch.runs.contract import in_words
from bigbatch.runs.record import FINISHED, RunRecord, read_record

DIFFERENT: Final = 1  # the exit code
MACHINE_OPTIONS: Final = ("processes", "threads_per_process", "timeout", "loader_workers", "reduction")
MOST_THREADS: Final = 1024

Train = Callable[[Sequence[str]], int | None]


def add_reproduce(commands: Commands, *, train: Train) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands,
        "reproduce",
        "Repeat a run on this machine, and compare the two bit for bit.",
        details="Exit code: 0 if the two are identical, otherwise 1.",
    )
    add_run(parser)
    add_set(parser)
    add_machine(parser, threads=None, timeout="the recipe's")
    parser.add_argument(
        "--reduction",
        choices=REDUCTIONS,
        help="how gradients are summed (bigbatch train --help); default: as in RUN",
    )
    parser.add_argument(
        "--output", type=file_or_folder, metavar="DIR", help="the new run's folder (default: RUN-reproduction)"
    )
    parser.set_defaults(run=partial(reproduce_command, train=train))


def reproduce_command(options: argparse.Namespace, *, train: Train) -> int:
    """Repeat a run, as far as it came, and compare the two; return 0 if they are identical, otherwise 1.

    Args:
        options: the run, and what is changed.
        train: runs `bigbatch ARGUMENTS` and returns its exit code, which counts if it is not 0.

    Raises:
        InputError: the folder holds no run that can be repeated, or the training refuses its arguments.
    """
    check_outside_group("reproduce")
    run = read_record(options.folder)
    recipe = with_settings(run.recipe, options.set)
    check_weights(run, recipe)
    take_numerics(recipe.numerics)
    target = options.output or free_folder(run.path)
    length = run.num_iterations  # of a run that goes on, what it has recorded by now
    with tempfile.TemporaryDirectory(prefix="bigbatch-") as folder:
        file = Path(folder) / "recipe.toml"
        file.write_text(to_toml(recipe))
        to_train = training_arguments(run, length, file, target, vars(options))
        print(printable(f"reproducing {run.path} in {target}{_say_code(recipe)}"), flush=True)
        for line in prospect_of(run, recipe, options.threads_per_process):
            print(printable(line), flush=True)
        if exit_code := train(to_train):
            print(printable(f"stopped, and not compared; bigbatch diff {run.path} {target} compares what there is"))
            return exit_code
    comparison = compare(run, read_record(target))
    print()
    for line in comparison_lines(comparison):
        print(printable(line))
    return 0 if comparison.is_identical else DIFFERENT


def prospect_of(run: RunRecord, recipe: Recipe, threads: int | None) -> list[str]:
    """Say whether the run can have the same bits here, with its own threads unless others are asked for."""
    from bigbatch.processes.join import joined
    from bigbatch.training.prospect import prospect

    with joined(threads=threads or recorded_threads(run) or 1, tf32=recipe.precision == "tf32") as machine:
        return list(prospect(run, recipe, machine))


def check_weights(run: RunRecord, recipe: Recipe) -> None:
    """Refuse to repeat a run from weights that are not those that it started from, unless others are asked for.

    Raises:
        InputError: names both hashes.
    """
    path, recorded = recipe.model.weights, (run.summary.initial_weights or {}).get("sha256")
    if not recorded or path != run.recipe.model.weights or not is_file(Path(path)):  # training names a missing file
        return
    if (found := sha256_of_file(Path(path))) != recorded:
        msg = (
            f"{run.path} started from weights with the SHA-256 {in_words(recorded)}, but {path} has {in_words(found)}; "
            "put the old file back, or name it with --set model.weights=FILE"
        )
        raise InputError(msg)


def training_arguments(
    run: RunRecord, length: int, recipe: Path, target: Path, options: Mapping[str, Any]
) -> list[str]:
    """Return the arguments that train a recipe as the run was trained: its threads and its reduction, unless asked.

    A run that did not finish is repeated for the `length` iterations that it recorded.

    Raises:
        InputError: it has recorded none.
    """
    reduction = run.summary.reduction
    recorded = {
        "threads_per_process": recorded_threads(run),
        "reduction": reduction if reduction in REDUCTIONS else None,
    }
    asked = {name: options[name] for name in MACHINE_OPTIONS if options[name] is not None}
    chosen = {name: value for name, value in {**recorded, **asked}.items() if value is not None}
    arguments = ["train", str(recipe), f"--output={target}"]
    arguments += [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    if run.state == FINISHED:
        return arguments
    if length < 1:
        msg = f"{run.path} is {run.state} and has recorded no iteration: there is nothing to reproduce"
        raise InputError(msg)
    return [*arguments, f"--stop-after-iteration={length}"]


def recorded_threads(run: RunRecord) -> int | None:
    """Return the threads of each process of the run; None if the record is damaged."""
    threads = run.attempts[0].threads_per_process
    return threads if threads in range(1, MOST_THREADS + 1) else None


def free_folder(run: Path) -> Path:
    """Return RUN-reproduction; with -2, -3, ... behind it, the first that is free."""
    first = f"{run if run.name not in {'', '..'} else run.resolve()}-reproduction"
    return next(path for path in chain([Path(first)], (Path(f"{first}-{n}") for n in count(2))) if not path.exists())


def _say_code(recipe: Recipe) -> str:
    """Name the user's own code that the recipe runs, as a warning."""
    return f", with the code that its recipe names: {', '.join(recipe.user_code)}" if recipe.user_code else ""
