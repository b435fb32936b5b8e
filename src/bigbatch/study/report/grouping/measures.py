"""Numbers of a run that figures and tables show: its rate, its workers, what it cost."""

from collections.abc import Callable, Sequence

from bigbatch.errors import InputError
from bigbatch.runs.record import RunRecord, as_number
from bigbatch.study.report.grouping.points import size_of

Cost = Callable[[RunRecord], float | None]


def rate_of(run: RunRecord) -> float | None:
    """Return the rate after scaling; of a recipe that this bigbatch refuses, the highest that was used."""
    try:
        return run.recipe.base_learning_rate
    except InputError:
        rates = [rate for line in run.iterations if (rate := as_number(line.get("learning_rate"))) is not None]
        return max(rates, default=None)


def workers_of(run: RunRecord) -> int | None:
    """Return the number of workers of a minibatch (k)."""
    size, worker = size_of(run), run.recipe_fields.get("worker_minibatch_size")
    return size // worker if size and isinstance(worker, int) and worker > 0 else None


def seconds_of(run: RunRecord) -> float | None:
    """Return how long a run took, over all its attempts."""
    return as_number(run.summary.get("seconds"))


def iterations_of(run: RunRecord) -> float | None:
    """Return the run's number of iterations."""
    return run.num_iterations or None


def mean_cost(runs: Sequence[RunRecord], cost: Cost) -> float | None:
    """Return the mean of a cost over runs; None where none has recorded it."""
    values = [value for run in runs if (value := cost(run)) is not None]
    return sum(values) / len(values) if values else None
