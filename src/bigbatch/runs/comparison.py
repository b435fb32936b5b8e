"""Two runs side by side: what changed, what came of it, where they part, and which change explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bigbatch.runs.contract import Difference, differences_by_contract
from bigbatch.runs.record import RunRecord

RESULTS: Final = ("iterations", "seconds", "validation_error", "final_validation_error", "weights_sha256")
ALWAYS_COMPARED: Final = frozenset({"loss", "learning_rate", "validation_error", "skipped"})
NEVER_COMPARED: Final = frozenset({"seconds", "images_per_second"})  # times are of the machine
# What the learning rate is computed from, and what no loss shows before the first update.
OF_THE_RATE: Final = (
    *("reference.", "minibatch_size", "scaling.", "warmup.", "schedule.", "epochs"),
    *("data", "code.", "git.", "bigbatch", "python"),
)
OF_AN_UPDATE: Final = ("reference.", "scaling.", "warmup.", "schedule.", "epochs", "optimizer.")

Lines = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Parting:
    """The first line of metrics that differs between two runs.

    Attributes:
        unit: "iteration" (counted from 0), or "epoch" (from 1) if evaluations alone differ.
        number: which.
        values: what differs there.
    """

    unit: str
    number: int
    values: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        old, new: the runs.
        inside: what changed inside the contract, and cannot matter.
        outside: what changed outside it, and can.
        parting: the first line of metrics that differs, as far as both have come; None if none does.
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
        """What came of each run, as far as either records it, also where it is the same."""
        old, new = self.old.summary.to_json(), self.new.summary.to_json()
        pairs = {name: (old.get(name), new.get(name)) for name in RESULTS}
        recorded = [Difference(name, *pair) for name, pair in pairs.items() if pair != (None, None)]
        return [Difference("state", self.old.state, self.new.state), *recorded]

    @property
    def has_same_length(self) -> bool:
        """Whether both runs took the same number of iterations."""
        return self.old.num_iterations == self.new.num_iterations

    @property
    def has_same_weights(self) -> bool | None:
        """Whether the weights after the same number of iterations are the same; None if that is not recorded."""
        if self.old.weights is None or self.new.weights is None or not self.has_same_length:
            return None
        return self.old.weights == self.new.weights

    @property
    def is_identical(self) -> bool:
        """Whether neither went further, and something is recorded of both, all of which is the same."""
        if self.parting or self.has_same_weights is False or not self.has_same_length:
            return False
        return bool(self.has_same_weights or self.num_iterations)

    @property
    def explanation(self) -> list[Difference]:
        """What changed outside the contract and can be why the runs part where they part."""
        return [difference for difference in self.outside if _can_explain(difference.name, self.parting)]


def compare(old: RunRecord, new: RunRecord) -> Comparison:
    """Compare two runs by what their folders record."""
    inside, outside = differences_by_contract(old, new)
    iterations = [{line.iteration: line.to_json() for line in run.iterations} for run in (old, new)]
    epochs = [{line.epoch: line.to_json() for line in run.epochs} for run in (old, new)]
    return Comparison(
        old,
        new,
        inside,
        outside,
        parting=find_parting("iteration", *iterations) or find_parting("epoch", *epochs),
        num_iterations=len(iterations[0].keys() & iterations[1].keys()),
        num_epochs=len(epochs[0].keys() & epochs[1].keys()),
    )


def find_parting(unit: str, old: Lines, new: Lines) -> Parting | None:
    """Return the first line that differs, up to the last that the shorter of the runs has; floats to the last bit."""
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
    """Tell whether a change can show first where the runs part."""
    if parting is None or parting.unit == "epoch":
        return True
    values = {value.name for value in parting.values}
    if values == {"learning_rate"}:
        return name.startswith(OF_THE_RATE)
    return parting.number > 0 or "learning_rate" in values or not name.startswith(OF_AN_UPDATE)
