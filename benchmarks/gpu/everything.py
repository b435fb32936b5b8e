"""Does everything run? Each optimizer in each precision, an average, an evaluation, a checkpoint, a NaN."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import training
from bench import Bench
from bigbatch.optim.layerwise import LAMB, LARS
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.training.evaluation import evaluate
from training import LONG, SHORT, Task

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.001),
    "LARS": lambda parameters: LARS(parameters, lr=0.01),
    "LAMB": lambda parameters: LAMB(parameters, lr=0.001),
}
PRECISIONS = ("float32", "bfloat16")
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")


def run(bench: Bench) -> None:
    """Run each part once, on small images."""
    small = replace(LONG, model="resnet18", image_size=64, worker_minibatch_size=4, worker_count=4, num_classes=10)
    task = replace(SHORT if bench.is_short else small, dropout=0.1)
    precisions = PRECISIONS[-1:] if bench.is_short else PRECISIONS
    with reproducible_numerics(1):
        for precision, (name, make) in product(precisions, OPTIMIZERS.items()):
            steps = Steps(replace(task, precision=precision), bench.device, make)
            bench.check(f"{name}, {precision}: the second loss is finite", steps.are_finite, seconds=5)
        parts = Steps(task, bench.device, OPTIMIZERS["SGD"])
        bench.measure("top-1 error of the averaged weights", lambda: averaged_error(parts), seconds=5)
        bench.check("a checkpoint brings back all, to the bit", lambda: resumes(parts, bench), seconds=5)
        bench.check("an update with a NaN can be left out, to the bit", lambda: skips(parts), seconds=5)
        bench.check("a second step waits for nothing", lambda: count_waits(parts) == 0, seconds=5)
        if bench.is_cuda:
            bench.check("it waits for nothing in torch's own eyes", lambda: under_debug_mode(parts), seconds=5)


class Steps:
    """A model, its optimizer and its step."""

    def __init__(self, task: Task, device: str, make: Callable[..., torch.optim.Optimizer]) -> None:
        self.task, self.device = task, device
        self.model = training.build(task, device)
        self.optimizer = make(self.model.parameters())
        self.step = training.make_step(task, self.model, self.optimizer)

    def batches(self) -> list[training.Batch]:
        """Return the next minibatch."""
        return training.batches(self.task, self.step.workers, self.step.iteration, self.device)

    def are_finite(self) -> bool:
        """Take two steps, and tell whether the second loss is finite."""
        self.step(self.batches())
        return bool(self.step(self.batches()).isfinite())

    def state(self) -> list[torch.Tensor]:
        """Return a copy of the weights, the running statistics and the momentum."""
        values = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [*self.model.state_dict().values(), *(value for value in values if isinstance(value, torch.Tensor))]
        return [tensor.clone() for tensor in tensors]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    """Tell whether two lists of tensors have the same bits."""
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


def averaged_error(parts: Steps) -> float:
    """Average over two steps, and evaluate the average."""
    average = WeightAverage(parts.model, decay=0.5)
    for _ in range(2):
        parts.step(parts.batches())
        average.update()
    samples = [(image.cpu(), label.cpu()) for batch in parts.batches() for image, label in zip(*batch, strict=True)]
    machine = Machine(Processes(), torch.device(parts.device), 1)
    with average.applied():
        return float(evaluate(parts.model, samples, machine=machine))


def resumes(parts: Steps, bench: Bench) -> bool:
    """Save, take a step, load into another model, take the same step, and compare."""
    folder = bench.folder / "checkpoint-everything"
    training.save(folder, parts.model, parts.optimizer, parts.step.iteration)
    again = Steps(parts.task, parts.device, OPTIMIZERS["SGD"])
    again.step.iteration = training.load(folder, again.model, again.optimizer)
    for each in (parts, again):
        each.step(each.batches())
    return same(parts.state(), again.state())


def skips(parts: Steps) -> bool:
    """Run a minibatch with a NaN, undo it, and compare with what was before."""
    before = parts.state()
    batches = parts.batches()
    batches[-1][0][0] = torch.nan
    result = parts.step.backward(batches)
    is_finite = result.is_finite
    parts.step.undo()
    return not is_finite and same(before, parts.state())


def count_waits(parts: Steps) -> int:
    """Return how often a step, without the look at its outcome, asks the device for a value."""
    batches = parts.batches()
    with Waits() as waits:
        parts.step(batches)
    return waits.count


class Waits(TorchDispatchMode):
    """Counts the operations that wait for a GPU. They can be counted on a CPU too."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operation."""
        del types
        self.count += func.name().split(".")[0] in WAITS
        return func(*args, **(kwargs or {}))


def under_debug_mode(parts: Steps) -> bool:
    """Take a step while torch raises an error where it would wait for the GPU."""
    batches = parts.batches()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        parts.step(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True
