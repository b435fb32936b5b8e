"""Where does the time of an exact step go? Each part's own seconds, of the thread that computes.

Run from the repository's root, on a quiet machine: python benchmarks/step_parts.py. Each part is timed without the
parts that it calls. To compare with an older commit, let PYTHONPATH be its src, and name the file: --name NAME.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from statistics import median
from typing import Any

import torch

import bigbatch.step.leaves
import bigbatch.step.step
from bigbatch import joined
from bigbatch.benchmark import step as bench
from bigbatch.recipe.presets import find_recipe
from bigbatch.reduction.aggregation import Aggregation
from bigbatch.reduction.local_sum import LocalSum
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.preconditions import Numerics
from bigbatch.step.running_state import RunningState
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import WorkerPass
from card import write_card

CASES = [("digits", 1), ("digits", 2), ("cifar10", 1), ("cifar10", 2)]
MINIBATCH_SIZE, NUM_STEPS = 256, 21
PARTS: dict[str, list[tuple[Any, str]]] = {
    "forward pass and loss": [(WorkerPass, "forward")],
    "backward pass": [(torch.Tensor, "backward")],
    "the optimizer": [(torch.optim.SGD, "step")],
    "running statistics": [(RunningState, name) for name in ("begin", "restore", "changes", "finish")],
    "the tree": [(LocalSum, "add"), (LocalSum, "take")],
    "seeds": [(bigbatch.step.step, "seed_generators"), (bigbatch.step.leaves, "seed_worker")],
    "checks of settings": [(Numerics, "check")],
    "waiting for the sums": [(Aggregation, "finish")],
    "all else": [(Step, "__call__")],
}


class Stopwatch:
    """Seconds of each part, without the parts within it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.running: list[str] = []
        self.since = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time counts for the part."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - any function's
            self._turn()
            self.running.append(part)
            try:
                return function(*arguments, **named)
            finally:
                self._turn()
                self.running.pop()

        return call

    def _turn(self) -> None:
        now = time.perf_counter()
        if self.running:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now


def measure(recipe_name: str) -> dict[str, float]:
    """Return the milliseconds a step of each part, medians over the steps."""
    recipe = replace(find_recipe(recipe_name), minibatch_size=MINIBATCH_SIZE)
    watch = Stopwatch()
    for part, functions in PARTS.items():
        for owner, name in functions:
            setattr(owner, name, watch.timed(part, getattr(owner, name)))
    with joined() as machine:
        take = bench._our_step(recipe, machine, AggregationOptions())  # noqa: SLF001 - our own
        steps = []
        for number in range(NUM_STEPS + 2):
            watch.seconds = dict.fromkeys(PARTS, 0.0)
            take(number)
            steps.append(watch.seconds)
    return {part: 1000 * median(seconds[part] for seconds in steps[2:]) for part in PARTS}


def main() -> None:
    """Measure each case in processes of its own, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="step_parts", help="of the card")
    parser.add_argument("--measure", metavar="RECIPE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = measure(options.measure)
        if os.environ["RANK"] == "0":
            print(json.dumps(found))
        return
    results = {f"{recipe}, p = {processes}": run(recipe, processes) for recipe, processes in CASES}
    titles = list(results)
    lines = [f"| ms a step | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for part in PARTS:
        shares = [f"{r[part]:.2f} ({r[part] / sum(r.values()):.1%})" for r in results.values()]
        lines.append(f"| {part} | {' | '.join(shares)} |")
    lines.append(f"| a step | {' | '.join(f'{sum(r.values()):.1f}' for r in results.values())} |")
    write_card(options.name, "Where a step's time goes", results, "\n".join(lines))


def run(recipe: str, processes: int) -> dict[str, float]:
    """Measure a case, and return what rank 0 has found."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command = [*launcher, __file__, "--measure", recipe]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[0])
    return found


if __name__ == "__main__":
    main()
