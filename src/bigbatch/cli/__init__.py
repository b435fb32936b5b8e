"""The command line: `bigbatch plan | train | evaluate | report | bench`."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bigbatch.cli.arguments import parse
from bigbatch.errors import InputError, PeerLostError, ProcessFailedError
from bigbatch.printable import printable

FAILURE: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130
LONGEST_LINE: Final = 2_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 for bad input (one line on standard error). Our own bugs end in a traceback and 1.

    A process that an elastic launcher has started records its error for the launcher, which shows it once.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return _run(arguments)
    from torch.distributed.elastic.multiprocessing.errors import record

    from bigbatch.launch import die_with_parent

    die_with_parent()
    sys.excepthook = lambda *_: None
    exit_code = FAILURE
    try:
        record(_run_launched)(arguments)
        exit_code = 0
    except SystemExit as end:  # of --help
        exit_code = end.code if isinstance(end.code, int) else FAILURE
    finally:
        # What had to be written is written. An interpreter that is torn down can abort when one of torch's threads
        # still wants it (pytorch#190489), or wait for a message that never comes: leave at once.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


def _run(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
        options.run(options, arguments)
    except InputError as error:
        _print_error(error)
        return BAD_INPUT
    except ProcessFailedError as error:
        print(error, file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("bigbatch: interrupted; train with --resume goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    return 0


def _run_launched(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    try:
        options.run(options, arguments)
    except InputError as error:
        if (
            os.environ.get("LOCAL_RANK") == "0" and "BIGBATCH_STORE" not in os.environ
        ):  # torchrun shows a traceback only
            _print_error(error)
        raise
    except RuntimeError as error:
        if "gloo/transport" not in str(error) or isinstance(error, PeerLostError):
            raise
        from bigbatch.reduction.lost_peer import lost

        raise lost(error) from error  # a collective that torch itself runs, such as DDP's


def _print_error(error: InputError) -> None:
    """Print one line, whatever the user's input had in it; of a very long one its beginning and its end."""
    line = printable(str(error))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 2 :]}"
    print(f"bigbatch: error: {line}", file=sys.stderr)
