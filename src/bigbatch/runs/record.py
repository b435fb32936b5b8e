"""A run as its folder or a report's file records it. Both are checked: they may be old, damaged or foreign."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.processes.outcome import ExitCode
from bigbatch.recipe import Recipe, flat_fields
from bigbatch.recipe.file import from_table
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.folder import RunFolder, run_result
from bigbatch.runs.json_table import as_table
from bigbatch.runs.lock import is_locked
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.runs.summary import Attempt, Summary

RUNNING, FINISHED, STOPPED, FAILED = STATUSES = ("running", "finished", "stopped", "failed")
INTERRUPTED: Final = "interrupted"  # its status is "running", but no process writes it
DEEPEST: Final = 16
LARGEST: Final = 2**63


@dataclass(frozen=True)
class KeptMetrics:
    """Lines of metrics.jsonl that another file has kept of a run. The run's folder may be gone."""

    iterations: Sequence[IterationLine]
    epochs: Sequence[EpochLine]


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder records it; what is missing or of the wrong type is None.

    Attributes:
        path: its folder.
        state: running, finished, stopped, failed or interrupted.
        summary: run.json.
        kept: the lines of metrics.jsonl, if they do not come from the folder.
    """

    path: Path
    state: str
    summary: Summary
    kept: KeptMetrics | None = None

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that the run was started with.

        Raises:
            InputError: run.json holds none, or one that this bigbatch refuses.
        """
        return from_table(self.summary.recipe, source=f"the recipe in {self.path / 'run.json'}")

    @cached_property
    def recipe_fields(self) -> dict[str, object]:
        """Every field of the recipe as `section.field`. If this bigbatch refuses the recipe, it is taken unchecked."""
        try:
            fields = flat_fields(self.recipe.to_dict())
        except InputError:
            fields = flat_fields(as_table(self.summary.recipe))
        return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts in run.json, in order; at least one."""
        return self.summary.attempts or (self.summary.attempt,)

    @cached_property
    def iterations(self) -> list[IterationLine]:
        """The iterations' lines of metrics.jsonl, in order. They are read once, at the first use."""
        lines = self.kept.iterations if self.kept else RunFolder(self.path).read_iterations()
        return [line for line in lines if _is_plausible(line.raw)]

    @cached_property
    def epochs(self) -> list[EpochLine]:
        """The epochs' lines of metrics.jsonl, in order. They are read once, at the first use."""
        lines = self.kept.epochs if self.kept else RunFolder(self.path).read_epochs()
        return [line for line in lines if _is_plausible(line.raw)]

    @property
    def num_iterations(self) -> int:
        """How many iterations the run has recorded."""
        recorded = self.summary.iterations if self.has_ended or self.kept else None
        if recorded is not None:
            return recorded
        return self.iterations[-1].iteration + 1 if self.iterations else 0

    @property
    def has_ended(self) -> bool:
        """Whether the run has written how it ended."""
        return self.state in {FINISHED, STOPPED, FAILED}

    @property
    def has_diverged(self) -> bool:
        """Whether a loss, gradient or weight became NaN or infinite. That is a result, as every repetition ends so."""
        return self.state == FAILED and self.summary.exit_code == ExitCode.NOT_FINITE

    @cached_property
    def has_skipped_updates(self) -> bool:
        """Whether an update was left out because it was not finite. Then the run is not the recipe's plain training."""
        may_have = self.kept or RunFolder(self.path).mentions("skipped")
        return bool(may_have) and any(line.skipped for line in self.iterations)

    @property
    def weights(self) -> str | None:
        """The hash of the last weights."""
        return self.summary.weights_sha256 if self.has_ended else None

    @property
    def metric(self) -> Measure:
        """What the run is judged by."""
        return self.summary.metric

    @property
    def result(self) -> float | None:
        """The run's result in its metric's unit; its result so far if it has not ended."""
        recorded = self.summary.result if self.has_ended else None
        if recorded is not None:
            return recorded
        results = [epoch.result for epoch in self.epochs if epoch.result is not None]
        return run_result(results) if results else None

    @property
    def started(self) -> str | None:
        """When the first attempt started (ISO 8601)."""
        return self.attempts[0].started

    def each_attempt(self, *path: str) -> list[object]:
        """Return the values of a field in the attempts, in order. Equal values in a row count once."""
        values: list[object] = []
        for attempt in self.attempts:
            value: object = attempt.to_json()
            for key in path:
                value = as_table(value).get(key)
            if value is not None and (not values or repr(values[-1]) != repr(value)):
                values.append(value)
        return values


def read_record(path: Path) -> RunRecord:
    """Read the record of a run from its folder.

    Raises:
        InputError: it holds no run, or run.json is damaged.
    """
    summary = RunFolder(path).read_summary()
    status = summary.status
    if status not in STATUSES or not _is_plausible(summary.raw):
        msg = f"{path} holds no run (run.json is damaged: {_complaint(status)})"
        raise InputError(msg)
    state = INTERRUPTED if status == RUNNING and not is_locked(path) else str(status)
    return RunRecord(path, state, summary)


def kept_record(path: Path, state: object, summary: object, kept: KeptMetrics) -> RunRecord:
    """Return a run's record from what another file has kept of it.

    Raises:
        InputError: the state is unknown, or a run does not write such a summary.
    """
    if state not in (*STATUSES, INTERRUPTED) or not isinstance(summary, dict) or not _is_plausible(summary):
        msg = f"what was kept of the run {path} is damaged"
        raise InputError(msg)
    return RunRecord(path, str(state), Summary.read(summary), kept)


def _complaint(status: object) -> str:
    if status not in STATUSES:
        return f"its status is none of {', '.join(STATUSES)}"
    return f"it nests deeper than {DEEPEST} levels, or has whole numbers of more than 64 bits"


def _is_plausible(value: object, depth: int = 0) -> bool:
    """Tell whether a run can have written a value: no deep nesting, no huge whole numbers."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth < DEEPEST and all(_is_plausible(item, depth + 1) for item in inner)
    return not isinstance(value, int) or abs(value) < LARGEST
