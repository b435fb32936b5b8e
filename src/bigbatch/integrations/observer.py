"""The process of one observer: it follows a run's metrics.jsonl, and hands over line after line until the run ends.

Run by a training: python -m bigbatch.integrations.observer FOLDER NAME FIRST_BYTE. The end of its input is the end of
the training, also of one that was killed.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.integrations.trackers import TRACKERS
from bigbatch.user_code import is_user_code, load_callable

FOLDER: Final = "BIGBATCH_RUN_FOLDER"  # tells an observer of the user's where the run is
SECONDS_BETWEEN_LOOKS: Final = 0.5
SECONDS_AFTER_THE_END: Final = 300  # after which it is ended; the training waits for less

Record = dict[str, Any]


def main() -> int:
    """Follow the run, and return the exit code."""
    folder, name, first_byte = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.environ[FOLDER] = str(folder)
    has_ended = end_of_input()
    try:
        observe = load_callable(name) if is_user_code(name) else TRACKERS[name](folder)
    except (InputError, ImportError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - into the observer's log
        return 2
    follow(folder / "metrics.jsonl", first_byte, observe, has_ended)
    if callable(close := getattr(observe, "close", None)):
        close()
    return 0


def end_of_input() -> threading.Event:
    """Return what is set when this process's input ends. Some minutes later the process ends, also if it hangs."""
    has_ended = threading.Event()

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        signal.alarm(SECONDS_AFTER_THE_END)
        has_ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return has_ended


def follow(path: Path, first_byte: int, observe: Callable[[Record], object], has_ended: threading.Event) -> None:
    """Call `observe` with each line of a file that grows, until the training has ended and all lines are read.

    Args:
        path: of metrics.jsonl.
        first_byte: where the first line of this attempt begins.
        observe: gets each line as a table.
        has_ended: the training.
    """
    at = first_byte
    while True:
        is_whole = has_ended.is_set()
        for record, size in new_lines(path, at):
            observe(record)
            at += size
        if is_whole:
            return
        has_ended.wait(SECONDS_BETWEEN_LOOKS)


def new_lines(path: Path, at: int) -> Iterator[tuple[Record, int]]:
    """Yield the whole lines from a byte on, each with its size in bytes."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(at)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line), len(line)


if __name__ == "__main__":
    sys.exit(main())
