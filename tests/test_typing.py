"""The package is typed: a user's own mypy --strict accepts the README's loop, and finds a wrong argument."""

import subprocess
import sys

import pytest

LOOP = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

import bigbatch


def train(dataset: TensorDataset, model: nn.Module) -> float:
    with bigbatch.joined() as machine:
        minibatches = bigbatch.Minibatches(dataset, minibatch_size=256, worker_minibatch_size=32, device=machine.device)
        rate = bigbatch.LearningRate.scaled(
            0.1, reference=64, minibatch_size=256, epochs=15, iterations_per_epoch=len(minibatches)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=rate(0), momentum=0.9)
        with bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatches) as step:
            for minibatch in minibatches.epochs(15):
                bigbatch.set_learning_rate(optimizer, rate(step.iteration))
                loss = step(minibatch)
        print(bigbatch.evaluate(model, dataset, "top-1-error", machine=machine))
    return loss.item()
"""


@pytest.mark.parametrize(("old", "new", "errors"), [("", "", 0), ("minibatch_size=256,", 'minibatch_size="many",', 2)])
def test_a_users_strict_mypy_reads_our_types(old, new, errors, tmp_path):
    (tmp_path / "mine.py").write_text(LOOP.replace(old, new) if old else LOOP)
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", "mine.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("mine.py")]
    assert len([line for line in found if "error" in line]) == errors, done.stdout + done.stderr
