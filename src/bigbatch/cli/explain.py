"""How a command that has failed is explained: to the user in one line, and to a launcher in the launcher's way."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from bigbatch.errors import PeerLostError, ProcessFailedError, ReaderLostError
from bigbatch.printable import printable
from bigbatch.processes.outcome import STORE, ExitCode, Outcome, exit_code_of, read_outcome, report_outcome

LONGEST_LINE: Final = 2_000

# Returns the exit code of the process, or None for an error that is to be raised again: a failure of ours.
Explain: TypeAlias = Callable[[BaseException], int | None]


def tell_user(error: BaseException) -> int | None:
    """Print one line for an error that the user can do something about."""
    match error:
        case _ if exit_code := exit_code_of(error):
            _print_error(error)
            return exit_code
        case ReaderLostError():
            _print_error(error)
            return ExitCode.FAILURE
        case ProcessFailedError():
            print(error if "\n" in str(error) else printable(f"bigbatch: {error}"), file=sys.stderr)
            return ExitCode.FAILURE
        case KeyboardInterrupt():
            print("bigbatch: interrupted; train with --resume goes on from the last checkpoint", file=sys.stderr)
            return ExitCode.INTERRUPTED
        case BrokenPipeError():  # the reader of our output has gone, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FAILURE
    return None


def tell_user_all(error: BaseException) -> int:
    """Print one line, or the traceback of a failure of ours: the process ends before the interpreter would print it."""
    exit_code = tell_user(error)
    if exit_code is None:
        traceback.print_exception(error)
        return ExitCode.FAILURE
    return exit_code


def tell_our_launcher(error: BaseException) -> int | None:
    """Report an end that a restart would only repeat. The process then ends with 0, so that nothing is started again.

    Raises:
        PeerLostError: another process was lost.
    """
    if exit_code := exit_code_of(error):
        report_outcome(Outcome(exit_code, str(error)))
        return 0
    if isinstance(error, RuntimeError) and read_outcome(Path(os.environ[STORE]).parent):
        return 0  # another process has ended first, and reported why
    _raise_if_peer_lost(error)
    return None


def tell_torchrun(error: BaseException) -> None:
    """Print the one line on each machine: torchrun shows a traceback only.

    Raises:
        PeerLostError: another process was lost.
    """
    if exit_code_of(error) and os.environ.get("LOCAL_RANK") == "0":
        _print_error(error)
    _raise_if_peer_lost(error)


def _raise_if_peer_lost(error: BaseException) -> None:
    """Name the error of a collective that torch itself runs, such as DistributedDataParallel's, for what it is."""
    if isinstance(error, RuntimeError) and "gloo/transport" in str(error) and not isinstance(error, PeerLostError):
        from bigbatch.processes.lost_peer import lost

        raise lost(error) from error


def _print_error(error: BaseException) -> None:
    """Print one line, also if the input has line breaks in it; of a very long one its beginning and its end."""
    line = printable(str(error))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 2 :]}"
    print(f"bigbatch: error: {line}", file=sys.stderr)
