"""The processes that an elastic launcher has started beside this one: has one ended while they meet? Without torch."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from bigbatch.processes.outcome import is_group_lost

PROC: Final = Path("/proc")
OF_AN_ATTEMPT: Final = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
START_SECONDS: Final = 0.2  # a sibling that the launcher is about to start is not yet seen
_has_met = threading.Event()


def note_that_all_have_met() -> None:
    """Note that every group of processes is made. From now on a message that does not come tells who is gone."""
    _has_met.set()


def cannot_go_on() -> bool:
    """Tell, after a signal, whether a process of this attempt has failed, so that the signal is no request to stop.

    Whoever waits for a process that has ended before they met would wait until the timeout: nothing tells it. Its
    launcher then sends SIGTERM. Later, the other processes may have ended well before this one.
    """
    if is_group_lost():
        return True
    if _has_met.is_set() or not lost_siblings(os.environ):
        return False
    time.sleep(START_SECONDS)
    return bool(lost_siblings(os.environ))


def lost_siblings(environment: Mapping[str, str], parent: int | None = None) -> list[int]:
    """Return the local ranks that the launcher has no process for; none where it or the system does not tell.

    Args:
        environment: of this process.
        parent: the launcher's process number; by default that of this process's parent.
    """
    attempt = [environment.get(name) for name in OF_AN_ATTEMPT]
    if None in attempt or "LOCAL_WORLD_SIZE" not in environment:
        return []
    with suppress(OSError, ValueError):
        children = [_environment(number) for number in _children(os.getppid() if parent is None else parent)]
        ours = [child for child in children if [child.get(name) for name in OF_AN_ATTEMPT] == attempt]
        present = {int(child["LOCAL_RANK"]) for child in ours if "LOCAL_RANK" in child}
        if int(environment["LOCAL_RANK"]) in present:
            return sorted(set(range(int(environment["LOCAL_WORLD_SIZE"]))) - present)
    return []


def _children(parent: int) -> Iterator[int]:
    for task in (PROC / str(parent) / "task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _environment(process: int) -> dict[str, str]:
    """Return the environment that a process was started with; nothing if it has ended."""
    with suppress(OSError):
        entries = (PROC / str(process) / "environ").read_bytes().decode(errors="replace").split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)
    return {}
