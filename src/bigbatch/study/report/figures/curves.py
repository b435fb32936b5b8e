"""A run's values over its epochs, and their mean over seeds."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from bigbatch.rules.gradient_noise import smoothed_noise_scale
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.reading.condense import LARGEST

HORIZON, SHORTEST = 20, 5  # the noise scale is averaged over about a 20th of a run, and at least 5 measurements

Curve = list[tuple[float, float]]
CurveOf = Callable[[RunRecord], Curve]


def loss_curve(run: RunRecord) -> Curve:
    """Return the training loss over epochs."""
    return _over_epochs(run, [line.loss for line in run.iterations])


def rate_curve(run: RunRecord) -> Curve:
    """Return the learning rate over epochs."""
    return _over_epochs(run, [line.learning_rate for line in run.iterations])


def result_curve(run: RunRecord) -> Curve:
    """Return the value of the run's metric after each epoch; none that is too large to draw."""
    pairs = ((float(line.epoch), line.result) for line in run.epochs)
    return [(epoch, result) for epoch, result in pairs if result is not None and abs(result) <= LARGEST]


def noise_curve(runs: Sequence[RunRecord]) -> Curve:
    """Return the gradient noise scale (samples) over epochs, from the estimates' means over the runs; may be empty."""
    if not runs:
        return []
    squares, variances = (_mean_by_iteration(runs, name) for name in ("gradient_square", "gradient_variance"))
    both = sorted(squares.keys() & variances.keys())
    scales = smoothed_noise_scale(
        [squares[i] for i in both], [variances[i] for i in both], max(len(both) / HORIZON, SHORTEST)
    )
    pairs = ((epoch_at(runs[0], i), scale) for i, scale in zip(both, scales, strict=True))
    return [(epoch, scale) for epoch, scale in pairs if epoch is not None and scale is not None]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean of curves at the epochs at which all have a value.

    >>> mean_curve([[(1.0, 2.0), (2.0, 4.0)], [(1.0, 4.0)]])
    [(1.0, 3.0)]
    """
    tables = [dict(curve) for curve in curves]
    common = [x for x in tables[0] if all(x in table for table in tables)] if tables else []
    return [(x, sum(table[x] for table in tables) / len(tables)) for x in common]


def epoch_at(run: RunRecord, iteration: int) -> float | None:
    """Return how many epochs had passed after an iteration (counted from 0); None if the run recorded no whole one."""
    marks = [(0, 0), *_epoch_ends(run)]
    if len(marks) == 1:
        return None
    i = min(max(bisect_left([end for end, _ in marks], iteration + 1), 1), len(marks) - 1)
    (start, first), (end, last) = marks[i - 1], marks[i]
    return first + (last - first) * (iteration + 1 - start) / (end - start)


def _epoch_ends(run: RunRecord) -> list[tuple[int, int]]:
    ends: list[tuple[int, int]] = []
    for line in run.epochs:
        if line.iteration is not None and line.iteration > (ends[-1][0] if ends else 0):
            ends.append((int(line.iteration), line.epoch))
    return ends


def _over_epochs(run: RunRecord, values: Sequence[float | None]) -> Curve:
    lines = zip(run.iterations, values, strict=True)
    pairs = ((epoch_at(run, line.iteration), value) for line, value in lines)
    return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]


def _mean_by_iteration(runs: Sequence[RunRecord], name: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run in runs:
        for line in run.iterations:
            if (value := getattr(line, name)) is not None:
                found.setdefault(line.iteration, []).append(value)
    return {iteration: sum(values) / len(values) for iteration, values in found.items()}
