"""The race's referee: every racer does the same work, one at a time, and a racer that ends is named."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def race(monkeypatch):
    """Return the race's modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    known = set(sys.modules)
    import race.__main__ as main_module

    yield main_module
    for name in set(sys.modules) - known:  # other scripts have a `card` of their own
        if name.split(".")[0] in {"race", "card"}:
            del sys.modules[name]


def test_racers_take_turns(race):
    names = ["DDP by hand", "bigbatch, exact"]
    result = race.race_steps("resnet8", 2, names=names, rounds=1, seconds=0.05)
    assert list(result["images_per_second"]) == names
    assert all(value > 0 for value in result["images_per_second"].values())
    assert result["ratios"]["bigbatch, exact"]["bigbatch, exact"] == (1, 1, 1)
    table = race._table([result], "images_per_second", "images/s")
    assert table.count("| resnet8, 2 |") == 2


def test_a_racer_that_ends_is_named(race, monkeypatch):
    monkeypatch.setattr("race.referee.PATIENCE_SECONDS", 60)
    with race.Referee("resnet8", 1) as referee:
        racer = referee.start("bigbatch, exact", samples=256)
        racer.agent.terminate()
        racer.agent.wait(60)
        with pytest.raises((RuntimeError, OSError)):
            racer.turn(256)
