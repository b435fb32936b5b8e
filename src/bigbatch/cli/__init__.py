"""The command line: a module for each command of `bigbatch`."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from bigbatch.cli.parse import parse
from bigbatch.errors import InputError, NonFiniteError, PeerLostError, ProcessFailedError, SaveError
from bigbatch.printable import printable
from bigbatch.processes.outcome import (
    STORE,
    ExitCode,
    Outcome,
    exit_code_of,
    mark_group_lost,
    read_outcome,
    report_outcome,
)
from bigbatch.processes.parent import LAUNCHER, die_with_launcher

LONGEST_LINE: Final = 2_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code (`outcome`). What the user can put right is one line on standard error."""
    return _run(sys.argv[1:] if arguments is None else arguments)


def start() -> int:
    """Be the process of a command, and return its exit code; one process of several leaves at once instead.

    A process that an elastic launcher has started records its error for the launcher, which shows it once.
    """
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        die_with_launcher()
        _leave_after(_run_recorded)
    if LAUNCHER in os.environ:  # a sweep's run
        die_with_launcher()
        del os.environ[LAUNCHER]  # what it starts is no child of the sweep's
    if os.environ.keys() & {"RANK", "SLURM_PROCID"}:
        _leave_after(_run_shown)
    return main()


def _leave_after(run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run the command, and end the process, one of several, at once: what had to be written is written.

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


def _run_recorded(arguments: Sequence[str]) -> int:
    from torch.distributed.elastic.multiprocessing.errors import record

    try:
        return record(_run_launched)(arguments) or 0
    except (Exception, KeyboardInterrupt):
        mark_group_lost()
        raise


def _run_shown(arguments: Sequence[str]) -> int:
    try:
        return _run(arguments)
    except Exception:  # noqa: BLE001 - shown whole, as the interpreter does before it is torn down
        traceback.print_exc()
        return ExitCode.FAILURE


def _run(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
        return options.run(options, arguments) or 0
    except (InputError, NonFiniteError, SaveError) as error:
        _print_error(error)
        return exit_code_of(error) or ExitCode.FAILURE
    except ProcessFailedError as error:
        print(error if "\n" in str(error) else printable(f"bigbatch: {error}"), file=sys.stderr)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        print("bigbatch: interrupted; train with --resume goes on from the last checkpoint", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE


def _run_launched(arguments: Sequence[str]) -> int:
    """Run a command as one process of several.

    An end that a restart would only repeat goes to our launcher, and the process ends well, so that there is none.
    """
    is_ours = STORE in os.environ
    try:
        options = parse(arguments)
        exit_code: int = options.run(options, arguments) or 0
    except (InputError, NonFiniteError, SaveError) as error:
        exit_code = exit_code_of(error) or ExitCode.FAILURE
        if is_ours:
            report_outcome(Outcome(exit_code, str(error)))
            return 0
        if os.environ.get("LOCAL_RANK") == "0":  # torchrun shows a traceback only
            _print_error(error)
        raise
    except RuntimeError as error:
        if is_ours and read_outcome(Path(os.environ[STORE]).parent):
            return 0  # a peer has ended for a reason of its own, and told it
        if "gloo/transport" not in str(error) or isinstance(error, PeerLostError):
            raise
        from bigbatch.reduction.lost_peer import lost

        raise lost(error) from error  # a collective that torch itself runs, such as DDP's
    if exit_code and is_ours:
        if os.environ["RANK"] == "0":  # the others may not know of an error that it has
            report_outcome(Outcome(exit_code))
        return 0
    return exit_code


def _print_error(error: Exception) -> None:
    """Print one line, whatever the user's input had in it; of a very long one its beginning and its end."""
    line = printable(str(error))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 2 :]}"
    print(f"bigbatch: error: {line}", file=sys.stderr)
