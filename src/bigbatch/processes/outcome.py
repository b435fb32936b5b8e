"""How a command ends: its exit codes, and the files through which launched processes and their launcher report it."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError, NonFiniteError, SaveError


class ExitCode(IntEnum):
    """The exit code of a command; 0 means success."""

    FAILURE = 1  # an error in bigbatch
    BAD_INPUT = 2
    NOT_FINITE = 3
    NOT_SAVED = 74  # EX_IOERR of sysexits.h
    STOPPED = 75  # EX_TEMPFAIL: run the same command with --resume to go on
    INTERRUPTED = 130


STORE: Final = "BIGBATCH_STORE"  # the file through which the processes of our launcher find each other
FAILURES: Final = "failures.txt"
EXIT_CODES: Final[dict[type[Exception], int]] = {
    InputError: ExitCode.BAD_INPUT,
    NonFiniteError: ExitCode.NOT_FINITE,
    SaveError: ExitCode.NOT_SAVED,
}


@dataclass(frozen=True)
class Outcome:
    """The end of a command, where a restart would end the same way.

    Attributes:
        exit_code: of the command.
        message: of the error; empty if there was none.
    """

    exit_code: int
    message: str = ""


def exit_code_of(error: BaseException) -> int | None:
    """Return the exit code of an error that is reported in one line, or None for others."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), None)


def report_outcome(outcome: Outcome) -> None:
    """Tell our launcher how the command ended. Only the first report counts."""
    target = _file(Path(os.environ[STORE]).parent)
    own = target.with_name(f"outcome-{os.getpid()}.json")
    own.write_text(json.dumps(asdict(outcome)))
    with suppress(FileExistsError):
        os.link(own, target)  # atomic, and never replaces another report
    own.unlink()


def read_outcome(folder: Path) -> Outcome | None:
    """Return what the processes have reported in their launcher's folder; None if they have not."""
    with suppress(OSError, ValueError, TypeError):
        return Outcome(**json.loads(_file(folder).read_text()))
    return None


def note_failure(folder: Path, cause: str) -> None:
    """Write why an attempt has ended, for the processes of the next one."""
    with (folder / FAILURES).open("a") as file:
        file.write(cause + "\n")


def failure_before() -> str | None:
    """Return why the attempt before ended, if our launcher has started this process again; otherwise None."""
    with suppress(OSError, KeyError, IndexError):
        return (Path(os.environ[STORE]).parent / FAILURES).read_text().splitlines()[-1]
    return None


def mark_group_lost() -> None:
    """Tell the processes of this attempt that one of them has failed."""
    if STORE in os.environ:
        _lost().touch()


def is_group_lost() -> bool:
    """Tell whether `mark_group_lost` was called in this attempt. It works only among our launcher's processes."""
    return STORE in os.environ and _lost().exists()


def _lost() -> Path:
    return Path(os.environ[STORE]).with_name(f"lost-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}")


def _file(folder: Path) -> Path:
    return folder / "outcome.json"
