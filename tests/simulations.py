"""Draw errors and judge counts, for the tests of statistics."""

import numpy as np
from hypothesis import strategies as st
from scipy import stats

# Multiples of 1/64: sums and differences of a few are exact in binary, so that equality can be asked for.
ERRORS = st.integers(0, 6400).map(lambda n: n / 64)
RUNS = st.lists(ERRORS, min_size=2, max_size=6)
MARGINS = st.integers(1, 640).map(lambda n: n / 64)
NOISY = RUNS.filter(lambda runs: len(set(runs)) > 1)


def at_most(count, total, rate):
    """Whether this count of `total` is compatible with a rate no higher than `rate`; wrong once in 10,000 times."""
    return stats.binom.sf(count - 1, total, rate) > 1e-4


def at_least(count, total, rate):
    """Whether this count is compatible with a rate no lower than `rate`; wrong once in 10,000 times."""
    return stats.binom.cdf(count, total, rate) > 1e-4


def normal(rng, shape):
    """Draw with mean 0 and standard deviation 1, as the next two do."""
    return rng.standard_normal(shape)


def log_normal(rng, shape, spread=0.3):
    """Draw errors that spread by 30 %, as those of digits do, and so are skewed."""
    sigma = np.sqrt(np.log(1 + spread**2))
    return (rng.lognormal(-(sigma**2) / 2, sigma, shape) - 1) / spread


def student(rng, shape):
    """Draw with the heavy tails of t(3)."""
    return rng.standard_t(3, shape) / np.sqrt(3)


def simulated(seed, repetitions, num_seeds, differences, *, std=0.1, reference_std=0.1, draw=normal):
    """Draw the errors of a reference and of sizes that differ from it so much, again and again."""
    rng = np.random.default_rng(seed)
    reference = (6.0 + reference_std * draw(rng, (repetitions, num_seeds))).tolist()
    noise = std * draw(rng, (repetitions, len(differences), num_seeds))
    sizes = (6.0 + np.array(differences)[:, None] + noise).tolist()
    return zip((dict(enumerate(runs)) for runs in sizes), reference, strict=True)
