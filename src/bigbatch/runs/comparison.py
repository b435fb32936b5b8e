"""Two runs side by side: what changed, their results, where they first differ, and which change explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.runs.contract import Difference, differences_by_contract
from bigbatch.runs.metrics import OLD_NAME, EpochLine
from bigbatch.runs.record import RunRecord
from bigbatch.runs.summary import OLD_NAMES

ALWAYS_COMPARED: Final = frozenset({"loss", "learning_rate", "skipped"})
NEVER_COMPARED: Final = frozenset(
    # Times depend on the machine; the last is an expectation.
    {"seconds", "data_seconds", "images_per_second", "total_epochs"}
)
# The learning rate is computed from the first; the second have no effect on a loss before the first update.
OF_THE_RATE: Final = (
    *("reference.", "minibatch_size", "scaling.", "warmup.", "schedule.", "epochs", "iterations", "samples"),
    *("data", "code.", "git.", "bigbatch", "python"),
)
OF_AN_UPDATE: Final = (
    *("reference.", "scaling.", "warmup.", "schedule.", "epochs", "iterations", "samples", "optimizer."),
    *("metrics", "evaluation."),
)

Lines = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Parting:
    """The first line of metrics that differs between two runs.

    Attributes:
        unit: "iteration" (counted from 0), or "epoch" (from 1) if evaluations alone differ.
        number: of the iteration or epoch.
        values: that differ there.
    """

    unit: str
    number: int
    values: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        old, new: the runs.
        inside: changes inside the contract, which cannot change the bits.
        outside: changes outside it, which can.
        parting: the first line of metrics that differs, up to the end of the shorter run; None if none does.
        num_iterations, num_epochs: lines that both have.
    """

    old: RunRecord
    new: RunRecord
    inside: Sequence[Difference]
    outside: Sequence[Difference]
    parting: Parting | None
    num_iterations: int
    num_epochs: int

    @property
    def results(self) -> list[Difference]:
        """The results that a run records, also those that are the same in both."""
        is_error = self.old.metric == self.new.metric == TOP_1_ERROR
        old, new = _results_of(self.old, is_error=is_error), _results_of(self.new, is_error=is_error)
        differences = [Difference(name, old[name], new[name]) for name in old]
        return [pair for pair in differences if (pair.old, pair.new) != (None, None)]

    @property
    def has_same_length(self) -> bool:
        """Whether both runs took the same number of iterations."""
        return self.old.num_iterations == self.new.num_iterations

    @property
    def has_same_weights(self) -> bool | None:
        """Whether both have the same weights; None if that is not recorded, or they took different numbers of steps."""
        if self.old.weights is None or self.new.weights is None or not self.has_same_length:
            return None
        return self.old.weights == self.new.weights

    @property
    def is_identical(self) -> bool:
        """Whether both have the same length, and all that they record is the same; False if they record nothing."""
        if self.parting or self.has_same_weights is False or not self.has_same_length:
            return False
        return bool(self.has_same_weights or self.num_iterations)

    @property
    def explanation(self) -> list[Difference]:
        """The changes outside the contract that can be the reason why the runs first differ there."""
        return [difference for difference in self.outside if _can_explain(difference.name, self.parting)]


def compare(old: RunRecord, new: RunRecord) -> Comparison:
    """Compare two runs by what their folders record."""
    inside, outside = differences_by_contract(old, new)
    iterations = [{line.iteration: line.to_json() for line in run.iterations} for run in (old, new)]
    epochs = [{line.epoch: _epoch_values(line, run.metric) for line in run.epochs} for run in (old, new)]
    return Comparison(
        old,
        new,
        inside,
        outside,
        parting=find_parting("iteration", *iterations) or find_parting("epoch", *epochs),
        num_iterations=len(iterations[0].keys() & iterations[1].keys()),
        num_epochs=len(epochs[0].keys() & epochs[1].keys()),
    )


def _results_of(run: RunRecord, *, is_error: bool) -> dict[str, object]:
    """Return a run's results; those of two runs that are judged by their top-1 error have the old names."""
    summary, names = run.summary, OLD_NAMES.values() if is_error else OLD_NAMES
    results = dict(zip(names, (summary.result, summary.final_result), strict=True))
    judged = {} if is_error else {"metric": run.metric.heading}
    return {
        "state": run.state,
        "iterations": summary.iterations,
        "seconds": summary.seconds,
        **judged,
        **results,
        "weights_sha256": summary.weights_sha256,
    }


def _epoch_values(line: EpochLine, metric: Measure) -> dict[str, Any]:
    """Return an epoch's values, each metric's by its name; that of the run's own metric also if it is missing."""
    table = {name: value for name, value in line.to_json().items() if name not in {"validation", OLD_NAME}}
    values = {metric.name: None, **line.validation}
    return table | {OLD_NAME if name == TOP_1_ERROR.name else name: value for name, value in values.items()}


def find_parting(unit: str, old: Lines, new: Lines) -> Parting | None:
    """Return the first line that differs, up to the end of the shorter run. Floats are compared to the last bit."""
    last = min(max(old, default=-1), max(new, default=-1))
    for number in sorted(old.keys() | new.keys()):
        if number > last:
            break
        if values := _differing(old.get(number, {}), new.get(number, {})):
            return Parting(unit, number, values)
    return None


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = (old.keys() & new.keys() | (old.keys() | new.keys()) & ALWAYS_COMPARED) - NEVER_COMPARED
    # repr tells 0.0 from -0.0 and every other two floats apart, and NaN is NaN.
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in sorted(names, key=lambda name: (name != "loss", name))
        if repr(old.get(name)) != repr(new.get(name))
    )


def _can_explain(name: str, parting: Parting | None) -> bool:
    """Tell whether the first effect of a change can be where the runs first differ."""
    if parting is None or parting.unit == "epoch":
        return True
    values = {value.name for value in parting.values}
    if values == {"learning_rate"}:
        return name.startswith(OF_THE_RATE)
    return parting.number > 0 or "learning_rate" in values or not name.startswith(OF_AN_UPDATE)
