"""run.json: the recipe and data of a run, its attempts, and its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bigbatch.recipe.metrics import TOP_1_ERROR, Measure, read_measure
from bigbatch.runs.json_table import READ, JsonTable, as_number

OLD_NAMES: Final = {"result": "validation_error", "final_result": "final_validation_error"}  # of a top-1 error
MISSING: Final = object()


def _read_metric(table: Mapping[str, Any]) -> Measure:
    return read_measure(table["metric"]) if "metric" in table else TOP_1_ERROR


def _read_result(table: Mapping[str, Any]) -> float | None:
    return _number_named("result", table)


def _read_final_result(table: Mapping[str, Any]) -> float | None:
    return _number_named("final_result", table)


def _number_named(name: str, table: Mapping[str, Any]) -> float | None:
    return as_number(table.get(name if name in table else OLD_NAMES[name]))


@dataclass(frozen=True, kw_only=True)
class Attempt(JsonTable):
    """One start of a run: how, when, where and with what.

    Attributes:
        started: when (ISO 8601).
        argv: the command.
        versions: of Python and of packages.
        git: `commit` of the current folder, and whether it is `dirty`; None outside a repository.
        host: `machine`, `system` and `cores`.
        processes: how many took part.
        threads_per_process: of torch.
        device: the GPU's name, or the CPU's instruction set.
        engine: libraries and settings that the bits depend on besides, by name; not in runs of older versions.
        default_dtype: of torch.
        memory_format: of the model's weights; not in runs of older versions.
        code: hashes of our source and of the user's modules.
        all_reduce: how gradients are summed.
        from_sample: training samples that were used up before.
        after: why the attempt before ended, if a launcher knows.
        length: how long the training is, by the recipe of this attempt; not in runs of older versions.
    """

    started: str | None
    argv: Sequence[Any]
    versions: Mapping[str, Any]
    git: Mapping[str, Any] | None
    host: Mapping[str, Any]
    processes: int | None
    threads_per_process: int | None
    device: str | None
    default_dtype: str | None
    memory_format: str | None
    code: Mapping[str, Any]
    all_reduce: Mapping[str, Any]
    from_sample: int | None
    after: str | None
    length: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Summary(JsonTable):
    """A run as run.json records it; `to_json()` is its table.

    Attributes:
        status: running, finished, stopped or failed.
        recipe: its table, not yet checked.
        seed: of the recipe.
        reduction: exact or native.
        data_fingerprint: of the data.
        metric: that judges the run; top-1 error in one of an older version.
        attempt: the last one, whose fields stand beside these.
        attempts: all of them; none in a run of an older version.
        stopped_by: what ended the run before its last iteration.
        ended_early: why a finished run has taken fewer epochs than planned.
        iterations: updates done.
        seconds: of training and evaluation, over all attempts.
        result: the metric's median over the last 5 epochs, in its unit.
        final_result: the metric after the last epoch.
        weights_sha256: of the last weights.
        average_sha256: of the averaged weights, if the recipe asks for them.
        error: why the run failed.
        exit_code: of a run that failed.
        variant: of a sweep's run, only in a report's file.
        initial_weights: the file that the model started from: `file`, `sha256`, how many tensors were `taken`, and the
            names of those `missing` or `reshaped` in it, and `left`; None if the recipe names none.
        is_reference: whether it is its sweep's reference, only in a report's file.
    """

    status: str | None
    recipe: object
    seed: int | None
    reduction: str | None
    data_fingerprint: str | None
    metric: Measure = field(metadata={READ: _read_metric})
    attempt: Attempt
    attempts: tuple[Attempt, ...]
    stopped_by: str | None = None
    ended_early: str | None = None
    iterations: int | None = None
    seconds: float | None = None
    result: float | None = field(default=None, metadata={READ: _read_result})
    final_result: float | None = field(default=None, metadata={READ: _read_final_result})
    weights_sha256: str | None = None
    average_sha256: str | None = None
    error: str | None = None
    exit_code: int | None = None
    initial_weights: Mapping[str, Any] | None = None
    variant: str | None = None
    is_reference: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the table. A top-1 error has its old names, too, which other programs read."""
        table, before = super().to_json(), {**dict.fromkeys(OLD_NAMES, MISSING), **(self.raw or {})}
        if self.metric == TOP_1_ERROR:
            new = (name for name in OLD_NAMES if name in table and table[name] is not before[name])
            table |= {OLD_NAMES[name]: table[name] for name in new}
        return table
