"""The options of processes, threads and time."""

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from bigbatch.cli.options.argument_types import not_negative, positive, process_count, seconds
from bigbatch.cli.options.parser import Parser
from bigbatch.errors import InputError
from bigbatch.processes.place import Place
from bigbatch.recipe import Launch

if TYPE_CHECKING:
    from bigbatch.processes.join import Machine


def add_machine(parser: Parser) -> None:
    """Add the options of processes, threads and time."""
    parser.add_argument(
        "--processes",
        type=process_count,
        metavar="P",
        help="processes on this machine (default: one a GPU or core, at most one a worker)",
    )
    parser.add_argument(
        "--threads-per-process",
        type=positive,
        default=1,
        metavar="T",
        help="CPU threads of each; the bits depend on it (default 1)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="seconds after which a silent process is given up (default: the recipe's, or 120)",
    )
    parser.add_argument(
        "--loader-workers",
        type=not_negative,
        default=0,
        metavar="L",
        help="processes that read ahead, for each process (default 0: read in place)",
    )


def join(options: argparse.Namespace) -> AbstractContextManager["Machine"]:
    """Join the processes of this command, with the threads and the timeout that its options say."""
    from bigbatch.processes.join import joined

    return joined(threads=options.threads_per_process, timeout_seconds=options.timeout or Launch.timeout_seconds)


def processes_to_launch(options: argparse.Namespace, place: Place | None, *, worker_count: int) -> int:
    """Return how many processes to start, or 0 if the work is to be done in this one.

    Raises:
        InputError: --processes contradicts the group that this process is one of.
    """
    from bigbatch.processes.join import default_process_count

    if place is None:
        processes: int = options.processes or default_process_count(worker_count)
        return processes if processes > 1 else 0
    if options.processes not in {None, place.world_size}:
        msg = f"--processes {options.processes} within a group of {place.world_size} processes; leave it out"
        raise InputError(msg)
    return 0
