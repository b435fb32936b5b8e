"""What a run's record says in numbers: its size, seed and result, its rate and workers, what it cost."""

from collections.abc import Callable, Sequence
from typing import Final

from bigbatch.errors import InputError
from bigbatch.runs.record import RunRecord
from bigbatch.study.statistics.possible import is_possible

SIZE: Final = "minibatch_size"
OF_THE_SEED: Final = ("seed", "seeds.")

Cost = Callable[[RunRecord], float | None]


def result_of(run: RunRecord) -> float | None:
    """Return a run's result, if its metric can have such a value."""
    result = run.result
    return result if result is not None and is_possible(run.metric, result) else None


def size_of(run: RunRecord) -> int | None:
    """Return a run's minibatch size."""
    return whole_number(run.recipe_fields.get(SIZE))


def seeds_of(run: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return the fields of a run's seeds: runs of one configuration are different samples if these differ."""
    return tuple((k, repr(v)) for k, v in sorted(run.recipe_fields.items()) if k.startswith(OF_THE_SEED))


def rate_of(run: RunRecord) -> float | None:
    """Return the rate after scaling; of a recipe that this bigbatch refuses, the highest that was used."""
    try:
        return run.recipe.base_learning_rate
    except InputError:
        rates = [line.learning_rate for line in run.iterations if line.learning_rate is not None]
        return max(rates, default=None)


def workers_of(run: RunRecord) -> int | None:
    """Return the number of workers of a minibatch (k)."""
    size, worker = size_of(run), run.recipe_fields.get("worker_minibatch_size")
    return size // worker if size and isinstance(worker, int) and worker > 0 else None


def seconds_of(run: RunRecord) -> float | None:
    """Return how long a run took, over all its attempts."""
    return run.summary.seconds


def iterations_of(run: RunRecord) -> float | None:
    """Return the run's number of iterations."""
    return run.num_iterations or None


def mean_cost(runs: Sequence[RunRecord], cost: Cost) -> float | None:
    """Return the mean of a cost over the runs that recorded it; None if none did."""
    values = [value for run in runs if (value := cost(run)) is not None]
    return sum(values) / len(values) if values else None


def whole_number(value: object) -> int | None:
    """Return a value that is a whole number above 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
