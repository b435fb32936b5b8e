"""A step is right, or refuses in one line: never silence, never a traceback."""

import pytest

from programs.hard_models import CASES, outcome

HEX = frozenset("0123456789abcdef")


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_trained_or_refused_in_one_line(name):
    got, expected = outcome(CASES[name]), CASES[name].gives
    assert "\n" not in got
    if expected == "right":
        assert set(got) <= HEX, got
    else:
        assert expected in got


def test_what_becomes_of_a_model_does_not_depend_on_the_processes(group):
    group("refusal_law.py", 2)
