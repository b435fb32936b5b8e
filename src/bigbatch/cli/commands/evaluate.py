"""`bigbatch evaluate`."""

import argparse
import os

from bigbatch.cli.options.machine import add_machine, join, processes_to_launch
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.options.run_folder import add_best, add_run
from bigbatch.cli.output.json import print_json
from bigbatch.printable import printable
from bigbatch.processes.place import find_place
from bigbatch.processes.portable import take_numerics
from bigbatch.recipe.numerics import NATIVE
from bigbatch.runs.folder import RunFolder


def add_evaluate(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "evaluate", "Evaluate the last checkpoint of a run on its validation data.")
    add_run(parser)
    add_best(parser)
    add_json(parser)
    add_machine(parser, processes="1")
    parser.set_defaults(run=evaluate_command)


def evaluate_command(options: argparse.Namespace) -> int:
    """Evaluate here if this is one process of several or the only one asked for, otherwise start the processes."""
    folder = RunFolder(options.folder)
    recipe = folder.recipe if folder.exists() else None  # what is no run is refused below
    take_numerics(recipe.numerics if recipe else NATIVE)

    from bigbatch.processes.launch import launch
    from bigbatch.training.run_evaluation import evaluate_run

    place = find_place(os.environ)
    # One process unless more are asked for: starting them takes longer than a small evaluation.
    if processes := processes_to_launch(options, place, worker_count=1):
        return launch([*options.arguments, "--processes", str(processes)], processes)
    with join(options, precision=recipe.precision if recipe else "float32") as machine:
        result = evaluate_run(folder, machine, loader_workers=options.loader_workers, best=options.best)
    if machine.processes.rank:
        return 0
    if options.json:
        print_json(result.to_json())
        return 0
    scores, hashes = result.scores, result.hashes
    for number, measure in enumerate(scores.measures):
        of = f" ({scores.num_samples:,} samples)" if not number else ""
        print(f"{measure.label:<17} {measure.text(scores[measure.name])}{of}")
    print(f"weights_sha256    {hashes.weights_sha256}")
    if hashes.average_sha256:
        print(f"average_sha256    {hashes.average_sha256}  (what was evaluated)")
    print(f"checkpoint        {printable(result.checkpoint)}")
    return 0
