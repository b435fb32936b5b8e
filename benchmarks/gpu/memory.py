"""Memory of a step in units of its gradient, beside a plain loop: log2(v) + 1 gradients for v workers, and no more.

As a program: python memory.py DEVICE MODEL WORKERS prints the figures of one case as JSON.
"""

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from math import log2
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench import Bench
from bigbatch.models import build_model
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.reduction.communicator import Communicator
from bigbatch.step.step import Step
from training import Batch
from trials import group_of_one

SAMPLES = 2  # of a worker
CLASSES = 10
WIDTHS = {"linear-1b": (8192, 15), "linear-300m": (4096, 18), "linear-tiny": (256, 18)}  # and how many layers
LARGEST_LAYER = 0.08  # of a gradient: what autograd holds beside the sum, of the layer that it is at
TASKS = {"cuda": ["resnet50", "linear-1b"], "cpu": ["linear-tiny"]}


def run(bench: Bench) -> None:
    """Measure at several numbers of workers."""
    counts = (4,) if bench.is_short else (8, 64, 256)
    with reproducible_numerics(1):
        for name in TASKS[bench.device]:
            for count in counts if name == "resnet50" else counts[:1]:
                found = bench.measure(f"{name}, k = {count}", partial(figures, bench.device, name, count), seconds=8)
                if found and name.startswith("linear"):  # whose activations are small
                    is_held = found["exact"] <= log2(count) + 1 + LARGEST_LAYER
                    bench.promise(f"{name}, k = {count}: at most log2(k) + 1 gradients", is_held=is_held)


def figures(device: str, name: str, worker_count: int) -> dict[str, float]:
    """Return the peaks of two backward passes of a minibatch, in gradients, above what the model takes.

    Both keep their gradients from the first minibatch to the second, as in a training without an optimizer.
    """
    model, inputs = build(name, device)
    batches = [(inputs, torch.zeros(SAMPLES, dtype=torch.long, device=device))] * worker_count
    gradient = sum(parameter.nbytes for parameter in model.parameters())
    plain = peak_bytes(lambda: accumulate_gradients(model, batches), device)
    alone = peak_bytes(lambda: sum_exactly(model, batches), device)
    with group_of_one(device):
        grouped = peak_bytes(lambda: sum_exactly(model, batches, all_reduce="direct"), device)
    peaks = {"plain": plain, "exact": alone, "exact, in a group": grouped}
    return {"MB of a gradient": gradient / 1e6, **{name: peak / gradient for name, peak in peaks.items()}}


def sum_exactly(model: nn.Module, batches: list[Batch], *, all_reduce: str = "") -> None:
    """Sum the gradients of two minibatches with our step; with the hook and the collectives of a group, if given."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sizes = {"minibatch_size": SAMPLES * len(batches), "worker_minibatch_size": SAMPLES}
    step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, **sizes)
    if all_reduce:
        step.communicator = Communicator(step.processes, step.worker_count, step.device, all_reduce)
    for _ in range(2):
        step.backward(batches)
    step.close()
    forget_gradients(model)


def build(name: str, device: str) -> tuple[nn.Module, Tensor]:
    """Return a model and a worker's inputs."""
    if name not in WIDTHS:
        model = build_model(name, num_classes=CLASSES, in_channels=3).to(device)
        return model.train(), torch.zeros(SAMPLES, 3, 64, 64, device=device)
    width, layers = WIDTHS[name]
    with torch.device(device):
        hidden = [nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU()) for _ in range(layers)]
        return nn.Sequential(*hidden, nn.Linear(width, CLASSES)), torch.zeros(SAMPLES, width)


def accumulate_gradients(model: nn.Module, batches: list[Batch]) -> None:
    """Accumulate the gradients of two minibatches, as everybody does."""
    for _ in range(2):
        forget_gradients(model)
        for inputs, targets in batches:
            (nn.functional.cross_entropy(model(inputs), targets) / len(batches)).backward()
    forget_gradients(model)


def forget_gradients(model: nn.Module) -> None:
    """Free the gradients."""
    for parameter in model.parameters():
        parameter.grad = None


def peak_bytes(take: Callable[[], Any], device: str) -> int:
    """Return the most bytes of tensors at a time while something runs, above those at its start."""
    gc.collect()  # what went before it
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        take()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        take()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


if __name__ == "__main__":
    with reproducible_numerics(1):
        print(json.dumps(figures(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
