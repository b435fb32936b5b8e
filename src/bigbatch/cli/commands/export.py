"""`bigbatch export`."""

import argparse

from bigbatch.cli.options.argument_types import file_or_folder
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.options.run_folder import add_best, add_run
from bigbatch.printable import printable
from bigbatch.runs.folder import RunFolder


def add_export(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands, "export", "Write a run's weights to a safetensors file: their average if the run keeps one."
    )
    add_run(parser)
    parser.add_argument("file", type=file_or_folder, metavar="FILE", help="the file to write")
    add_best(parser)
    parser.set_defaults(run=export_command)


def export_command(options: argparse.Namespace) -> None:
    """Write the weights of a run as a safetensors file."""
    from bigbatch.training.run_evaluation import export_run

    result = export_run(RunFolder(options.folder), options.file, best=options.best)
    average = result.hashes.average_sha256
    print(f"average_sha256    {average}" if average else f"weights_sha256    {result.hashes.weights_sha256}")
    what = "averaged weights, after" if average else "after"
    print(f"weights           {printable(str(options.file))}  ({what} {result.iteration} iterations)")
