"""A run of a sweep as a process of its own: `bigbatch train` from the recipe in the run's folder."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.processes.interpreter import python_command
from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.parent import LAUNCHER
from bigbatch.recipe import NOT_OF_THE_RESULT, flat_fields
from bigbatch.runs.lock import locked
from bigbatch.runs.record import FAILED, FINISHED, INTERRUPTED
from bigbatch.study.sweep.jobs import Job
from bigbatch.study.sweep.states import DIVERGED, SKIPPED, read_state
from bigbatch.study.sweep.watching import Running, Watch

LOGS: Final = "logs"
TAIL_BYTES: Final = 4096


@dataclass(frozen=True)
class Child:
    """A run in progress, and its process.

    Attributes:
        running: the run.
        process: the one that trains it, or the parent of those that do.
        log: the file of its output.
        log_start: where the output of this process begins in it.
        place: among the runs in progress.
    """

    running: Running
    process: "subprocess.Popen[bytes]"
    log: Path
    log_start: int
    place: int


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        job: the run.
        kind: finished, diverged, interrupted or failed.
        result: in the metric's unit, if it is finished.
        reason: of a failure: the last line of its output, or the signal that killed it.
    """

    job: Job
    kind: str
    result: float | None = None
    reason: str = ""


def start(job: Job, *, processes: int, place: int, environment: Mapping[str, str]) -> Child:
    """Start or resume a run; its output goes to OUTPUT/logs/NAME.log.

    It runs in a session of its own: a terminal's signals reach only the sweep, which passes them on.

    Args:
        job: the run.
        processes: how many train it.
        place: of the run among those in progress.
        environment: variables that are added to this process's own.

    Raises:
        InputError: the folder cannot be written, or another process writes the run.
    """
    folder = job.folder
    with locked(folder.path):
        folder.create(job.recipe)
    log = folder.path.parent / LOGS / f"{job.name}.log"
    command = [*python_command(), "-m", "bigbatch", *training_arguments(job, processes=processes)]
    try:
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            log_start = file.tell()
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, LAUNCHER: str(os.getpid())},
                start_new_session=True,
            )
    except OSError as error:
        msg = f"cannot start the run {folder.path} ({error.strerror})"
        raise InputError(msg) from error
    return Child(Running(job, Watch(folder.path)), process, log, log_start, place)


def training_arguments(job: Job, *, processes: int) -> list[str]:
    """Return the arguments that train a run from the recipe in its folder, or resume it.

    The recipe in the folder may differ from the job's in fields that do not affect the result; these are set.
    """
    old, new = flat_fields(job.folder.recipe.to_dict()), flat_fields(job.recipe.to_dict())
    changed = {key: value for key, value in new.items() if key.startswith(NOT_OF_THE_RESULT) and value != old.get(key)}
    return [
        "train",
        str(job.folder.path / "recipe.toml"),
        f"--output={job.folder.path}",
        "--resume",
        f"--processes={processes}",
        *(f"--set={key}={json.dumps(value)}" for key, value in changed.items()),
    ]


def ending_of(child: Child, *, is_stopping: bool) -> Ending:
    """Return how a run ended, once its process has ended.

    Args:
        child: the run.
        is_stopping: whether it was asked to stop; a run that was still starting may die of the signal.
    """
    job, code = child.running.job, child.process.returncode
    state = read_state(job)
    if state.kind in {FINISHED, SKIPPED}:  # even if its process failed after that
        return Ending(job, FINISHED, result=state.result)
    if code == ExitCode.NOT_FINITE:
        return Ending(job, DIVERGED)
    if code == ExitCode.STOPPED or is_stopping:
        return Ending(job, INTERRUPTED)
    if code < 0:
        return Ending(job, FAILED, reason=f"killed by {signal.Signals(-code).name}")
    return Ending(job, FAILED, reason=_last_line(child) or f"it ended with exit code {code}, and no message")


def _last_line(child: Child) -> str:
    try:
        with child.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(child.log_start, size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said.removeprefix("bigbatch: error: ")
