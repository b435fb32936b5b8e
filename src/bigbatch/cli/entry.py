"""From the words of a command to its exit code: parse, run, explain.

A command that needs several processes runs once in the launcher, and again in each process. The launcher is the process
that the user has started: it checks what it can, and starts `python -m bigbatch` with the same words, several times.
Each of these processes finds its place in the environment, and does its share. torchrun and srun are launchers too.
A process that needs other variables than it was started with (`processes/portable.py`) starts itself again, once.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from bigbatch.cli.explain import Explain, tell_our_launcher, tell_torchrun, tell_user, tell_user_all
from bigbatch.processes.interpreter import start_again
from bigbatch.processes.outcome import STORE, ExitCode, Outcome, mark_group_lost, report_outcome
from bigbatch.processes.parent import LAUNCHER, die_with_launcher
from bigbatch.processes.portable import STARTED_AGAIN, VARIABLES, StartAgainError
from bigbatch.processes.stop_signals import leave_signals_to_the_next, notice_signals_early


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code (`ExitCode`). What the user can put right is one line on standard error.

    Args:
        arguments: the words after `bigbatch`; by default those of this process.
    """
    return _run(tell_user, sys.argv[1:] if arguments is None else arguments)


def start() -> int:
    """Run this process's command, and return its exit code. One process of several ends here instead."""
    notice_signals_early(sys.argv[1:])
    if "TORCHELASTIC_ERROR_FILE" in os.environ:  # our launcher, or torchrun, has started it
        die_with_launcher()
        _leave_after(_run_recorded)
    if LAUNCHER in os.environ:  # a sweep has started it
        die_with_launcher()
        del os.environ[LAUNCHER]  # what it starts is no child of the sweep's
    if os.environ.keys() & {"RANK", "SLURM_PROCID"}:  # srun, or another launcher, has started it
        _leave_after(partial(_run, tell_user_all, is_program=True))
    return _run(tell_user, sys.argv[1:], is_program=True)


def _run(explain: Explain, arguments: Sequence[str], *, is_program: bool = False) -> int:
    """Run a command, and explain its error.

    Args:
        explain: tells the error to whom it concerns.
        arguments: of the command.
        is_program: whether this process was started for the command, and may be replaced.
    """
    from bigbatch.cli.parse import run  # imports much, so only when signals are noticed

    try:
        return run(arguments)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, StartAgainError) and is_program and STARTED_AGAIN not in os.environ:
            leave_signals_to_the_next()
            start_again(arguments, {**VARIABLES, STARTED_AGAIN: "1"})
        exit_code = explain(error)
        if exit_code is None:
            raise
        return exit_code


def _run_recorded(arguments: Sequence[str]) -> int:
    """Run a command in a process of an elastic launcher: torch records an error, and the launcher shows it once."""
    from torch.distributed.elastic.multiprocessing.errors import record

    is_ours = STORE in os.environ
    try:
        run = partial(_run, tell_our_launcher if is_ours else tell_torchrun, is_program=True)
        exit_code = record(run)(arguments) or 0
    except (Exception, KeyboardInterrupt):
        mark_group_lost()
        raise
    if exit_code and is_ours:  # an end that a restart would only repeat
        if os.environ["RANK"] == "0":  # the others may not know of an error that it has
            report_outcome(Outcome(exit_code))
        return 0
    return exit_code


def _leave_after(run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run the command, and end this process of several at once: all files are written by then.

    An interpreter that is torn down can abort when one of torch's threads still wants it (pytorch#190489), or wait for
    a message that never comes.
    """
    exit_code: int = ExitCode.FAILURE
    try:
        exit_code = run(sys.argv[1:])
    except SystemExit as end:  # of --help
        exit_code = end.code if isinstance(end.code, int) else ExitCode.FAILURE
    finally:
        with suppress(OSError, ValueError, AttributeError):  # of a stream that is full, closed, or none
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)
