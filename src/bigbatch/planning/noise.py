"""How large the minibatch may become, judged by the gradient noise scale that a run has measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.runs.record import RunRecord

FEWEST: Final = 10  # measurements
BEYOND: Final = 4  # the table ends at this many times the noise scale
CAVEAT: Final = (
    "The noise scale tells roughly at which size larger minibatches stop paying, not where results get worse. It grows "
    "while training (McCandlish 2018, arXiv 1812.06162). The useful limit differs widely between workloads (Shallue "
    "2018, arXiv 1811.03600): measure it with `bigbatch sweep`."
)


@dataclass(frozen=True)
class Price:
    """What a minibatch size costs until the same loss is reached.

    Attributes:
        minibatch_size: samples per update.
        iterations: as a multiple of the reference's.
        samples: as a multiple of the reference's.
    """

    minibatch_size: int
    iterations: float
    samples: float


@dataclass(frozen=True)
class NoisePlan:
    """What a run's noise scale says of minibatch sizes.

    Attributes:
        run: its folder.
        minibatch_size: of the run.
        measure: what the run is judged by.
        result: of the run; None if it has none. The noise of a run that has learnt nothing is no guide.
        early, middle, late: the noise scale of each third of the training, in samples; infinite if no signal can be
            told from the noise.
        scale: the noise scale of the whole training; early gradients are large, so they count most.
        prices: of the reference's size and its doublings, until far past the noise scale.
    """

    run: str
    minibatch_size: int
    measure: Measure
    result: float | None
    early: float
    middle: float
    late: float
    scale: float
    prices: tuple[Price, ...]

    @property
    def advice(self) -> str:
        """What the noise scale means for the choice of a size, and the caveat."""
        return (
            f"well below {self.scale:,.0f} samples a larger minibatch saves iterations nearly in proportion. At this "
            "size a training takes twice the fewest samples and twice the fewest iterations that any size needs. Far "
            f"above it, a larger minibatch saves hardly any iterations. {CAVEAT}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        thirds = {"early": self.early, "middle": self.middle, "late": self.late}
        scales = {name: None if math.isinf(scale) else scale for name, scale in thirds.items()} | {"whole": self.scale}
        measured = {"minibatch_size": self.minibatch_size, "metric": self.measure.to_json(), "result": self.result}
        if self.measure == TOP_1_ERROR:
            measured["validation_error"] = self.result  # other programs read it
        return {
            "run": self.run,
            **measured,
            "noise_scale": scales,
            "prices": [vars(p) for p in self.prices],
            "caveat": CAVEAT,
        }


def plan_by_noise(run: RunRecord, *, reference: int) -> NoisePlan:
    """Read a run's measurements.

    Args:
        run: a training whose minibatches had at least two workers.
        reference: the minibatch size that the others are compared with.

    Raises:
        InputError: the run has measured too little, no signal, or no noise.
    """
    measured = measured_noise(run)
    if len(measured) < FEWEST:
        msg = (
            f"{run.path} has measured the gradient's noise {len(measured)} times; it takes a training of at least "
            f"{FEWEST} measurements. They are taken every eighth iteration, with at least two workers"
        )
        raise InputError(msg)
    early, middle, late = (
        mean_noise_scale(measured[i * len(measured) // 3 : (i + 1) * len(measured) // 3]) for i in range(3)
    )
    scale = mean_noise_scale(measured)
    if math.isinf(scale):
        msg = f"{run.path}: the gradient's signal drowns in its noise; measure it at a larger minibatch"
        raise InputError(msg)
    if scale <= 0:
        msg = f"{run.path}: the workers' gradients agree, and there is no noise to plan by; are their samples the same?"
        raise InputError(msg)
    costs = tuple(prices(scale, reference=reference))
    size = run.recipe.minibatch_size
    return NoisePlan(str(run.path), size, run.metric, run.result, early, middle, late, scale, costs)


def measured_noise(run: RunRecord) -> list[GradientNoise]:
    """Return a run's estimates of signal and noise, in their order, without those that are not finite."""
    lines = ((line.gradient_square, line.gradient_variance) for line in run.iterations)
    pairs = [(square, variance) for square, variance in lines if square is not None and variance is not None]
    return [GradientNoise(*pair) for pair in pairs if all(map(math.isfinite, pair))]


def mean_noise_scale(measured: Sequence[GradientNoise]) -> float:
    """Return mean tr(Sigma) over mean |G|^2, in samples: a mean of ratios would be biased (arXiv 1812.06162, app. A.1).

    It is infinite if the mean of |G|^2 is not above 0.

    >>> mean_noise_scale([GradientNoise(4.0, 40.0), GradientNoise(1.0, 60.0)])
    20.0
    """
    square = math.fsum(noise.square for noise in measured)
    return math.fsum(noise.variance for noise in measured) / square if square > 0 else math.inf


def prices(noise_scale: float, *, reference: int) -> list[Price]:
    """Return what minibatch sizes B cost: iterations fall as 1 + noise / B, samples rise as 1 + B / noise (eq. 2.11).

    Both count until the same loss, at the best rate of each size (McCandlish et al. 2018, arXiv 1812.06162).

    >>> [(p.minibatch_size, p.iterations, p.samples) for p in prices(64.0, reference=64)]
    [(64, 1.0, 1.0), (128, 0.75, 1.5), (256, 0.625, 2.5)]
    """
    sizes = takewhile(
        lambda size: size <= max(reference, BEYOND * noise_scale), (reference << doubling for doubling in range(64))
    )
    return [
        Price(
            size,
            (1 + noise_scale / size) / (1 + noise_scale / reference),
            (1 + size / noise_scale) / (1 + reference / noise_scale),
        )
        for size in sizes
    ]
