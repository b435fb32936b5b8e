"""Speed: images/s of the exact step, beside plain loops over the same minibatch, in turns within one run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from torch import nn

import training
from bench import Bench
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.step.worker_pass import forward_precision
from graph import GraphedPass
from training import LONG, SHORT, Task

Take = Callable[[int], object]
MINIBATCH_SIZE = 256
ROUNDS, SECONDS_PER_TURN = 5, 0.8
EAGER, COMPILED = ("exact", "plain", "plain, free"), ("exact, compiled", "plain, compiled")
SECONDS_EAGER, SECONDS_COMPILED, SECONDS_GRAPH = 25, 90, 30


@dataclass
class Contestant:
    """A way to take a step.

    Attributes:
        take: takes one.
        is_free: whether torch may choose its algorithms by their speed, and by those whose bits differ each time.
        seconds: of each turn, by step.
        host_seconds: until the last step of a turn was given to the device.
        peak_bytes: of memory while it ran.
    """

    take: Take
    is_free: bool
    seconds: list[float]
    host_seconds: list[float]
    peak_bytes: int = 0


def run(bench: Bench) -> None:
    """Compare at each worker minibatch size; then compiled, and with a graph."""
    sizes = (SHORT.worker_minibatch_size,) if bench.is_short else (32, 256, 64, 128)
    with reproducible_numerics(1):
        for n in sizes:
            compare(bench, n, EAGER, SECONDS_EAGER)
        if bench.is_cuda:
            bench.measure("graph of a pass, n = 32", lambda: compare_graph(task_of(bench, 32)), seconds=SECONDS_GRAPH)
        if bench.is_short:
            bench.leave_out("compiled", "it takes a compiler, and minutes")
            return
        for n in (32, 256):
            compare(bench, n, (*EAGER[:2], *COMPILED), SECONDS_COMPILED)


def task_of(bench: Bench, n: int) -> Task:
    """Return the task with workers of n samples."""
    task, size = (SHORT, SHORT.minibatch_size) if bench.is_short else (LONG, MINIBATCH_SIZE)
    return replace(task, worker_minibatch_size=n, worker_count=size // n)


def compare(bench: Bench, n: int, names: tuple[str, ...], seconds: float) -> None:
    """Note the speed of each, and the ratio of each to the plain loop."""
    name = f"n = {n}" + (", compiled" if names[-1] in COMPILED else "")
    bench.measure(name, partial(figures, bench, task_of(bench, n), names), seconds=seconds)


def figures(bench: Bench, task: Task, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Time the contestants in turns."""
    batches = training.batches(task, range(task.worker_count), 0, bench.device)
    contestants = {name: contestant(name, task, batches, bench) for name in names}
    rounds, seconds = (2, 0.02) if bench.is_short else (ROUNDS, SECONDS_PER_TURN)
    steps = {name: warm_up(each, seconds, bench) for name, each in contestants.items()}
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]  # none is always the first
            turn(contestants[name], steps[name], bench)
    plain = contestants["plain"].seconds
    return {name: summary(each, plain, task) for name, each in contestants.items()}


def contestant(name: str, task: Task, batches: list[training.Batch], bench: Bench) -> Contestant:
    """Return a contestant by its name, with a model of its own."""
    model = training.build(task, bench.device)
    optimizer = training.sgd(model)
    if name in COMPILED:
        torch._dynamo.config.optimize_ddp = False  # noqa: SLF001 - the only way to it
        model.compile()
    if name.startswith("exact"):
        step = training.make_step(task, model, optimizer)
        return Contestant(
            lambda iteration: step(batches, iteration=iteration), is_free=False, seconds=[], host_seconds=[]
        )
    take = partial(plain_step, model, optimizer, task, batches)
    return Contestant(take, is_free="free" in name, seconds=[], host_seconds=[])


def plain_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, task: Task, batches: list[training.Batch], _iteration: int
) -> None:
    """Accumulate the gradients of the batches, as everybody does."""
    optimizer.zero_grad()
    for images, labels in batches:
        with forward_precision(images.device, task.precision):
            loss = nn.functional.cross_entropy(model(images), labels) / len(batches)
        loss.backward()
    optimizer.step()


@contextmanager
def free_numerics() -> Iterator[None]:
    """Let torch choose by speed alone."""
    torch.use_deterministic_algorithms(mode=False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=True)
        torch.backends.cudnn.benchmark = False


def warm_up(each: Contestant, seconds: float, bench: Bench) -> int:
    """Run a contestant until it is warm; return how many steps fill a turn."""
    turn(each, 2, bench)
    if bench.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if bench.is_cuda else 0
    turn(each, 2, bench)
    each.peak_bytes = torch.cuda.max_memory_allocated() - before if bench.is_cuda else 0
    steps = max(1, round(seconds / each.seconds[-1]))
    each.seconds.clear()
    each.host_seconds.clear()
    return steps


def turn(each: Contestant, steps: int, bench: Bench) -> None:
    """Take some steps, and note the seconds of one."""
    with free_numerics() if each.is_free else nullcontext():
        bench.wait()
        start = time.perf_counter()
        for iteration in range(steps):
            each.take(iteration)
        given = time.perf_counter()
        bench.wait()
        each.host_seconds.append((given - start) / steps)
        each.seconds.append((time.perf_counter() - start) / steps)


def summary(each: Contestant, plain: list[float], task: Task) -> dict[str, float]:
    """Return the medians; the ratio is taken turn by turn."""
    return {
        "images/s": task.minibatch_size / median(each.seconds),
        "of plain": median(other / own for own, other in zip(each.seconds, plain, strict=True)),
        "host ms a worker": 1000 * median(each.host_seconds) / task.worker_count,
        "GiB at most": each.peak_bytes / 2**30,
    }


def compare_graph(task: Task) -> dict[str, object]:
    """Return the seconds of a worker's pass with and without a graph, and whether its gradients have the same bits."""
    batches = training.batches(task, range(task.worker_count), 0, "cuda")
    model = training.build(replace(task, dropout=0.1), "cuda")
    graphed = GraphedPass(model, task, batches[0])
    seed = random_key("worker", training.SEED, 0, 0)
    buffers = [buffer.clone() for buffer in model.buffers()]
    graphed(batches[1], seed)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    torch._foreach_copy_(list(model.buffers()), buffers)
    kept = [parameter.grad for parameter in model.parameters()]
    times = {"with": time_passes(lambda batch: graphed(batch, seed), batches)}

    def eager(batch: training.Batch) -> None:
        for parameter in model.parameters():
            parameter.grad = None
        seed_generators(seed, batch[0].device)
        graphed.eager(*batch)

    eager(batches[1])
    is_same = all(torch.equal(one, parameter.grad) for one, parameter in zip(found, model.parameters(), strict=True))
    times["without"] = time_passes(eager, batches)
    del kept  # the graph writes there
    return {"same bits": is_same, "ms a worker": {name: 1000 * seconds for name, seconds in times.items()}}


def time_passes(take: Callable[[training.Batch], object], batches: list[training.Batch]) -> float:
    """Return the seconds of a pass: the least of some rounds over all batches."""
    found = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for batch in batches:
            take(batch)
        torch.cuda.synchronize()
        found.append((time.perf_counter() - start) / len(batches))
    return min(found)
