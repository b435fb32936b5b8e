"""The state of each run of a sweep, read from its folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError
from bigbatch.paths import is_file
from bigbatch.recipe.metrics import UNKNOWN, Measure
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.lock import check_unlocked, is_locked
from bigbatch.runs.record import FAILED, FINISHED, INTERRUPTED, RUNNING, RunRecord, read_record
from bigbatch.study.naming import in_full
from bigbatch.study.sweep.jobs import Job, Sweep
from bigbatch.study.sweep.manifest import check_manifest

MISSING: Final = "missing"
SKIPPED: Final = "skipped updates"  # finished, but another training: it left out updates that were not finite
DIVERGED: Final = "diverged"  # a loss or gradient became NaN or infinite: a result, the same whenever it is repeated


@dataclass(frozen=True)
class State:
    """The state of a run of a sweep.

    Attributes:
        kind: missing, running, interrupted, failed, diverged, skipped updates or finished.
        result: in its metric's unit, so far if it is not finished.
        detail: why it failed, or does not count.
        iterations: that it has done; None if unknown.
        seconds: of training, if it is finished.
        measure: what the run is judged by; None if it has not said it.
    """

    kind: str
    result: float | None = None
    detail: str = ""
    iterations: int | None = None
    seconds: float | None = None
    measure: Measure | None = None


def read_state(job: Job) -> State:
    """Read the state of a run. A damaged folder counts as interrupted, because a run resumes only from checkpoints."""
    try:
        record = read_record(job.folder.path)
    except InputError:
        return State(INTERRUPTED if job.folder.exists() else MISSING)
    kind = _kind(record)
    return State(
        kind,
        result=record.result,
        detail=_detail(record, kind),
        iterations=record.num_iterations if record.has_ended else None,
        seconds=record.summary.seconds if kind == FINISHED else None,
        measure=None if record.metric == UNKNOWN else record.metric,
    )


def _detail(record: RunRecord, kind: str) -> str:
    if kind == SKIPPED:
        return "updates that were not finite were left out"
    return record.summary.error or "" if kind in {FAILED, DIVERGED} else ""


def _kind(record: RunRecord) -> str:
    if record.state == FINISHED:
        ended = SKIPPED if record.has_skipped_updates else FINISHED
        return ended if record.result is not None else INTERRUPTED
    if record.state == FAILED:
        return DIVERGED if record.has_diverged else FAILED
    return RUNNING if record.state == RUNNING else INTERRUPTED


def read_states(jobs: Iterable[Job]) -> dict[str, State]:
    """Read the state of each run, by its name."""
    return {job.name: read_state(job) for job in jobs}


def is_to_run(state: State, *, retry_failed: bool) -> bool:
    """Tell whether a run must be started: it has not finished and, unless `retry_failed`, has not diverged."""
    return state.kind not in {FINISHED, SKIPPED} and (retry_failed or state.kind != DIVERGED)


def check_folders(sweep: Sweep) -> None:
    """Refuse folders that hold something else than the sweep's runs; nothing in them changes.

    Raises:
        InputError: one holds another recipe's run, or something else.
    """
    output = sweep.output
    if RunFolder(output).exists() or is_file(output / "run.json"):
        msg = f"{output} is the folder of a run, not of a sweep; choose another --output"
        raise InputError(msg)
    check_manifest(sweep)
    for job in sweep.jobs:
        job.folder.check(job.recipe, resume=True)
    check_measures(sweep, read_states(sweep.jobs))


def check_measures(sweep: Sweep, states: Mapping[str, State]) -> None:
    """Refuse runs that were judged by something else than the others: the code of a metric may have changed.

    Raises:
        InputError: names such a run.
    """
    for name, state in states.items():
        if state.measure not in {None, sweep.measure}:
            msg = (
                f"{sweep.output / name} was judged by {in_full(state.measure)}, not by {in_full(sweep.measure)}; "
                "choose another --output"
            )
            raise InputError(msg)


def check_writers(sweep: Sweep) -> None:
    """Refuse, before anything starts, folders that another process writes to.

    Raises:
        InputError: another sweep or a training writes to one.
    """
    if is_locked(sweep.output):
        msg = f"another sweep is writing to {sweep.output}; wait for it, end it, or choose another --output"
        raise InputError(msg)
    for job in sweep.jobs:
        check_unlocked(job.folder.path)
