"""How many seeds a verdict needs: the promised power, counted in simulations."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.study.statistics import CANNOT_TELL, compare, seeds_needed
from bigbatch.study.statistics.seeds import settling_power
from simulations import at_least, at_most, simulated


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize(
    ("true_difference", "stds", "power", "comparisons"),
    [
        (0.0, (0.1, 0.1), 0.8, 1),
        (0.2, (0.1, 0.1), 0.8, 1),
        (0.05, (0.15, 0.05), 0.9, 1),
        (-0.1, (0.2, 0.2), 0.8, 2),
        (0.3, (0.2, 0.1), 0.8, 4),
    ],
)
def test_the_seeds_needed_have_the_promised_power_and_one_fewer_has_not(true_difference, stds, power, comparisons):
    alpha, repetitions = 0.05 / comparisons, 1500
    needed = seeds_needed(stds[0], true_difference, 0.2, reference_std=stds[1], power=power, comparisons=comparisons)
    for num_seeds in (needed - 1, needed):
        computed = settling_power(num_seeds, stds, true_difference, 0.2, alpha)
        assert (computed >= power) == (num_seeds == needed)
        runs = simulated(4, repetitions, num_seeds, [true_difference], std=stds[0], reference_std=stds[1])
        settled = sum(compare(e, r, margin=0.2, alpha=alpha)[0].kind != CANNOT_TELL for e, r in runs)
        assert at_least(settled, repetitions, computed)
        assert at_most(settled, repetitions, computed)


@given(st.floats(-2, 2), st.floats(0.05, 3), st.floats(0, 2), st.integers(2, 40))
@settings(max_examples=100, deadline=None)
def test_above_a_half_the_power_rises_with_the_seeds(true_difference, margin, reference_std, seeds):
    """So the fewest seeds can be found by halving."""
    few, more = (settling_power(n, (1.0, reference_std), true_difference, margin, 0.05) for n in (seeds, seeds + 1))
    assert -1e-9 <= few <= 1 + 1e-9
    assert few < 0.5 or more >= few - 1e-3  # the quadrature's error


def test_seeds_at_the_edges():
    assert seeds_needed(0.0, 0.1, 0.3) == 2
    assert seeds_needed(0.0, 0.0, 0.3, reference_std=0.1) == seeds_needed(0.1, 0.0, 0.3, reference_std=0.0)
    assert seeds_needed(10.0, 0.0, 0.1) is None
    assert "more than 1000 seeds" in compare({1: [0.0, 10.0]}, [0.0, 10.0], margin=0.001)[1].reason
    assert [seeds_needed(0.1, 0.0, 0.2, comparisons=n) for n in (1, 2, 6)] == sorted(
        seeds_needed(0.1, 0.0, 0.2, comparisons=n) for n in (1, 2, 6)
    )
    for bad in ({"std": -1.0}, {"std": math.nan}, {"mean_difference": math.inf}, {"power": 1.0}, {"comparisons": 0}):
        with pytest.raises(InputError):
            seeds_needed(**({"std": 0.1, "mean_difference": 0.0, "margin": 0.2} | bad))
