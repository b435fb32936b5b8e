"""How many operations does an exact step launch besides the model and the optimizer? Counted by torch's profiler.

Run from the repository's root: python benchmarks/operations.py. The passes of the model alone are counted, too; what a
step has more is its own. The same is told of a plain loop, which accumulates gradients, over DDP for two processes.
With 2 and with 4 workers a process, the difference is what a worker launches, and the rest what a step does. Views are
not counted, nor is an operation within another one. On a GPU each is a launch; one over a list of tensors is a few.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from bigbatch import joined
from bigbatch.models import build_model
from bigbatch.processes.group import Processes
from bigbatch.step.step import Step
from card import write_card

WORKER_SIZE, IMAGE_SIZE, WIDTH = 2, 32, 8  # narrow: as many operations as at full width
MODELS = ("resnet50", "resnet18")
ATEN = "aten::"  # torch's own operations
# Of no work: they only look at a tensor in another way.
VIEWS = {"aten::as_strided", "aten::chunk", "aten::detach", "aten::expand", "aten::flatten", "aten::select"}
VIEWS |= {"aten::slice", "aten::split", "aten::t", "aten::unbind", "aten::view"}
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def operations(run: Callable[[], None]) -> Counter[str]:
    """Return the operations that are called by no other one, by name."""
    for _ in range(3):
        run()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    return Counter(event.name for event in profiled.events() or [] if _is_outermost(event) and event.name not in VIEWS)


def _is_outermost(event: FunctionEvent) -> bool:
    parent = event.cpu_parent
    while parent and not parent.name.startswith(ATEN):
        parent = parent.cpu_parent
    return parent is None and event.name.startswith(ATEN)


def exact(name: str, batches: Batches, *, measures_noise: bool) -> Callable[[], None]:
    """Return our backward pass over the minibatch."""
    model, optimizer = _model(name)
    minibatch_size = WORKER_SIZE * len(batches) * Processes.current().world_size
    sizes = {"minibatch_size": minibatch_size, "worker_minibatch_size": WORKER_SIZE}
    step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, **sizes)

    def run() -> None:
        step.backward(batches, measures_noise=measures_noise)

    return run


def plain(name: str, batches: Batches) -> Callable[[], None]:
    """Return a plain loop's accumulation over the same batches."""
    model, optimizer = _model(name)
    replica = DistributedDataParallel(model) if Processes.current().world_size > 1 else None
    criterion = nn.CrossEntropyLoss()

    def run() -> None:
        optimizer.zero_grad()
        for number, (inputs, targets) in enumerate(batches, start=1):
            with replica.no_sync() if replica and number < len(batches) else nullcontext():
                (criterion((replica or model)(inputs), targets) / len(batches)).backward()

    return run


def alone(name: str, batches: Batches) -> Callable[[], None]:
    """Return the passes of the model alone, of which nothing is summed."""
    model, optimizer = _model(name)
    criterion = nn.CrossEntropyLoss()

    def run() -> None:
        for inputs, targets in batches:
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()

    return run


def _model(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = build_model(name, num_classes=10, in_channels=3, width=WIDTH).train()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def count(make: Callable[[Batches], Callable[[], None]], name: str) -> tuple[float, float]:
    """Return what a worker and a step launch besides the model and its loss."""
    totals = {}
    for workers in (2, 4):
        images = torch.randn(workers, WORKER_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE)
        batches = [(inputs, torch.arange(WORKER_SIZE)) for inputs in images]
        totals[workers] = operations(make(batches)).total() - operations(alone(name, batches)).total()
    worker = (totals[4] - totals[2]) / 2
    return worker, totals[2] - 2 * worker


def count_all() -> list[dict[str, object]]:
    """Return the counts of this process: for each model of the exact step, the same with noise, and the plain loop."""
    found = []
    for name in MODELS:
        ways = {
            "exact": partial(exact, name, measures_noise=False),
            "exact, gradient's noise": partial(exact, name, measures_noise=True),
            "plain": partial(plain, name),
        }
        for way, make in ways.items():
            worker, step = count(make, name)
            place = {"model": name, "processes": Processes.current().world_size, "loop": way}
            found.append({**place, "worker": worker, "step": step})
    return found


def main() -> None:
    """Count for one process and for two, and write the card."""
    if "--count" in sys.argv:
        with joined():
            found = count_all()
            if Processes.current().rank == 0:
                print(json.dumps(found))
        return
    found = []
    for processes in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        done = subprocess.run([*launcher, __file__, "--count"], check=True, capture_output=True, text=True)
        found += json.loads(done.stdout.splitlines()[-1])
    rows = [f"| {' | '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in row.values())} |" for row in found]
    header = "| model | processes | loop | a worker | a step |\n|---|---|---|---|---|\n"
    write_card("operations", "Operations besides the model", found, header + "\n".join(rows))


if __name__ == "__main__":
    main()
