"""From the command line's options to the number of processes."""

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from bigbatch.errors import InputError
from bigbatch.processes.place import Place
from bigbatch.recipe.launch import Launch

if TYPE_CHECKING:
    from bigbatch.processes.join import Machine


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
