"""A batch that does not fit into memory: one line, with the number of samples that do."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.errors import InputError
from bigbatch.step.memory import first_samples

LIMITED = """
import resource, torch, bigbatch
from torch import nn

class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 10)

    def forward(self, inputs):
        return self.linear(inputs) + (inputs[:, :1, None] * torch.ones(1, 5_000_000, 1)).mean(1)

torch.set_num_threads(1)
data = [(torch.zeros(4), 0)] * 64
minibatches = bigbatch.Minibatches(data, minibatch_size=64, worker_minibatch_size=32)
model = Large()
step = bigbatch.Step(
    model, nn.CrossEntropyLoss(reduction="none"), torch.optim.SGD(model.parameters(), 0.1), minibatches
)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 600_000_000,) * 2)
try:
    step(next(iter(minibatches.epoch(0))))
except bigbatch.InputError as error:
    print(error)
"""


class Limited(nn.Module):
    """A model that has memory for so many samples."""

    def __init__(self, most):
        super().__init__()
        self.linear = nn.Linear(4, 10)
        self.most = most

    def forward(self, inputs):
        """Compute, or find no memory."""
        if len(inputs) > self.most:
            msg = "CUDA out of memory. Tried to allocate 2.00 GiB."
            raise torch.OutOfMemoryError(msg)
        return self.linear(inputs)


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (31, "out of memory in a worker's pass over 32 samples; 16 fit; .* --set worker_minibatch_size=16 or less"),
        (3, "2 fit"),
        (1, "1 fit"),
        (0, "not even one fits: take a smaller model"),
    ],
)
def test_it_says_how_many_samples_fit(most, said):
    model = Limited(most)
    minibatches = bigbatch.Minibatches([(torch.zeros(4), 0)] * 64, minibatch_size=64, worker_minibatch_size=32)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    step = bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatches)
    with pytest.raises(InputError, match=said):
        step(next(iter(minibatches.epoch(0))))


def test_other_errors_stay_what_they_are():
    model = nn.Sequential(nn.Linear(4, 10), nn.Linear(3, 1))
    minibatches = bigbatch.Minibatches([(torch.zeros(4), 0)] * 64, minibatch_size=64, worker_minibatch_size=32)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    step = bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatches)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        step(next(iter(minibatches.epoch(0))))


def test_a_real_limit():
    """20 MB a sample, of which 600 MB hold fewer than 32."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert "out of memory in a worker's pass over 32 samples; " in done.stdout, done.stderr
    assert " fit; " in done.stdout


def test_batches_of_any_form_are_cut():
    batch = {
        "images": torch.zeros(4, 3),
        "boxes": [1, 2, 3, 4],
        "pair": (torch.ones(4), torch.ones(())),
        "name": "abcd",
    }
    found = first_samples(batch, 4, 2)
    assert found["images"].shape == (2, 3)
    assert found["boxes"] == [1, 2]
    assert found["pair"][0].shape == (2,)
    assert found["pair"][1].shape == ()
    assert found["name"] == "abcd"
