"""What a step frees on the CPU stays with the process: the next step takes it without a page fault."""

import json
import os
import subprocess
import sys

import pytest

STEPS = """
import json, resource, sys
import torch
from torch import nn
import bigbatch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with bigbatch.joined():
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64 * 64, 2))
    loss = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    step = bigbatch.Step(model, loss, optimizer, minibatch_size=32, worker_minibatch_size=16)
    minibatch = [(torch.rand(16, 3, 64, 64), torch.zeros(16, dtype=torch.long)) for _ in range(2)]
    for _ in range(8):
        step(minibatch)
    before = faults()
    losses = [step(minibatch).item() for _ in range(5)]
    print(json.dumps([(faults() - before) / 5, losses]))
"""
PAGES = 16 * 32 * 64 * 64 * 4 // 4096  # of one activation
CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | variables
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def test_a_step_takes_the_memory_of_the_one_before_it():
    faults, _ = run()
    assert faults < PAGES  # the heap may still grow now and then


@pytest.mark.parametrize(
    "variable",
    [{"MALLOC_MMAP_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}],
    ids=str,
)
def test_a_user_s_choice_stays_and_changes_no_bit(variable):
    faults, losses = run(**variable)
    assert faults > 5 * PAGES
    assert losses == run()[1]
