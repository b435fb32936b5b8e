"""One process of a group, or alone: the README's loop over a model, loss, dataset and optimizer of one's own.

Usage: library_loop.py FILE; rank 0 writes the hash of the final weights to FILE.
"""

import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import bigbatch
from bigbatch.checkpoint.weights import weights_sha256


class NoisyDigits(torch.utils.data.Dataset):
    """A dataset whose transform draws from all three global generators."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return 100

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return a noisy image and its label."""
        noise = torch.randn(1, 8, 8) + random.random() + float(np.random.rand())  # noqa: NPY002 - the point of this test
        return noise + index % 10, index % 10


if "RANK" in os.environ:
    store = torch.distributed.FileStore(os.environ["BIGBATCH_STORE"], int(os.environ["WORLD_SIZE"]))
    torch.distributed.init_process_group(
        "gloo", store=store, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"])
    )
torch.set_num_threads(1)
# Each process begins with other weights and another state of the generators: neither may matter.
torch.manual_seed(os.getpid())
model = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(288, 10)
)
if int(os.environ.get("RANK", "0")) == 0:
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
sizes = {"minibatch_size": 28, "worker_minibatch_size": 4, "seed": 3}
minibatches = bigbatch.Minibatches(NoisyDigits(), **sizes)
step = bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, **sizes)
iteration = 0
for epoch in range(2):
    for minibatch in minibatches.epoch(epoch):
        loss = step(minibatch, iteration=iteration)
        model[-1].weight.data += 1e-4 * torch.randn(10, 288)  # a draw between steps is the same on every process
        iteration += 1
assert iteration == 6
if int(os.environ.get("RANK", "0")) == 0:
    Path(sys.argv[1]).write_text(f"{weights_sha256(model.state_dict())} {loss.item().hex()}")
if "RANK" in os.environ:
    torch.distributed.destroy_process_group()
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
