"""The elbow: where the results leave the reference's for good (arXiv 1706.02677, figure 1)."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.study.statistics.conditions import check_confidence, check_margin
from bigbatch.study.statistics.costs import cost_summary, costs_of, sign_of
from bigbatch.study.statistics.equivalence import NOISE_BAND_STDS, noise_band
from bigbatch.study.statistics.lowest_seed import p_all_above
from bigbatch.study.statistics.summary import Summary, summarise
from bigbatch.study.statistics.welch import FEWEST_SEEDS

Floats = npt.NDArray[np.float64]

DRAWS: Final = 4000
WIDEST: Final = 4  # times the size below: between sizes farther apart, a straight line says nothing about the elbow
DIVERGED: Final = Summary(FEWEST_SEEDS, math.inf, 0.0)  # of a diverged size: surely beyond every level


@dataclass(frozen=True)
class Elbow:
    """Where the mean is first worse than the reference's by more than the margin, and stays so.

    `str()` gives it in a line.

    Attributes:
        minibatch_size: the elbow. None where the mean has not left up to `largest`. Also None where it leaves between
            two sizes of which one is more than 4 times the other: then read `last_within` and `first_beyond`.
        low: the interval's lower end; None where that is beyond `largest` too, or where there is no interval.
        high: the interval's upper end; the same.
        confidence: of the interval.
        level: the result that is left: the reference's mean and the margin together, in the metric's unit.
        margin: in the metric's unit; percentage points for one in %.
        reference: the reference's minibatch size.
        largest: the largest minibatch size measured.
        last_within: the last measured size whose mean is within; at least the reference.
        first_beyond: the measured size after it; None where the mean has not left. Where it jumps between the two, as
            when runs diverge, the elbow can be anywhere between them: then read these two.
        fewest_seeds: of any size that counts; with one there is no interval.
        diverged: sizes of which a run ended in NaN or infinity; they count as beyond.

    >>> print(Elbow(9700.0, 8900.0, None, 0.95, 6.3, 0.3, 256, 16384, 8192, 16384, 3))
    about 9700, between 8192 and 16384 (95 %: 8900 to beyond 16384)
    """

    minibatch_size: float | None
    low: float | None
    high: float | None
    confidence: float
    level: float
    margin: float
    reference: int
    largest: int
    last_within: int
    first_beyond: int | None
    fewest_seeds: int
    diverged: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.first_beyond in self.diverged:  # a jump: no place between the two sizes, and so no interval
            return f"{self._where()}, where runs diverged"
        others = "".join(f"; {size} diverged" for size in self.diverged)
        if self.first_beyond is not None and self.minibatch_size is None:
            return f"{self._where()}; nothing was measured in between{others}"
        return f"{self._where()} ({self._interval()}){others}"

    def _where(self) -> str:
        if self.first_beyond is None:
            return f"not left up to {self.largest}"
        if self.last_within == self.reference:
            return f"already left at {self.first_beyond}, the first size measured above the reference"
        if self.first_beyond in self.diverged or self.minibatch_size is None:
            return f"between {self.last_within} and {self.first_beyond}"
        return f"about {self.minibatch_size:.0f}, between {self.last_within} and {self.first_beyond}"

    def _interval(self) -> str:
        if self.fewest_seeds < FEWEST_SEEDS:
            return "no interval: a size has one seed"
        if self.low is None:
            return f"{100 * self.confidence:g} %: beyond {self.largest}"
        high = f"beyond {self.largest}" if self.high is None else f"{self.high:.0f}"
        return f"{100 * self.confidence:g} %: {self.low:.0f} to {high}"


def find_elbow(
    results: Mapping[int, Sequence[float]],
    *,
    reference: int,
    measure: Measure = TOP_1_ERROR,
    margin: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    diverged: Collection[int] = (),
) -> Elbow:
    """Find where the mean leaves the reference's, interpolated in log2(minibatch size).

    What follows is said of errors. Where higher is better, all of it holds mirrored: for the results' negatives.

    The curve joins the means of the sizes from the reference on by straight lines over log2(minibatch size). The elbow
    is where the curve last rises through the level, mean of the reference + margin. A size above the level that a size
    within it follows has not left for good. Diverged runs count with the error they recorded; a size of which one
    recorded none is beyond every level.

    The interval is a parametric bootstrap's: each mean is drawn 4000 times from its Student's t distribution,
    mean + t(n - 1) * std / sqrt(n), and percentiles of the elbows are taken. Resampling few seeds themselves gives
    intervals that are too short. Simulated coverage of 95 % intervals (nine sizes, 1,500
    hinge-shaped curves):

    =====  ===============  ==========
    seeds  resampled seeds  this
    =====  ===============  ==========
    3      79 to 80 %       99 %
    5      87 to 89 %       97 to 98 %
    10     91 to 92 %       95 to 98 %
    =====  ===============  ==========

    A size whose every seed lies far above the reference (`p_all_above`) is drawn no lower than its lowest seed.

    The interval is about the curve through the measured sizes, not about the error between two of them. No elbow is
    placed between two sizes of which one is more than 4 times the other. An interval that would end there ends at the
    farther of the two. The margin counts as given, also where it is estimated.

    Args:
        results: of every minibatch size, the reference too, one for each seed.
        reference: the reference's minibatch size. Smaller sizes are left out.
        measure: what the results are, and which way is better.
        margin: in the metric's unit (percentage points for %); `noise_band` of the reference's results if None.
        confidence: of the interval.
        seed: of the draws; the same seed gives the same interval (with the same numpy).
        diverged: sizes of which a run ended in NaN or infinity; what `results` says of them does not count.

    Raises:
        InputError: no results of the reference or of a larger size, or a value that is not finite. Or a margin that is
            not positive or cannot be estimated, a confidence out of range, or no scipy.

    >>> elbow = find_elbow({256: [6.0, 6.2], 512: [6.1, 6.2], 1024: [8.1, 8.2]}, reference=256, margin=1.05)
    >>> round(elbow.minibatch_size), elbow.last_within, elbow.first_beyond
    (724, 512, 1024)
    """
    check_confidence(confidence)
    beyond = tuple(sorted(size for size in set(diverged) if size > reference))
    sizes = _sizes(dict.fromkeys(beyond, ()) | dict(results), reference)
    used = noise_band(results[reference]) if margin is None else margin
    check_margin(used)
    runs = [DIVERGED if size in beyond else _costs(results[size], size, measure) for size in sizes]
    means = np.array([[run.mean for run in runs]])
    last = int(last_within(means, used)[0])
    is_wide = last + 1 < len(sizes) and sizes[last + 1] > WIDEST * sizes[last] and sizes[last + 1] not in beyond
    lowest = [math.inf if size in beyond else min(costs_of(results[size], measure)) for size in sizes]
    floors = _floors(lowest, runs, used, confidence)
    low, high = (math.inf, math.inf) if is_wide else _interval(runs, floors, sizes, used, confidence, seed)
    low, high = _gap(low, sizes)[0], _gap(high, sizes)[1]
    return Elbow(
        minibatch_size=None if is_wide else _size(crossings(means, sizes, used)[0]),
        low=_size(low),
        high=_size(high),
        confidence=confidence,
        level=sign_of(measure) * (runs[0].mean + used),
        margin=used,
        reference=reference,
        largest=sizes[-1],
        last_within=sizes[last],
        first_beyond=sizes[last + 1] if last + 1 < len(sizes) else None,
        fewest_seeds=min(run.count for run in runs if run is not DIVERGED),
        diverged=beyond,
    )


def _sizes(results: Mapping[int, Sequence[float]], reference: int) -> list[int]:
    sizes = sorted(size for size in results if size >= reference)
    if reference < 1 or reference not in results or len(sizes) == 1:
        msg = f"an elbow needs results of the reference, {reference}, and of a larger minibatch size; given: "
        raise InputError(msg + (", ".join(map(str, sorted(results))) or "none"))
    return sizes


def _costs(results: Sequence[float], size: int, measure: Measure) -> Summary:
    return cost_summary(summarise(results, name=f"results at {size}"), measure)


def last_within(means: Floats, margin: float) -> npt.NDArray[np.intp]:
    """Return for each curve (a row; its first mean is the reference's) the index of the last mean within the margin."""
    from_the_right = np.argmax((means <= means[:, :1] + margin)[:, ::-1], axis=1)
    return np.asarray(means.shape[1] - 1 - from_the_right)


def crossings(means: Floats, sizes: Sequence[int], margin: float) -> Floats:
    """Return for each curve log2 of the minibatch size where it leaves; infinity where it does not."""
    place = np.log2(np.array(sizes, dtype=float))
    last = last_within(means, margin)
    result = np.full(len(means), np.inf)
    rows = np.flatnonzero(last < len(sizes) - 1)
    left, right = last[rows], last[rows] + 1
    rise = (means[rows, 0] + margin - means[rows, left]) / (means[rows, right] - means[rows, left])
    result[rows] = place[left] + rise * (place[right] - place[left])
    return result


def _interval(
    runs: Sequence[Summary], floors: Floats, sizes: Sequence[int], margin: float, confidence: float, seed: int
) -> tuple[float, float]:
    """Draw every mean from its Student's t distribution above its floor, and take percentiles of the elbows."""
    counts = np.array([run.count for run in runs])
    if counts.min() < FEWEST_SEEDS:
        return math.inf, math.inf
    standard_errors = np.array([run.std for run in runs], dtype=float) / np.sqrt(counts)
    noise = np.random.default_rng(seed).standard_t(counts - 1, (DRAWS, len(runs)))
    means = np.maximum(np.array([run.mean for run in runs]) + standard_errors * noise, floors)
    elbows = np.sort(crossings(means, sizes, margin))
    tail = (1 - confidence) / 2
    return elbows[math.floor(DRAWS * tail)], elbows[math.ceil(DRAWS * (1 - tail)) - 1]


def _floors(lowest: Sequence[float], runs: Sequence[Summary], margin: float, confidence: float) -> Floats:
    """Return the lowest mean to draw for each size: -infinity, or the lowest seed that alone makes it "worse".

    Without it, the draws of a lost size with a very wide spread could lie within the margin.
    """
    floors = np.full(len(runs), -math.inf)
    reference = runs[0]
    if reference.std is None:
        return floors
    spread = max(reference.std, margin / NOISE_BAND_STDS)
    counts = [run.count for run in runs[1:]]
    for place, seed in enumerate(lowest):
        distance = (seed - reference.mean) / spread
        if place and 2 * p_all_above(distance, counts, reference.count) <= 1 - confidence:
            floors[place] = seed
    return floors


def _gap(log2_size: float, sizes: Sequence[int]) -> tuple[float, float]:
    """Return log2 of the two sizes around a place if they are far apart; otherwise the place twice."""
    for left, right in pairwise(sizes):
        if right > WIDEST * left and math.log2(left) < log2_size < math.log2(right):
            return math.log2(left), math.log2(right)
    return log2_size, log2_size


def _size(log2_size: float) -> float | None:
    return float(2**log2_size) if math.isfinite(log2_size) else None
