"""Where a step's time goes, and how many operations a worker and a step launch besides the model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile, record_function

import training
from bench import Bench
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.reduction.aggregation import Aggregation
from bigbatch.reduction.local_sum import LocalSum
from bigbatch.step.leaves import Leaves
from bigbatch.step.running_state import RunningState
from bigbatch.step.worker_pass import WorkerPass
from training import LONG, SHORT

# What is timed, from the outside inwards: a range holds those that it calls.
RANGES: dict[str, tuple[type, str]] = {
    "a worker until backward": (Leaves, "run"),
    "restore statistics": (RunningState, "restore"),
    "forward": (WorkerPass, "forward"),
    "changes of statistics": (RunningState, "changes"),
    "backward and sum": (Aggregation, "backward"),
    "add to the tree": (LocalSum, "add"),
    "finish the sums": (Aggregation, "finish"),
    "finish the statistics": (Leaves, "finish"),
}
NUM_STEPS = 3


def run(bench: Bench) -> None:
    """Profile some steps."""
    task = SHORT if bench.is_short else LONG
    with reproducible_numerics(1):
        model = training.build(task, bench.device)
        step = training.make_step(task, model, training.sgd(model))
        batches = training.batches(task, step.workers, 0, bench.device)
        step(batches)
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * bench.is_cuda]
        with ranges(), profile(activities=activities) as profiled:
            for _ in range(NUM_STEPS):
                step(batches)
            bench.wait()
    averages = {event.key: event for event in profiled.key_averages()}
    for name in RANGES:
        event = averages[name]
        milliseconds = {"host": event.cpu_time_total / 1000 / NUM_STEPS}
        if bench.is_cuda:
            milliseconds["device"] = event.device_time_total / 1000 / NUM_STEPS
        bench.note(f"{name}: ms a step", milliseconds)
    if bench.is_cuda:
        launches = sum(event.count for key, event in averages.items() if "LaunchKernel" in key)
        bench.note("kernels launched a step", launches / NUM_STEPS)


@contextmanager
def ranges() -> Iterator[None]:
    """Let the profiler see what is in `RANGES`."""
    with ExitStack() as stack:
        for name, (owner, method) in RANGES.items():
            stack.enter_context(patch.object(owner, method, recorded(name, getattr(owner, method))))
        yield


def recorded(name: str, function: Any) -> Any:  # noqa: ANN401 - any method
    """Return a method as a range of the profile."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - its own
        with record_function(name):
            return function(*arguments, **named)

    return call
