"""One process of a group: three steps, one of another size, have the bits of one process with every all-reduce."""

import gc
import os
import threading

import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import joined
from bigbatch.reduction.local_sum import FlatLayout
from bigbatch.reduction.options import ALL_REDUCES, NATIVE, AggregationOptions
from bigbatch.step.step import Step


class Net(nn.Module):
    """One layer is used by some workers only, one by none; one is frozen; dtypes are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(6, 300), nn.BatchNorm1d(300), nn.Dropout(0.2)
        self.last, self.seldom, self.never = nn.Linear(300, 3), nn.Linear(300, 3), nn.Linear(2, 2)
        self.frozen = nn.Linear(3, 3).requires_grad_(requires_grad=False)
        self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.narrow = nn.Parameter(torch.ones(7, dtype=torch.bfloat16))
        self.turned = nn.Parameter(torch.randn(5, 3).t())  # neither contiguous nor channels-last

    def forward(self, x):
        """Return the logits."""
        hidden = self.drop(self.norm(self.first(x)).relu())
        logits = self.last(hidden) + (self.seldom(hidden) if x[0, 0] > 0 else 0)
        logits = logits * (1 + 1e-3 * (self.narrow.float().mean() - 1))  # hardly there, but for its dtype
        return (
            self.frozen(logits) * self.scale.float() + (logits @ self.turned).sum(1, keepdim=True) * self.turned[:, 0]
        )


def weights(processes, options, *, k, growth=2):
    """Return the state and gradients after three steps, and the workers' norms; the last step is `growth` times k."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    sizes = {"minibatch_size": 4 * k, "worker_minibatch_size": 4}
    step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, aggregation=options, **sizes)
    if processes.world_size == 1:  # the reference: this process alone runs all workers
        step.close()
        step.processes, step.communicator = processes, None
        step.resize(4 * k)
    norms = []
    generator = torch.Generator().manual_seed(1)
    for iteration, size in enumerate((4 * k, 4 * k, 4 * k * growth)):
        if size != step.minibatch_size:
            step.resize(size)
        inputs = torch.randn(size, 6, generator=generator)
        targets = torch.randint(3, (size,), generator=generator)
        batches = [(inputs[4 * j : 4 * j + 4], targets[4 * j : 4 * j + 4]) for j in step.workers]
        loss = step.backward(batches, iteration=iteration, measures_noise=True).loss
        optimizer.step()
        norms += [] if step.aggregation.norms is None else [step.aggregation.norms]
    step.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "bigbatch-communication"]
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert "gradient of never.weight" not in gradients
    return {**model.state_dict(), **gradients, "loss": loss, "norms": torch.stack(norms)}


def buffers_held(processes, k):
    """Return how many gradient buffers a step makes besides torch's own buckets."""
    made = []
    empty = FlatLayout.empty
    FlatLayout.empty = lambda layout: made.append(layout) or empty(layout)
    try:
        weights(processes, AggregationOptions(), k=k, growth=1)
    finally:
        FlatLayout.empty = empty
    return sum(max(layout.numels, default=0) > 1000 for layout in made)  # not those of the statistics


with joined() as machine:
    p = machine.processes.world_size
    for k in (p, 2 * p, 7):
        growth = 2 if k == 7 else 1
        alone = weights(Processes(), AggregationOptions(), k=k, growth=growth)
        cases = [AggregationOptions(all_reduce=name) for name in ALL_REDUCES]
        cases += [AggregationOptions(bucket_mb=size) for size in (1e-6, 0.002, 25)]
        cases += [AggregationOptions(overlap=False), AggregationOptions("native", compression="bfloat16")]
        differs = {}
        for options in cases:
            together = weights(machine.processes, options, k=k, growth=growth)
            assert list(together) == list(alone)
            different = [name for name in alone if not torch.equal(alone[name], together[name])]
            if options.all_reduce != NATIVE:
                assert not different, (options, k, different)
            else:
                torch.testing.assert_close(together, alone, rtol=0.1, atol=0.15, msg=str(options))
            differs[options] = bool(different)
        assert differs[cases[-1]], "the control must fail: rounding to bfloat16 changes the bits"
        assert differs[AggregationOptions("native")] or p == 2, "the control must fail: the backend's sum"
    calls = []

    def raising(outputs, targets):
        calls.append(1)
        if len(calls) == 6:  # the first step calls it twice to look at it, twice on trial, and once more
            raise ArithmeticError
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    step = Step(net, raising, optimizer, minibatch_size=4 * p, worker_minibatch_size=4)
    batch = [(torch.ones(4, 6), torch.zeros(4, dtype=torch.long))]
    step(batch, iteration=0)
    for error in (ArithmeticError, InputError):  # after a failure in the middle, a new Step is asked for
        try:
            step(batch, iteration=1)
        except error:
            continue
        raise AssertionError(len(calls))
    step.close()
    assert [buffers_held(machine.processes, v * p) for v in (1, 2, 4, 8)] == [0, 1, 2, 3], "log2(v), and one to receive"
    gc.collect()
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
