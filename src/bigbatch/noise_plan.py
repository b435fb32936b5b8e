"""How large the minibatch may become, by the gradient noise scale that a run has measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.gradient_noise import smoothed_noise_scale
from bigbatch.run_record import RunRecord, as_number

PARTS: Final = 20  # of a run that an average looks back on
FEWEST: Final = 10  # measurements
BEYOND: Final = 4  # times the noise scale, where the table ends
CAVEAT: Final = (
    "The noise scale tells the order of magnitude at which larger minibatches stop paying, not where accuracy is lost; "
    "it grows while training (McCandlish 2018, arXiv 1812.06162), and the useful limit differs widely between "
    "workloads (Shallue 2018, arXiv 1811.03600): measure it with `bigbatch sweep`."
)


@dataclass(frozen=True)
class Price:
    """What a minibatch size costs to the same loss, beside the reference.

    Attributes:
        minibatch_size: samples per update.
        iterations: times those of the reference.
        samples: times those of the reference.
    """

    minibatch_size: int
    iterations: float
    samples: float


@dataclass(frozen=True)
class NoisePlan:
    """What a run's noise scale says of minibatch sizes.

    Attributes:
        run: its folder.
        early, middle, late: the median noise scale of each third of the training, in samples.
        scale: the median over the whole training.
        prices: of the reference's size, doubled until far past the noise scale.
    """

    run: str
    early: float
    middle: float
    late: float
    scale: float
    prices: tuple[Price, ...]

    @property
    def advice(self) -> str:
        """One sentence, and the caveat."""
        return (
            f"up to about {self.scale:,.0f} samples a larger minibatch saves iterations nearly in proportion; there it "
            f"takes twice the samples, and past it hardly fewer iterations. {CAVEAT}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        thirds = {"early": self.early, "middle": self.middle, "late": self.late}
        scales = {name: None if math.isinf(scale) else scale for name, scale in thirds.items()} | {"whole": self.scale}
        return {"run": self.run, "noise_scale": scales, "prices": [vars(p) for p in self.prices], "caveat": CAVEAT}


def plan_by_noise(run: RunRecord, *, reference: int) -> NoisePlan:
    """Read a run's measurements.

    Args:
        run: a training whose minibatches had at least two workers.
        reference: the minibatch size that the others are compared with.

    Raises:
        InputError: the run has measured too little.
    """
    measured = [line for line in run.iterations if as_number(line.get("gradient_square")) is not None]
    scales = smoothed_noise_scale(
        [as_number(line.get("gradient_square")) for line in measured],
        [as_number(line.get("gradient_variance")) for line in measured],
        horizon=max(1, len(measured) / PARTS),
    )
    if len(measured) < FEWEST:
        msg = (
            f"{run.path} has measured the gradient's noise {len(measured)} times; it takes a training of at least "
            f"{FEWEST} measurements, one every eighth iteration, with at least two workers"
        )
        raise InputError(msg)
    early, middle, late = (_median(scales[i * len(scales) // 3 : (i + 1) * len(scales) // 3]) for i in range(3))
    scale = _median(scales)
    if math.isinf(scale):
        msg = f"{run.path}: the gradient's signal drowns in its noise; measure it at a larger minibatch"
        raise InputError(msg)
    return NoisePlan(str(run.path), early, middle, late, scale, tuple(prices(scale, reference=reference)))


def prices(noise_scale: float, *, reference: int) -> list[Price]:
    """Return what the sizes cost: iterations fall as 1 + noise / B, samples rise as 1 + B / noise (eq. 2.11).

    Both to the same loss, at the rate that is best for each size (McCandlish et al. 2018, arXiv 1812.06162).

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


def _median(scales: Sequence[float | None]) -> float:
    """Return the median, counting what drowns in noise as beyond all others."""
    return median(math.inf if scale is None else scale for scale in scales)
