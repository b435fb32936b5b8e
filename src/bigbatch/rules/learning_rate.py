"""The learning rate of every iteration: scaled, warmed up and scheduled (arXiv 1706.02677, sections 2 and 5.1)."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from bigbatch.errors import InputError, nearest
from bigbatch.rules.adascale import ADASCALE
from bigbatch.rules.scaling import SCALING_RULES
from bigbatch.rules.schedules import AFTER_WARMUP, SCHEDULES, WARMS_UP, check_options

WARMUPS: Final = ("gradual", "constant", "none")
NUM_PROBES: Final = 100  # places at which a function of the user's is tried before the training


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of every iteration: warmup from the reference rate, then the schedule from the base rate.

    Attributes:
        reference: the reference rate, where warmup starts.
        base: the rate after scaling, before the schedule (eta-hat).
        warmup: "gradual", "constant" or "none".
        warmup_iterations: updates before the base rate is reached.
        schedule: a name in `SCHEDULES`; or a pure function of progress, the share of the training that is over (at
            least 0 and below 1), that returns what the base rate is multiplied by.
        milestone_iterations: first updates after each drop of the step schedule.
        factor: what a drop of the step schedule multiplies the rate by.
        total_iterations: updates of the whole training; the cosine ends there.
        options: of the schedule, by name, as its function in `schedules.py` takes them.
        own_warmup_iterations: updates of a warmup that the reference has of its own; 0 for none.
        own_warmup_start: where that starts, as a share of the rate. It rises to 1 by a constant amount, and multiplies
            what the rest gives.

    Raises:
        InputError: an unknown word, a value out of its bounds, or a function that gives no such factor.

    >>> rate = LearningRate(0.1, 3.2, "gradual", 780, "step", (4680, 9360, 12480), 0.1, 14040)
    >>> [round(rate(iteration), 4) for iteration in (0, 390, 780, 4679, 4680, 14039)]
    [0.1, 1.65, 3.2, 3.2, 0.32, 0.0032]
    """

    reference: float
    base: float
    warmup: str
    warmup_iterations: int
    schedule: str | Callable[[float], float]
    milestone_iterations: tuple[int, ...]
    factor: float
    total_iterations: int
    options: Mapping[str, Any] = field(default_factory=dict)
    own_warmup_iterations: int = 0
    own_warmup_start: float = 0.0

    def __post_init__(self) -> None:
        _check_words(warmup=(self.warmup, WARMUPS))
        _check_numbers(self)
        if callable(self.schedule):
            _check_function(self.schedule)
            return
        _check_words(schedule=(self.schedule, SCHEDULES))
        check_options(self.schedule, self.options)
        if self.schedule == WARMS_UP and self.ramp_iterations:
            msg = f"the schedule '{WARMS_UP}' warms up by itself; give it no other warmup, not the reference's either"
            raise InputError(msg)

    @classmethod
    def scaled(  # noqa: PLR0913 - each is a choice of the recipe
        cls,
        learning_rate: float,
        *,
        reference: int,
        minibatch_size: int,
        epochs: float,
        iterations_per_epoch: int,
        warmup_epochs: float = 5.0,
        warmup: str = "gradual",
        schedule: str | Callable[[float], float] = "cosine",
        milestones: tuple[float, ...] = (),
        factor: float = 0.1,
        scaling: str = "linear",
        own_warmup_epochs: float = 0.0,
        own_warmup_start: float = 0.0,
        **options: Any,  # noqa: ANN401 - each schedule has its own
    ) -> Self:
        """Scale a rate that is trusted at a small minibatch: the whole rule of arXiv 1706.02677 in one call.

        Args:
            learning_rate: the reference rate, trusted at `reference`.
            reference: the minibatch size that it belongs to.
            minibatch_size: samples per update, over all workers (kn).
            epochs: of the whole training.
            iterations_per_epoch: updates of an epoch, `len(minibatches)`.
            warmup_epochs: epochs until the scaled rate is reached. There are none unless the minibatch is larger than
                the reference, and none for a schedule that warms up by itself.
            warmup: "gradual", "constant" or "none".
            schedule: "cosine", "step", "constant", "linear", "polynomial", "warmup-stable-decay", "one-cycle", or a
                function as `LearningRate.schedule` describes it.
            milestones: of the step schedule, in epochs.
            factor: what each milestone multiplies the rate by.
            scaling: a name in `SCALING_RULES`.
            own_warmup_epochs: of a warmup that the reference has of its own, at every size.
            own_warmup_start: where that starts, as a share of the rate.
            options: of the schedule, such as `floor=0.1` of the cosine. `period` is in epochs.

        Raises:
            InputError: an unknown word, or a value out of its bounds.

        >>> rate = LearningRate.scaled(0.1, reference=256, minibatch_size=8192, epochs=90, iterations_per_epoch=156)
        >>> [round(rate(iteration), 4) for iteration in (0, 390, 780, 14039)]
        [0.1, 1.65, 3.2, 0.0]
        """
        _check_words(scaling=(scaling, SCALING_RULES), warmup=(warmup, WARMUPS))
        _check_positive(minibatch_size=minibatch_size, reference=reference)
        sizes = {"minibatch_size": minibatch_size, "reference": reference}
        needed = warmup_needed(warmup_epochs, warmup=warmup, scaling=scaling, schedule=schedule, **sizes)
        if isinstance(options.get("period"), int | float):
            options["period"] *= iterations_per_epoch
        return cls(
            reference=learning_rate,
            base=SCALING_RULES[scaling](learning_rate, **sizes),
            warmup=warmup,
            warmup_iterations=round(needed * iterations_per_epoch),
            schedule=schedule,
            milestone_iterations=tuple(round(epoch * iterations_per_epoch) for epoch in milestones),
            factor=factor,
            total_iterations=round(epochs * iterations_per_epoch),
            options=options,
            own_warmup_iterations=round(own_warmup_epochs * iterations_per_epoch),
            own_warmup_start=own_warmup_start,
        )

    @property
    def ramp_iterations(self) -> int:
        """Updates until both warmups are over."""
        return max(self.warmup_iterations, self.own_warmup_iterations)

    def __call__(self, iteration: float) -> float:
        """Return the rate of the update number `iteration`, counted from 0; it may lie between two of them.

        Raises:
            InputError: a function of the user's gives no finite factor of at least 0.
        """
        return self._rate(iteration) * self._own_warmup(iteration)

    def _rate(self, iteration: float) -> float:
        """Return the rate without the reference's own warmup."""
        if iteration < self.warmup_iterations:
            return self._warmup_rate(iteration)
        if callable(self.schedule):
            return self.base * factor_of(self.schedule, iteration / self.total_iterations)
        start = self.ramp_iterations if self.schedule in AFTER_WARMUP else 0
        if iteration < start or self.total_iterations <= start:
            return self.base
        return SCHEDULES[self.schedule](self.base, iteration - start, self.total_iterations - start, **self._options)

    @property
    def _options(self) -> Mapping[str, Any]:
        if self.schedule == "step":
            return {"milestones": self.milestone_iterations, "factor": self.factor}
        return self.options

    def _own_warmup(self, iteration: float) -> float:
        if iteration >= self.own_warmup_iterations:
            return 1.0
        start, length = self.own_warmup_start, self.own_warmup_iterations
        return gradual_warmup(iteration, start=start, end=1.0, num_iterations=length)

    def _warmup_rate(self, iteration: float) -> float:
        if self.warmup == "constant":
            return self.reference
        return gradual_warmup(iteration, start=self.reference, end=self.base, num_iterations=self.warmup_iterations)


def warmup_needed(
    epochs: float,
    *,
    minibatch_size: int,
    reference: int,
    warmup: str = "gradual",
    scaling: str = "linear",
    schedule: object = "",
) -> float:
    """Return the epochs of warmup: none unless the minibatch is larger than the reference (section 2.2).

    AdaScale needs none either: its gain begins at 1 by itself. Nor does a schedule that warms up by itself.

    >>> warmup_needed(5.0, minibatch_size=8192, reference=256), warmup_needed(5.0, minibatch_size=256, reference=256)
    (5.0, 0.0)
    """
    is_needed = minibatch_size > reference and scaling != ADASCALE and warmup != "none" and schedule != WARMS_UP
    return epochs if is_needed else 0.0


def gradual_warmup(iteration: float, *, start: float, end: float, num_iterations: int) -> float:
    """Go from `start` at iteration 0 to `end` at iteration `num_iterations` by a constant amount (section 2.2).

    >>> [gradual_warmup(i, start=1.0, end=3.0, num_iterations=4) for i in range(5)]
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    return start + (end - start) * iteration / num_iterations


def factor_of(function: Callable[[float], float], progress: float) -> float:
    """Return what a function of the user's makes of the base rate.

    Args:
        function: of progress alone: the same progress always gives the same factor.
        progress: the share of the training that is over, at least 0 and below 1.

    Raises:
        InputError: it returns no finite number of at least 0.

    >>> factor_of(lambda progress: 1 - progress, 0.25)
    0.75
    """
    result = function(progress)
    try:
        factor = math.nan if isinstance(result, str | bytes) else float(result)
    except (TypeError, ValueError):
        factor = math.nan
    if not (math.isfinite(factor) and factor >= 0):
        msg = (
            f"the schedule's function gave {result!r:.40} at progress {progress:g}; "
            "it must return what the base rate is multiplied by, a finite number of at least 0"
        )
        raise InputError(msg)
    return factor


def _check_function(function: Callable[[float], float]) -> None:
    """Try a function over the whole training, twice at each place."""
    for progress in (place / NUM_PROBES for place in range(NUM_PROBES)):
        if factor_of(function, progress) != factor_of(function, progress):
            msg = f"the schedule's function gave two factors at progress {progress:g}; it must depend on nothing else"
            raise InputError(msg)


def _check_words(**choices: tuple[object, Collection[str]]) -> None:
    for name, (word, known) in choices.items():
        if word not in known:
            msg = f"{name} '{word}' is unknown; {nearest(str(word), [*known])}"
            raise InputError(msg)


def _check_numbers(rate: LearningRate) -> None:
    _check_positive(reference=rate.reference, base=rate.base, factor=rate.factor)
    names = ("warmup_iterations", "total_iterations", "own_warmup_iterations", "own_warmup_start")
    counts = {name: getattr(rate, name) for name in names}
    counts |= {f"milestone_iterations[{i}]": value for i, value in enumerate(rate.milestone_iterations)}
    for name, count in counts.items():
        if not (math.isfinite(count) and count >= 0):
            msg = f"{name} must be a number of at least 0, not {count}"
            raise InputError(msg)
    if list(rate.milestone_iterations) != sorted(rate.milestone_iterations):
        msg = f"milestones must rise, not {list(rate.milestone_iterations)}"
        raise InputError(msg)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            msg = f"{name} must be a number above 0, not {value}"
            raise InputError(msg)
