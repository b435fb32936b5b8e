"""What a step frees on the CPU stays with the process: the next step takes it without a page fault."""

import ctypes
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import bigbatch
from bigbatch.processes import allocator, numerics

STEPS = """
import ctypes, json, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a fault of a huge page would bring 512 pages
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
CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | variables
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the system has another library than glibc")
@pytest.mark.parametrize(
    "chosen",
    [{"MALLOC_MMAP_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}],
    ids=str,
)
def test_a_step_takes_the_memory_of_the_one_before_it_unless_its_user_has_chosen(chosen):
    (faults_kept, losses), (faults, losses_of_user) = run(), run(**chosen)
    assert faults_kept < faults / 5  # the heap may still grow now and then
    assert losses == losses_of_user, "it changes no bit"


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1 << 40, [(-3, 1 << 30), (-1, -1)]),
        (32 << 20, [(-3, 1 << 30), (-3, 32 << 20), (-1, -1)]),  # glibc before 2.35
        (0, [(-3, 1 << 30), (-3, 32 << 20)]),  # then what grows by itself must go on growing
    ],
)
def test_the_threshold_of_maps_comes_first(largest, expected, monkeypatch):
    calls = []

    def mallopt(parameter, value):
        calls.append((parameter, value))
        return int(value <= largest)

    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    allocator.keep_freed_memory()
    assert calls == expected


@pytest.mark.parametrize("name", CHOICES)
def test_nothing_is_done_without_glibc_or_where_its_user_has_chosen(name, monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: SimpleNamespace())
    allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("a user has chosen"))
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=1")
    allocator.keep_freed_memory()


def test_a_training_asks_for_it(monkeypatch):
    calls = []
    monkeypatch.setattr(numerics, "keep_freed_memory", lambda: calls.append(1))
    with bigbatch.joined():
        assert calls == [1]
