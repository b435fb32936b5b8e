"""Counter-based random numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.rules.randomness.keyed import MASK, _mix, below, random_key, random_words, uniform

KEYS = st.integers(0, MASK)


def test_the_mixing_function_is_splitmix64():
    """The first outputs for the state 1234567, as published with the reference implementation."""
    states = np.uint64(1234567) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, 6, dtype=np.uint64)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert _mix(states).tolist() == expected


@given(KEYS, st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(1, 5))
def test_a_row_depends_on_its_counter_alone(key, counters, num_words):
    together = random_words(key, np.array(counters), num_words)
    for row, counter in zip(together, counters, strict=True):
        assert np.array_equal(row, random_words(key, np.array([counter]), num_words)[0])


@given(KEYS, st.integers(1, 1000))
def test_ranges(key, bound):
    words = random_words(key, np.arange(100))
    assert ((uniform(words) >= 0) & (uniform(words) < 1)).all()
    assert ((below(words, bound) >= 0) & (below(words, bound) < bound)).all()


def test_words_are_uniform_and_uncorrelated():
    values = uniform(random_words(random_key("test", 0), np.arange(20_000), 2))
    assert np.abs(values.mean(0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(values.T)[0, 1]) < 0.03
    assert np.abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.03


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_a_key_depends_on_purpose_and_every_number(numbers):
    key = random_key("a", *numbers)
    assert 0 <= key <= MASK
    assert key != random_key("b", *numbers)
    for i in range(len(numbers)):
        assert key != random_key("a", *numbers[:i], numbers[i] ^ 1, *numbers[i + 1 :])
