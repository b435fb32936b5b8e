"""From the command line's options to the number of processes."""

import argparse

from bigbatch.errors import InputError
from bigbatch.processes.place import Place


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
