"""Condense a run's record to what a report needs, at most 200 points a curve. Condensing it again changes nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.runs.record import KeptMetrics, RunRecord
from bigbatch.runs.summary import Summary

MOST_POINTS: Final = 200
LARGEST: Final = 1e30  # larger numbers are not drawn
LAST_EPOCHS: Final = 5  # they are all kept: the result of a run that has not ended is their median
ITERATION_VALUES: Final = ("loss", "learning_rate", "gradient_square", "gradient_variance")
EPOCH_VALUES: Final = ("iteration", "loss", "validation_error", "seconds")
OF_THE_RUN: Final = (
    *("status", "recipe", "seed", "reduction", "data_fingerprint", "all_reduce"),
    *("metric", "result", "final_result"),
    *("iterations", "seconds", "validation_error", "final_validation_error", "weights_sha256"),
    *("error", "exit_code", "stopped_by", "ended_early"),
    *("variant", "is_reference"),  # of a sweep's run, from the sweep's folder
)
OF_AN_ATTEMPT: Final = (
    *("started", "versions", "git", "host", "processes", "threads_per_process", "device", "engine"),
    *("default_dtype", "memory_format", "code", "after"),
)


def condense(run: RunRecord) -> RunRecord:
    """Return the run with what a report needs: neighbouring iterations averaged, numbers of six digits."""
    summary = _only((*OF_THE_RUN, *OF_AN_ATTEMPT), run.summary.to_json())
    summary["iterations"] = run.num_iterations  # the last line that is kept is the middle one of several
    if len(run.attempts) > 1:
        summary["attempts"] = [_only(OF_AN_ATTEMPT, attempt.to_json()) for attempt in run.attempts]
    kept = KeptMetrics(_thin_iterations(run.iterations), _thin_epochs(run.epochs))
    return RunRecord(run.path, run.state, Summary.read(_finite(summary)), kept)


def _only(names: Iterable[str], table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: table[name] for name in names if name in table}


def _thin_iterations(lines: Sequence[IterationLine]) -> list[IterationLine]:
    count = min(len(lines), MOST_POINTS)
    cuts = [i * len(lines) // count for i in range(count + 1)] if count else []
    return [_mean_line(lines[start:stop]) for start, stop in pairwise(cuts)]


def _mean_line(lines: Sequence[IterationLine]) -> IterationLine:
    """Return one line for several: their means, with the iteration and learning rate of the middle one."""
    middle = lines[len(lines) // 2]
    means = {name: _mean(getattr(line, name) for line in lines) for name in ITERATION_VALUES}
    means["learning_rate"] = _mean([middle.learning_rate])
    kept = {name: mean for name, mean in means.items() if mean is not None}
    skipped = {"skipped": True} if any(line.skipped for line in lines) else {}
    return IterationLine.read({"iteration": middle.iteration, **kept, **skipped})


def _thin_epochs(lines: Sequence[EpochLine]) -> list[EpochLine]:
    if len(lines) > MOST_POINTS:
        early, last = lines[:-LAST_EPOCHS], lines[-LAST_EPOCHS:]
        wanted = MOST_POINTS - LAST_EPOCHS
        lines = [*(early[i * len(early) // wanted] for i in range(wanted)), *last]
    return [EpochLine.read({"epoch": line.epoch, **_numbers(line)}) for line in lines]


def _numbers(line: EpochLine) -> dict[str, Any]:
    """Return the numbers of an epoch. Of several metrics the one that judges is kept; errors keep their old name."""
    known: dict[str, Any] = {"iteration": line.iteration, "loss": line.loss, "seconds": line.seconds}
    name = next(iter(line.validation), TOP_1_ERROR.name)
    if name == TOP_1_ERROR.name:
        known["validation_error"] = line.result
    values = {name: _mean([known.get(name)]) for name in EPOCH_VALUES}
    kept = {name: value for name, value in values.items() if value is not None}
    return kept if name == TOP_1_ERROR.name else kept | {"validation": {name: _rounded(line.result)}}


def _rounded(result: float | None) -> float | None:
    """Return a result to six digits, however large it is: the run's own result is the median of the last ones."""
    return float(f"{result:.6g}") if result is not None and math.isfinite(result) else None


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the finite numbers, to six digits; None if there are none."""
    numbers = [float(value) for value in values if value is not None and _is_finite(value)]
    return float(f"{math.fsum(numbers) / len(numbers):.6g}") if numbers else None


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_finite(number: float) -> bool:
    return abs(number) <= LARGEST  # false for NaN
