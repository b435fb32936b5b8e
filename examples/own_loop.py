"""A training loop of one's own on the embedded digits: scaled, exact for any number of processes, and resumable.

    python examples/own_loop.py                                  # one process
    torchrun --nproc-per-node 2 examples/own_loop.py             # the same weights, bit for bit
    torchrun --nproc-per-node 3 examples/own_loop.py --epochs 3  # stops early; any of these goes on from there

The state of the training is in own_loop.pt, of the current folder.
"""

import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

import bigbatch

CHECKPOINT = Path("own_loop.pt")
EPOCHS = 6


def digits():
    """Return (training dataset, validation dataset) of samples (image of shape (64,), class)."""
    with files("bigbatch.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"].reshape(-1, 64), arrays["labels"]
    samples = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels, dtype=torch.long))
    return torch.utils.data.Subset(samples, range(1280)), torch.utils.data.Subset(samples, range(1280, 1797))


def train(machine, last_epoch):
    """Train until the end of an epoch, from the checkpoint if there is one; return the model and its error."""
    my_dataset, my_validation_dataset = digits()
    minibatches = bigbatch.Minibatches(my_dataset, minibatch_size=256, worker_minibatch_size=32, device=machine.device)
    rate = bigbatch.LearningRate.scaled(
        0.05, reference=64, minibatch_size=256, epochs=EPOCHS, iterations_per_epoch=len(minibatches), warmup_epochs=1
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    model.to(machine.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate(0), momentum=0.9)
    loss_function = nn.CrossEntropyLoss(reduction="none")
    with bigbatch.Step(model, loss_function, optimizer, minibatches) as step:
        if CHECKPOINT.exists():
            state = torch.load(CHECKPOINT, map_location=machine.device)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            step.iteration = state["iteration"]
        for minibatch in minibatches.epochs(last_epoch, first=step.iteration):
            bigbatch.set_learning_rate(optimizer, rate(step.iteration))
            step(minibatch)
        if machine.processes.rank == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": step.iteration}
            torch.save(state, CHECKPOINT)
        return bigbatch.evaluate(model, my_validation_dataset, "top-1-error", machine=machine)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="stop after this epoch; default: %(default)s")
    with bigbatch.joined() as machine:
        result = train(machine, parser.parse_args().epochs)
        if machine.processes.rank == 0:
            print(result)
