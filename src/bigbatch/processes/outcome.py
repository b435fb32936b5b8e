"""How a command ends: its exit codes, and what launched processes tell their launcher that a restart cannot change."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError, NonFiniteError, SaveError


class ExitCode(IntEnum):
    """What a command ends with; 0 if all went well."""

    FAILURE = 1  # of ours
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
    """An end that a restart would only repeat.

    Attributes:
        exit_code: of the command.
        message: what went wrong, if something did.
    """

    exit_code: int
    message: str = ""


def exit_code_of(error: BaseException) -> int | None:
    """Return the exit code of an error that is told in one line, or None for others."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), None)


def report_outcome(outcome: Outcome) -> None:
    """Tell our launcher how the command ended; the first process that does counts."""
    target = _file(Path(os.environ[STORE]).parent)
    own = target.with_name(f"outcome-{os.getpid()}.json")
    own.write_text(json.dumps(asdict(outcome)))
    with suppress(FileExistsError):
        os.link(own, target)  # whole, or not at all, and never over another
    own.unlink()


def read_outcome(folder: Path) -> Outcome | None:
    """Return what the processes have told the launcher whose folder this is."""
    with suppress(OSError, ValueError, TypeError):
        return Outcome(**json.loads(_file(folder).read_text()))
    return None


def note_failure(folder: Path, cause: str) -> None:
    """Leave for the processes of a launcher why an attempt has ended."""
    with (folder / FAILURES).open("a") as file:
        file.write(cause + "\n")


def failure_before() -> str | None:
    """Return why the attempt before this one ended, if our launcher has started this process again."""
    with suppress(OSError, KeyError, IndexError):
        return (Path(os.environ[STORE]).parent / FAILURES).read_text().splitlines()[-1]
    return None


def mark_group_lost() -> None:
    """Tell the processes of this attempt that one of them has failed, or has noticed that another one has."""
    if STORE in os.environ:
        _lost().touch()


def is_group_lost() -> bool:
    """Tell whether a process of this attempt has said that it is lost; only our launcher's processes do."""
    return STORE in os.environ and _lost().exists()


def _lost() -> Path:
    return Path(os.environ[STORE]).with_name(f"lost-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}")


def _file(folder: Path) -> Path:
    return folder / "outcome.json"
