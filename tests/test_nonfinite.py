"""NaN and infinity: found in the sums, traced to workers by running them again, and never in the weights."""

import pytest
import torch
from torch import nn

from bigbatch.step.step import Step
from bigbatch.training.nonfinite import find_nonfinite_workers

LOSS = nn.CrossEntropyLoss(reduction="none")


def made(workers=5):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Step(model, LOSS, optimizer, minibatch_size=4 * workers, worker_minibatch_size=4)


def blocks(workers=5, seed=1, **bad):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(workers, 4, 3, generator=generator)
    for worker, value in bad.items():
        inputs[int(worker[1:]), 2, 1] = float(value)
    return [(block, torch.tensor([0, 1, 0, 1])) for block in inputs]


def test_a_good_step_is_finite_and_asks_for_nothing():
    step = made()
    outcome = step.backward(blocks(), iteration=0)
    assert outcome.is_finite
    assert outcome.requests == frozenset()


@pytest.mark.parametrize(("bad", "workers"), [({"w3": "nan"}, [3]), ({"w0": "inf", "w4": "-inf"}, [0, 4])])
def test_the_workers_are_found_and_the_model_is_as_before(bad, workers):
    step = made()
    step(blocks(), iteration=0)
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    minibatch = blocks(seed=2, **bad)
    result = step.backward(minibatch, iteration=1)
    assert not result.is_finite
    step.undo()
    assert find_nonfinite_workers(step, minibatch, iteration=1) == workers
    assert all(torch.equal(value, step.model.state_dict()[name]) for name, value in before.items())


def test_the_step_after_a_skipped_one_is_as_if_that_had_not_been():
    hashes = []
    for bad in ({"w2": "nan"}, None):
        step = made()
        step(blocks(), iteration=0)
        if bad:
            step.backward(blocks(seed=2, **bad), iteration=1)
            step.undo()
        step(blocks(seed=3), iteration=2)
        hashes.append({name: value.tolist() for name, value in step.model.state_dict().items()})
        hashes[-1].pop("1.num_batches_tracked")
    assert hashes[0] == hashes[1]


def test_a_sum_that_only_overflows_is_no_fault_but_one_over_the_workers_is_nobodys():
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = Step(model, lambda y, _: y[:, 0] - y[:, 1], optimizer, minibatch_size=2, worker_minibatch_size=1)
    large = torch.tensor([[3e38]])
    result = step.backward(
        [(large, torch.zeros(1))] * 2, iteration=0
    )  # gradients of 1.5e38 + 1.5e38: large, but finite
    assert result.is_finite
    step.started().worker_pass.minibatch_size = 1  # as a loss that is too large by k would
    result = step.backward([(large, torch.zeros(1))] * 2, iteration=0)
    assert not result.is_finite
    step.undo()
    assert find_nonfinite_workers(step, [(large, torch.zeros(1))] * 2, iteration=0) == []


def test_what_a_process_asks_for_all_hear_of():
    step = made()
    result = step.backward(blocks(), iteration=0, requests={"stop", "save"})
    assert result.requests == {"stop", "save"}
    result = step.backward(blocks(), iteration=1)
    assert result.requests == set()


def test_a_running_statistic_alone_may_be_infinite_and_is_traced_too():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("largest", torch.zeros(()))

        def forward(self, x):
            self.largest.copy_(x.detach().max() if x[0, 0] < 100 else torch.inf)
            return x.clamp(max=10)

    torch.manual_seed(0)
    model = nn.Sequential(Seen(), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sizes = {"minibatch_size": 12, "worker_minibatch_size": 4}
    step = Step(model, LOSS, optimizer, buffers={"0.largest": "mean"}, **sizes)
    minibatch = blocks(3)
    minibatch[1][0][0, 0] = 1000.0
    result = step.backward(minibatch, iteration=0)
    assert not result.is_finite
    step.undo()
    assert find_nonfinite_workers(step, minibatch, iteration=0) == [1]
    assert step.started().state.is_finite()
