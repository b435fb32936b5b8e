"""Each row of docs/not_supported.md is refused by the line that it quotes."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, RandomSampler

import bigbatch
from bigbatch.errors import InputError

PAGE = (Path(__file__).parents[1] / "docs" / "not_supported.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| [^|]+ \|$", PAGE, re.MULTILINE)
SIZES = {"minibatch_size": 4, "worker_minibatch_size": 2}
MINIBATCH = [(torch.randn(2, 3), torch.tensor([0, 1]))] * 2
CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


def step(model=None, loss=CROSS_ENTROPY, *, optimizer=torch.optim.SGD, minibatch=MINIBATCH, **options):
    model = model or nn.Linear(3, 2)
    made = bigbatch.Step(model, loss, optimizer(model.parameters(), lr=0.1), **SIZES, **options)
    return made(minibatch)


class Wrapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.DataParallel(nn.Linear(3, 2))


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3), 0


class SAM(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure):
        closure()


class Proxies(nn.Module):
    def __init__(self):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(2, 2))

    def forward(self, outputs, targets):
        return CROSS_ENTROPY(outputs @ self.proxies, targets)


def under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        step()


class Puts(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs.clone().put_(torch.tensor([0]), torch.ones(1)))


def not_deterministic():
    with bigbatch.joined():
        step(Puts(3, 2))


def divided():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        model = nn.Linear(3, 2)
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh))
        step(model)
    finally:
        torch.distributed.destroy_process_group()


def gathering(outputs, targets):
    torch.distributed.all_reduce(outputs)
    return CROSS_ENTROPY(outputs, targets)


def split_over_devices():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, device="meta"))
    step(model)


TRIALS = [  # in the order of the rows
    [lambda: step(precision="float16")],
    [under_autocast],
    [lambda: step(nn.DataParallel(nn.Linear(3, 2))), lambda: step(Wrapping())],
    [divided],
    [split_over_devices],
    [lambda: step(nn.Sequential(nn.Linear(3, 2), nn.SyncBatchNorm(2)))],
    [lambda: step(loss=gathering)],
    [
        lambda: bigbatch.Minibatches(Stream(), **SIZES),
        lambda: bigbatch.Minibatches((i for i in range(8)), **SIZES),
        lambda: bigbatch.evaluate(nn.Linear(3, 2), Stream()),
    ],
    [lambda: bigbatch.Minibatches(range(8), order=RandomSampler(range(8)), **SIZES)],
    [lambda: step(nn.Embedding(4, 2, sparse=True))],
    [lambda: step(nn.Linear(3, 2, dtype=torch.complex64))],
    [lambda: step(optimizer=torch.optim.LBFGS), lambda: step(optimizer=SAM)],
    [lambda: step(loss=Proxies()), lambda: step(loss=Proxies().forward)],
    [lambda: step(loss=nn.CrossEntropyLoss()), lambda: step(loss=lambda y, t: CROSS_ENTROPY(y, t).mean().reshape(1))],
    [lambda: step(nn.LazyLinear(2))],
    [not_deterministic],
]


@pytest.mark.parametrize(
    ("line", "trial"),
    [(row[1], trial) for row, trials in zip(ROWS, TRIALS, strict=True) for trial in trials],
)
def test_what_is_not_supported_is_refused_by_its_line(line, trial):
    with pytest.raises(InputError) as error:
        trial()
    assert line in str(error.value)
    assert "\n" not in str(error.value)
