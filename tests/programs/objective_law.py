"""One process of a group: every normalisation has the bits of one process, with ragged and empty workers too."""

import torch
from torch import nn
from torch.nn import functional

import bigbatch
from bigbatch.processes.group import Processes
from bigbatch.processes.join import joined
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step

K, N = 7, 2


class Net(nn.Module):
    """One layer is used by the workers of long sequences only, one in the second step only, one by none."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 40), nn.Linear(40, 9)
        self.long, self.late, self.never = nn.Linear(40, 9), nn.Linear(40, 9), nn.Linear(40, 9)

    def forward(self, tokens, *, is_late=False):
        """Return the logits, shape (n, classes, length)."""
        hidden = self.embedding(tokens)
        logits = self.head(hidden)
        logits = logits + self.long(hidden) if tokens.shape[1] > 6 else logits
        return (logits + self.late(hidden) if is_late else logits).transpose(1, 2)


@bigbatch.objective
def by_count(model, batch):
    """Return the summed loss of the tokens, and their number; a constant where there are none."""
    if not (batch["next"] != -100).any():
        return bigbatch.Loss(0.0, 0)
    logits = model(batch["tokens"], is_late=batch["is_late"])
    return bigbatch.Loss(
        functional.cross_entropy(logits, batch["next"], reduction="sum"), (batch["next"] != -100).sum()
    )


@bigbatch.objective
def by_worker(model, batch):
    """Return the worker's own mean, which no sum over samples gives."""
    loss = by_count(model, batch)
    return bigbatch.Loss(loss.total / max(float(loss.weight), 1.0), 1)


@bigbatch.objective
def by_samples(model, batch):
    """Return one loss a sample."""
    logits = model(batch["tokens"], is_late=batch["is_late"])
    return functional.cross_entropy(logits, batch["next"].clamp(min=0), reduction="none").mean(1)


def minibatch(iteration, *, is_ragged):
    """Return the batches of all workers; two have no target, one of them the first."""
    generator = torch.Generator().manual_seed(iteration)
    batches = []
    for worker in range(K):
        size = (N, 3, 1)[worker % 3] if is_ragged else N
        tokens = torch.randint(9, (size, 5 + worker), generator=generator)
        targets = tokens.roll(-1, 1).masked_fill(torch.rand(tokens.shape, generator=generator) < 0.4, -100)
        if worker in {0, 4}:
            targets.fill_(-100)
        batches.append({"tokens": tokens, "next": targets, "is_late": iteration == 1})
    return batches


def train(processes, objective, options):
    """Return the weights after three steps, every gradient on the way, and which parameters had one."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2)
    sizes = {"minibatch_size": K * N, "worker_minibatch_size": N}
    step = Step(model, objective, optimizer, aggregation=options, **sizes)
    if processes.world_size == 1:  # the reference: this process alone runs all workers
        step.close()
        step.processes, step.communicator = processes, None
        step.resize(K * N)
    found = {}
    for iteration in range(3):
        batches = minibatch(iteration, is_ragged=objective is not by_samples)
        result = step.backward([batches[j] for j in step.workers], measures_noise=True)
        found[f"loss {iteration}"] = result.loss
        found[f"noise {iteration}"] = torch.tensor(result.noise.variance)
        found |= {f"{name} {iteration}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
    step.close()
    assert "late.weight 1" in found
    assert not {"late.weight 0", "late.weight 2", "never.weight 1"} & found.keys()
    return {**model.state_dict(), **found}


with joined() as machine:
    for objective in (by_count, by_worker, by_samples):
        alone = train(Processes(), objective, AggregationOptions())
        for options in (AggregationOptions(), AggregationOptions(overlap=False), AggregationOptions(bucket_mb=1e-6)):
            together = train(machine.processes, objective, options)
            assert list(together) == list(alone), (options, set(together) ^ set(alone))
            different = [name for name in alone if not torch.equal(alone[name], together[name])]
            assert not different, (objective, options, different)
