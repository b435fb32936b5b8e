"""Observers: what else gets the lines of metrics.jsonl, each in a process of its own that no training waits for.

An observer may fail, hang, draw random numbers or take memory: it follows the file, so the training never talks to it.
It is told of the end by the end of its input. The training then waits some seconds; a slower one finishes by itself.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bigbatch.printable import printable
from bigbatch.processes.interpreter import python_command
from bigbatch.runs.folder import RunFolder

PROGRAM: Final = ("-m", "bigbatch.integrations.observer")
PATIENCE_SECONDS: Final = 15.0  # after the end


class Observers:
    """The observers of a run, started with the first lines that are written.

    Args:
        folder: of the run.
        names: of the observers, as `launch.observers` has them.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.first_byte = self._size() if names else 0
        self.is_started = False

    def warnings(self) -> Iterator[str]:
        """Start the observers, once; yield a line for each that has failed since the last time."""
        if not self.is_started:
            self.is_started = True
            for name in self.names:
                try:
                    self.running[name] = self._start(name)
                except OSError as error:
                    yield f"warning: the observer {name} could not be started ({error.strerror}); training goes on"
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                yield from self._end(name, process)

    def close(self) -> Iterator[str]:
        """Tell the observers that the training has ended, and yield a line for each that did not finish."""
        for process in self.running.values():
            if process.stdin:
                process.stdin.close()
        until = time.monotonic() + PATIENCE_SECONDS
        for name, process in list(self.running.items()):
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                yield f"warning: the observer {name} is not finished; it goes on by itself, for some minutes at most"
            else:
                yield from self._end(name, process)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        words = [*python_command(), *PROGRAM, str(self.folder.path.resolve()), name, str(self.first_byte)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        with self._log(name).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _end(self, name: str, process: subprocess.Popen[bytes]) -> Iterator[str]:
        del self.running[name]
        if process.stdin:
            process.stdin.close()
        log, text = self._log(name), ""
        with suppress(OSError):  # of a disk that went away, or a log that somebody removed
            text = log.read_text(errors="replace").strip()
            if not text:
                log.unlink()
        if process.returncode:
            last = printable(text.splitlines()[-1]) if text else f"exit code {process.returncode}"
            yield f"warning: the observer {name} has failed, the training has not: {last} ({log})"

    def _log(self, name: str) -> Path:
        return self.folder.path / f"observer-{name.replace(':', '-')}.log"

    def _size(self) -> int:
        metrics = self.folder.path / "metrics.jsonl"
        return metrics.stat().st_size if metrics.is_file() else 0
