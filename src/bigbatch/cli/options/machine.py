"""The options of processes, threads and time."""

import argparse
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from bigbatch.cli.options.argument_types import not_negative, positive, process_count, seconds
from bigbatch.cli.options.parser import Parser
from bigbatch.errors import InputError
from bigbatch.processes.place import Place, find_place
from bigbatch.recipe import Launch

if TYPE_CHECKING:
    from bigbatch.processes.join import Machine

A_PROCESS_EACH: Final = "one per GPU or core, at most one per worker"


def add_machine(
    parser: Parser,
    *,
    processes: str = A_PROCESS_EACH,
    threads: int | None = 1,
    timeout: str = "120",
    loader_workers: bool = True,
) -> None:
    """Add the options of processes, threads and time.

    Args:
        parser: of the command.
        processes: the default number of processes, in words.
        threads: the default number of threads of each process; None: as many as the run had that is repeated.
        timeout: the default, in words.
        loader_workers: whether the command reads data.
    """
    group = parser.add_argument_group("machine", "Only the number of threads can change the bits of the result.")
    group.add_argument(
        "--processes", type=process_count, metavar="P", help=f"processes on this machine (default: {processes})"
    )
    group.add_argument(
        "--threads-per-process",
        type=positive,
        default=threads,
        metavar="T",
        help=f"CPU threads of each process (default: {threads or 'as in RUN'})",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help=f"seconds after which a process that does not answer is given up (default: {timeout})",
    )
    if loader_workers:
        group.add_argument(
            "--loader-workers",
            type=not_negative,
            default=0,
            metavar="L",
            help="processes that read data ahead for each process; 0: each process reads its own data (default: 0)",
        )


def join(options: argparse.Namespace, *, precision: str = "float32") -> AbstractContextManager["Machine"]:
    """Join the processes of this command, with the threads and the timeout that its options say."""
    from bigbatch.processes.join import joined

    timeout_seconds = options.timeout or Launch.timeout_seconds
    return joined(threads=options.threads_per_process, timeout_seconds=timeout_seconds, tf32=precision == "tf32")


def processes_to_launch(options: argparse.Namespace, place: Place | None, *, worker_count: int) -> int:
    """Return how many processes to start, or 0 if this process does the work.

    Raises:
        InputError: --processes contradicts the group that this process is one of.
    """
    from bigbatch.processes.device import default_process_count

    if place is None:
        processes: int = options.processes or default_process_count(worker_count)
        return processes if processes > 1 else 0
    if options.processes not in {None, place.world_size}:
        msg = f"--processes {options.processes} within a group of {place.world_size} processes; leave it out"
        raise InputError(msg)
    return 0


def check_outside_group(command: str) -> None:
    """Refuse to run a command as one process of several: it starts processes of its own.

    Raises:
        InputError: torchrun or srun has started this process.
    """
    if find_place(os.environ):
        msg = f"{command} starts its processes itself: run it outside torchrun and srun, with --processes P"
        raise InputError(msg)
