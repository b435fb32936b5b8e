"""How this process was started, to start another one alike, or itself again; without torch."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

COMMAND_LINE: Final = Path("/proc/thread-self/cmdline")  # of the system: an emulator shows its own in /proc/self
ENVIRONMENT: Final = Path("/proc/self/environ")


def python_command() -> list[str]:
    """Return the words that start Python as this process was started.

    They are the interpreter's path, after the emulator of another processor if one runs this process. Without it, what
    this process starts would leave the emulator, silently.
    """
    return [*_emulator(), sys.executable]


def _emulator() -> list[str]:
    with suppress(OSError):
        words = os.fsdecode(COMMAND_LINE.read_bytes()).split("\0")[:-1]
        own = len(sys.orig_argv)
        if words[1 - own :] == sys.orig_argv[1:]:
            return words[:-own]
    return []


def environment_at_start() -> Mapping[str, str]:
    """Return the environment that this process was started with; where the system does not tell, today's."""
    try:
        lines = os.fsdecode(ENVIRONMENT.read_bytes()).split("\0")
    except OSError:
        return os.environ
    return dict(line.split("=", 1) for line in lines if "=" in line)


def start_again(arguments: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by one that runs `python -m bigbatch ARGUMENTS` with more variables; its number is kept."""
    command = [*python_command(), "-m", "bigbatch", *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], command, {**os.environ, **variables})  # noqa: S606 - our own command
