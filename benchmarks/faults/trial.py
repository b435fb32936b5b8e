"""A training started as a user starts it, watched and harmed from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.02
TINY = ("train", "digits", "--minibatch-size", 64, "--set", "model.width=4")
TINY_STEPS_AN_EPOCH = 20
EPOCHS = 25


@dataclass(frozen=True)
class Row:
    """A line of the table: what was done, what is promised, what was measured, and whether the promise was kept."""

    fault: str
    promise: str
    measured: str
    is_kept: bool


class Trial:
    """A run of the command.

    Args:
        folder: of the run; what it prints goes to a file beside it.
        arguments: of the command, without --output.
        environment: added to this process's own.
    """

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self.folder, self.log = folder, folder.with_suffix(".log")
        self.command = [sys.executable, "-m", "bigbatch", *map(str, arguments), "--output", str(folder)]
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def under_torchrun(cls, folder: Path, torchrun: tuple[object, ...], *arguments: object) -> "Trial":
        """Return a run that torchrun starts, with options of its own; a restart under it needs --resume."""
        trial = cls(folder, *arguments, "--resume")
        trial.command[1:3] = ["-m", "torch.distributed.run", *map(str, torchrun), "-m", "bigbatch"]
        return trial

    def start(self, *more: str) -> "Trial":
        """Start it, once more with --resume for example."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self.command, *more], stdout=log, stderr=log, env=self.environment)
        return self

    def run(self, *more: str, timeout: float = 300) -> int:
        """Start it and wait for its exit code."""
        return self.start(*more).wait(timeout)

    def wait(self, timeout: float = 300) -> int:
        """Return its exit code."""
        assert self.process
        return self.process.wait(timeout)

    def wait_for(self, condition: Callable[[], object], timeout: float = 120) -> float:
        """Wait until the condition holds, and return the seconds that it took.

        Raises:
            TimeoutError: it ended, or took too long; with what it printed.
        """
        assert self.process
        start = time.monotonic()
        while not condition():
            if self.process.poll() is not None or time.monotonic() - start > timeout:
                raise TimeoutError(self.printed())
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return time.monotonic() - start

    def kill(self, pid: int, number: int = signal.SIGKILL) -> bool:
        """Send a signal to a process, and tell whether it was still there."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def launcher(self) -> int:
        """Return the process number of what was started."""
        assert self.process
        return self.process.pid

    def workers(self) -> dict[int, int]:
        """Return the process number of each rank that the launcher has started."""
        found = {}
        for pid in children(self.launcher()):
            rank = environment_of(pid).get("RANK")
            if rank is not None:
                found[int(rank)] = pid
        return found

    def printed(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def summary(self) -> dict[str, Any]:
        """Return run.json, or nothing."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def num_attempts(self) -> int:
        """Return how often the training has begun to train."""
        return len(self.summary().get("attempts", []))

    def iterations(self) -> dict[int, dict[str, Any]]:
        """Return the metrics' line of each iteration; the last one counts."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        except OSError:
            return {}
        found = {}
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if "learning_rate" in line:
                found[line["iteration"]] = line
        return found

    def num_metrics(self) -> int:
        """Return the size of the metrics in bytes: it grows while the training goes on."""
        try:
            return (self.folder / "metrics.jsonl").stat().st_size
        except OSError:
            return 0

    def stale_files(self) -> list[str]:
        """Return the files that a killed writer has left."""
        return stale([path.name for path in self.folder.rglob("*") if path.is_file()])


def stale(names: list[str]) -> list[str]:
    """Return those of a folder's names that a killed writer has left: temporaries, and halves of checkpoints."""
    temporaries = [name for name in names if name.endswith(".tmp") or name.startswith(".tmp")]
    parts = [(name[: len("iteration-000000000")], name.endswith(".json")) for name in names if name[:1] == "i"]
    return temporaries + [stem for stem, is_manifest in set(parts) if parts.count((stem, not is_manifest)) != 1]


@cache
def undisturbed_sha256(*arguments: object) -> str:
    """Return the hash of the weights of an undisturbed run in one process."""
    with TemporaryDirectory() as name:
        trial = Trial(Path(name) / "undisturbed", *arguments, "--processes", 1)
        assert trial.run() == 0, trial.printed()
        return str(trial.summary()["weights_sha256"])


def children(pid: int) -> list[int]:
    """Return the numbers of a process's children."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(number) for number in task.read_text().split()]
        except OSError:
            continue
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with, or nothing if it has gone."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
