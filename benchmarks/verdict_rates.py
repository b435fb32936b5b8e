"""How often a verdict is right: false "worse", false "matches", and the power to find a lost size, by simulation.

The rules of `bigbatch.study.statistics.compare` are computed for all simulations at once. The first draws of every
setting are judged by `compare` itself, and both must agree. About two minutes on one core.

Run from the repository's root: python benchmarks/verdict_rates.py [--simulations 40000].
"""

import argparse
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from bigbatch.study.statistics import MATCHES, WORSE, compare
from bigbatch.study.statistics.equivalence import NOISE_BAND_STDS
from bigbatch.study.statistics.lowest_seed import NEAR, p_all_above
from card import write_card

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

ALPHA = 0.05
MEAN, STD = 6.0, 0.1  # of the reference's errors, %
MARGIN = NOISE_BAND_STDS * STD
NARROW = 1e-6  # a margin too narrow for any match, so that no false "worse" hides behind one
MORE = 10  # times as many simulations of "matches", whose rates lie close together
CHECKED = 5  # draws of every setting that `compare` judges too
SEEDS = (2, 3, 5, 10)
SPREADS = (0.2, 1, 2, 4, 10)  # of a size, times the reference's
UNEQUAL = (0.1, 0.2, 0.5, 1, 2, 5, 10)  # the same, for false matches
LOST, TRUSTED = (68.62, 21.91), (8.29, 0.12)  # mean and std of a lost size and of its reference, %
POSSIBLE = (1.0, 90.0)  # %, of the lost size's draws: guessing among ten classes errs in 90 %


PAGE = """\
Each rate is of {n:,} simulations with fixed seeds at alpha = 0.05, of {more:,} for "matches". Standard errors in
percentage points: {errors}. `compare` judged the first draws of each setting, and agreed.

## Power: a lost size is called "worse"
Three seeds a side, 68.62 ± 21.91 % (normal, kept within 1 and 90 %) against 8.29 ± 0.12 %. The other 14 of 15 sizes
are like the reference.

{lost}

Take a size that has the reference's mean but spreads 4 times as widely. Student's test with the reference's spread
alone calls it "worse": {student}.

## False "worse"
A size has the reference's mean, but spreads so many times as widely. The margin is too narrow for any match. The
worst of one and six sizes, and of normal, log-normal and t(3) errors.

{false_worse}

## How far is far
From so many standard deviations above the reference's mean on, a size is "worse" for its lowest seed alone. This is
computed, not simulated.

{far}

## "matches"
One size with the reference's spread. The excess is twice the true standard deviation. So is a stated margin; the
other is estimated from the reference.

{matches}

## False "matches"
The excess is the stated margin. The size spreads 0.1 to 10 times as widely as the reference.

{worst}"""


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw with mean 0 and standard deviation 1, as the next two do."""
    return rng.standard_normal(shape)


def log_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw skewed errors, which spread by 30 %."""
    sigma = math.sqrt(math.log(1.09))
    return (rng.lognormal(-(sigma**2) / 2, sigma, shape) - 1) / 0.3


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw with the heavy tails of t(3)."""
    return rng.standard_t(3, shape) / math.sqrt(3)


class Runs(NamedTuple):
    """Errors of simulated studies: `sizes` (simulations, sizes, seeds) and `reference` (simulations, seeds)."""

    sizes: Floats
    reference: Floats


def simulate(
    simulations: int, seeds: tuple[int, int], sizes: int, excess: float, spread: float, draw: Draw = normal
) -> Runs:
    """Draw sizes that err by so much more than the reference; `seeds` of a size and of the reference."""
    rng = np.random.default_rng(0)
    reference = MEAN + STD * draw(rng, (simulations, seeds[1]))
    return Runs(MEAN + excess + spread * STD * draw(rng, (simulations, sizes, seeds[0])), reference)


def judge(runs: Runs, margin: float | None = None) -> tuple[Bools, Bools]:
    """Return which sizes match and which are worse, both (simulations, sizes); the margin is estimated if None."""
    difference, error, degrees = welch(runs)
    std = runs.reference.std(axis=1, ddof=1)[:, None]
    used = NOISE_BAND_STDS * std if margin is None else margin
    below = holm(special.stdtr(degrees, (difference - used) / error)) <= ALPHA
    differs = holm(2 * special.stdtr(degrees, -abs(difference) / error)) <= ALPHA
    limit = farthest(runs.sizes.shape[2], runs.sizes.shape[1], runs.reference.shape[1])
    distance = (runs.sizes.min(axis=2) - runs.reference.mean(axis=1)[:, None]) / np.maximum(std, used / NOISE_BAND_STDS)
    matches = below | (differs & (difference < 0))
    worse = ~matches & (differs | (distance >= limit))
    check(runs, margin, matches, worse)
    return matches, worse


def welch(runs: Runs) -> tuple[Floats, Floats, Floats]:
    """Return the differences of the means, their standard errors and their degrees of freedom."""
    count, reference_count = runs.sizes.shape[2], runs.reference.shape[1]
    first = runs.sizes.var(axis=2, ddof=1) / count
    second = runs.reference.var(axis=1, ddof=1)[:, None] / reference_count
    degrees = (first + second) ** 2 / (first**2 / (count - 1) + second**2 / (reference_count - 1))
    return runs.sizes.mean(axis=2) - runs.reference.mean(axis=1)[:, None], np.sqrt(first + second), degrees


def holm(p_values: Floats) -> Floats:
    """Adjust the p-values of each row, as `holm_adjusted` does."""
    order = p_values.argsort(axis=1)
    scaled = np.take_along_axis(p_values, order, axis=1) * np.arange(p_values.shape[1], 0, -1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(scaled, axis=1), axis=1)
    return adjusted


def farthest(seeds: int, sizes: int, reference_seeds: int) -> float:
    """Return the distance, in standard deviations, from which on a size is worse for its lowest seed alone."""
    steps = range(200_000)  # of a thousandth
    counts = [seeds] * sizes

    def is_far(step: int) -> bool:
        return 2 * p_all_above(NEAR + step / 1000, counts, reference_seeds) <= ALPHA

    return NEAR + bisect_left(steps, True, key=is_far) / 1000  # noqa: FBT003 - the first for which it is true


def check(runs: Runs, margin: float | None, matches: Bools, worse: Bools) -> None:
    """Let `compare` judge the first draws."""
    for place in range(CHECKED):
        verdicts = compare(dict(enumerate(runs.sizes[place].tolist())), runs.reference[place].tolist(), margin=margin)
        assert [verdict.kind == MATCHES for verdict in verdicts.values()] == matches[place].tolist()
        assert [verdict.kind == WORSE for verdict in verdicts.values()] == worse[place].tolist()


def lost_sizes(simulations: int) -> dict[str, list[float]]:
    """Return how often a lost size is called worse, alone and among 15, of which the others equal the reference."""
    scales: dict[str, Callable[[Floats], Floats]] = {
        "the errors": lambda errors: errors,
        "their logarithms": np.log,
        "their logits": lambda errors: np.asarray(special.logit(errors / 100)),
        "the arcsines of their roots": lambda errors: np.arcsin(np.sqrt(errors / 100)),
    }
    families = [_with_a_lost_size(simulations, sizes) for sizes in (1, 15)]
    powers = {name: [_found(Runs(*map(scale, runs))) for runs in families] for name, scale in scales.items()}
    return powers | {
        "the errors, or the lowest seed (`compare`)": [float(judge(runs)[1][:, 0].mean()) for runs in families]
    }


def _with_a_lost_size(simulations: int, sizes: int) -> Runs:
    rng = np.random.default_rng(0)
    errors = TRUSTED[0] + TRUSTED[1] * rng.standard_normal((simulations, sizes, 3))
    errors[:, 0] = np.clip(LOST[0] + LOST[1] * rng.standard_normal((simulations, 3)), *POSSIBLE)
    return Runs(errors, TRUSTED[0] + TRUSTED[1] * rng.standard_normal((simulations, 3)))


def _found(runs: Runs) -> float:
    """Return how often Welch's test alone, two-sided, finds that the first size is higher."""
    difference, error, degrees = welch(runs)
    differs = holm(2 * special.stdtr(degrees, -abs(difference) / error)) <= ALPHA
    return float((differs & (difference > 0))[:, 0].mean())


def student_false_worse(simulations: int) -> dict[int, float]:
    """Return how often Student's test, with the reference's spread alone, calls a size worse that spreads 4 times."""
    rates = {}
    for seeds in (3, 10):
        runs = simulate(simulations, (seeds, seeds), 1, 0.0, 4)
        error = runs.reference.std(axis=1, ddof=1) * math.sqrt(2 / seeds)
        t = (runs.sizes[:, 0].mean(axis=1) - runs.reference.mean(axis=1)) / error
        rates[seeds] = float((special.stdtr(seeds - 1, -t) <= ALPHA / 2).mean())
    return rates


def false_worse(simulations: int) -> dict[int, list[float]]:
    """Return the rate of any false "worse" by seeds and spread: the worst of 1 and 6 sizes and three distributions."""

    def rate(seeds: int, spread: float, sizes: int, draw: Draw) -> float:
        runs = simulate(simulations, (seeds, seeds), sizes, 0.0, spread, draw)
        return float(judge(runs, NARROW)[1].any(axis=1).mean())

    draws: tuple[Draw, ...] = (normal, log_normal, student)
    kinds = list(product((1, 6), draws))
    return {seeds: [max(rate(seeds, spread, *kind) for kind in kinds) for spread in SPREADS] for seeds in SEEDS}


def match_rate(
    simulations: int, seeds: tuple[int, int], excess: float, margin: float | None, spread: float = 1
) -> float:
    """Return how often one size matches."""
    return float(judge(simulate(simulations, seeds, 1, excess, spread), margin)[0].mean())


def matches_at_margin(simulations: int) -> dict[str, list[float]]:
    """Return the rates of "matches": stated and estimated margin, excess of twice the true std and no excess."""
    cases = {"3": (3, 3), "3 against 10": (3, 10), "5": (5, 5), "10": (10, 10)}
    margins: tuple[float | None, ...] = (MARGIN, None)  # stated, estimated
    kinds = list(product((MARGIN, 0.0), margins))
    return {name: [match_rate(simulations, seeds, *kind) for kind in kinds] for name, seeds in cases.items()}


def worst_false_matches(simulations: int) -> dict[str, list[float]]:
    """Return the worst rate of "matches" at an excess of the stated margin, over unequal spreads."""
    groups: dict[str, list[tuple[int, int]]] = {
        "5 seeds or more on each side": list(product((5, 10), repeat=2)),
        "3 seeds against 3, 5 or 10": [(3, 3), (3, 5), (3, 10)],
        "2 seeds against 10": [(2, 10)],
    }
    return {
        name: [max(match_rate(simulations, seeds, MARGIN, MARGIN, spread) for seeds, spread in product(group, UNEQUAL))]
        for name, group in groups.items()
    }


def main() -> None:
    """Simulate every table, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=40_000)
    n = parser.parse_args().simulations
    result = {
        "simulations": n,
        "lost_size": lost_sizes(n),
        "student": student_false_worse(n),
        "false_worse": false_worse(n),
        "far": {seeds: [farthest(seeds, sizes, seeds) for sizes in (1, 6, 15)] for seeds in SEEDS},
        "matches": matches_at_margin(MORE * n),
        "worst_false_matches": worst_false_matches(MORE * n),
    }
    write_card("verdict_rates", "How often a verdict is right, by simulation", result, page(result))


def page(result: dict[str, Any]) -> str:
    """Lay out the tables."""
    n = result["simulations"]
    limits = [["many (the limit)", *percents([ALPHA, special.ndtr(special.ndtri(ALPHA) / math.sqrt(2)), 1, 1])]]
    return PAGE.format(
        n=n,
        more=MORE * n,
        errors=f"{standard_error(0.05, n)} for a rate of 5 % ({standard_error(0.05, MORE * n)} for "
        f'"matches"), {standard_error(0.5, n)} for 50 % ({standard_error(0.5, MORE * n)})',
        lost=rates_table(["Welch's test on", "1 size", "15 sizes"], result["lost_size"]),
        student=" and ".join(f"{100 * rate:.2f} % ({seeds} seeds a side)" for seeds, rate in result["student"].items()),
        false_worse=rates_table(["seeds a side", *(f"{spread} times" for spread in SPREADS)], result["false_worse"]),
        far=table(
            ["seeds a side", "1 size", "6 sizes", "15 sizes"],
            [[seeds, *(f"{distance:.1f}" for distance in row)] for seeds, row in result["far"].items()],
        ),
        matches=rates_table(
            ["seeds", "excess, stated", "excess, estimated", "no difference, stated", "no difference, estimated"],
            result["matches"],
            limits,
        ),
        worst=rates_table(["seeds", "the worst"], result["worst_false_matches"]),
    )


def standard_error(rate: float, simulations: int) -> str:
    """Return that of a simulated rate, in percentage points."""
    return f"{100 * math.sqrt(rate * (1 - rate) / simulations):.2f}"


def rates_table(header: list[str], rates: Mapping[Any, list[float]], last: Iterable[list[str]] = ()) -> str:
    """Return a table with a row of rates for each key, and more rows."""
    return table(header, [*([key, *percents(row)] for key, row in rates.items()), *last])


def percents(rates: Iterable[float]) -> list[str]:
    """Return rates as text."""
    return [f"{100 * rate:.2f} %" for rate in rates]


def table(header: list[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    main()
