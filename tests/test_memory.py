"""How many gradients a step holds at a time, counted by torch's profiler."""

import gc
import importlib
import weakref
from math import ceil, log2
from pathlib import Path

import pytest
import torch
from torch import nn

from bigbatch.step.step import Step

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu"
ROOM = 0.02  # of a gradient: activations, and sums of statistics
BUCKETS = 1  # gradients that DistributedDataParallel holds all the time, where processes sum through it


@pytest.fixture
def figures(monkeypatch):
    """Return the function that measures, of the script for a GPU."""
    monkeypatch.syspath_prepend(SCRIPT)
    return importlib.import_module("memory").figures


@pytest.mark.parametrize("worker_count", [1, 2, 3, 6, 8, 16])
def test_a_step_holds_a_gradient_for_each_level_of_the_tree_and_one_more(figures, worker_count):
    """The sum and a worker's own are two, also if there is one worker."""
    found = figures("cpu", "linear-tiny", worker_count)
    allowed = max(1, ceil(log2(worker_count))) + 1
    assert allowed - 1 < found["exact"] < allowed + ROOM
    assert found["exact, in a group"] < allowed + BUCKETS + ROOM


def test_what_a_step_held_is_freed_as_soon_as_it_is_not_needed():
    """At once, not when Python next looks for circles: a GPU's memory would not last until then."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=8, worker_minibatch_size=2)
    batch = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    gc.disable()
    try:
        for size in (8, 12):
            step.resize(size)
            step([batch] * len(step.workers))
            sums = [weakref.ref(each) for each in (step.aggregation.gradients, step.aggregation.statistics)]
            step.resize(4)
            assert [each() for each in sums] == [None, None]
    finally:
        gc.enable()
