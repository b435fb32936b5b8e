"""A compiled model: the same bits for any number of processes, with and without overlap, and by plain names."""

import os
import warnings

import torch
from torch import nn

from bigbatch import joined
from bigbatch.processes.group import Processes
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step

MINIBATCH_SIZE, N = 24, 4
warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # torch's own, of itself


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))


def weights(processes, options=None, *, is_compiled=True):
    """Return the weights after three steps of these processes, or of this one alone."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sizes = {"minibatch_size": MINIBATCH_SIZE, "worker_minibatch_size": N}
    loss = nn.CrossEntropyLoss(reduction="none")
    step = Step(model, loss, optimizer, is_compiled=is_compiled, aggregation=options, **sizes)
    if processes.world_size == 1:  # the reference: this process alone runs all workers
        step.close()
        step.processes, step.communicator = processes, None
        step.resize(MINIBATCH_SIZE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        inputs, targets = torch.randn(MINIBATCH_SIZE, 6, generator=generator), torch.arange(MINIBATCH_SIZE) % 3
        batches = list(zip(inputs.split(N), targets.split(N), strict=True))
        step([batches[worker] for worker in step.workers])
    step.close()
    return model.state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys() == net().state_dict().keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


with joined() as machine:
    together = weights(machine.processes)
    assert_same(weights(machine.processes, AggregationOptions(overlap=False)), together)
    assert_same(weights(Processes()), together)
    plain = weights(machine.processes, is_compiled=False)
    torch.testing.assert_close(together["0.weight"], plain["0.weight"], atol=1, rtol=1)  # other dropout
    assert not torch.equal(together["0.weight"], plain["0.weight"]), "the control: it was compiled"
os._exit(0)  # as the command does
