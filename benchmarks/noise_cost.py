"""What measuring the gradient's noise costs: steps as the trainer takes them, and without it, in turn.

Run from the repository's root, alone or as one of several processes:
    torchrun --nproc-per-node 2 benchmarks/noise_cost.py [--rounds 15] [--seconds 1]
"""

import argparse
import time
from collections.abc import Iterator
from itertools import count
from statistics import median
from typing import Any

import torch.distributed as dist

from bigbatch.course import NOISE_EVERY
from bigbatch.launch import Machine, joined
from bigbatch.presets import find_recipe
from bigbatch.recipe_file import with_settings
from bigbatch.reduction.options import AggregationOptions
from bigbatch.training import Training, build
from card import write_card

CASES = {
    "digits, ResNet-8, 4 workers of 16": ("digits", "minibatch_size=64"),
    "fashion-mnist, ResNet-8 w24, 4 workers of 32": ("fashion-mnist", "minibatch_size=128"),
    "fashion-mnist, ResNet-18 (11 M parameters), 4 workers of 32": (
        "fashion-mnist",
        "minibatch_size=128",
        "model.name=resnet18",
        "model.width=64",
        "model.stem_pool=false",
    ),
}


def measure(case: tuple[str, ...], machine: Machine, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Return the cost as a share of the step's time without it: median, quartiles of the pairs."""
    recipe = with_settings(find_recipe(case[0]), list(case[1:]))
    training = build(recipe, machine, aggregation=AggregationOptions(), num_workers=0)
    steps = _steps(training, every=0)
    _time(steps, 3, machine)
    number = _agree(max(2, round(seconds / (_time(steps, 3, machine) / 3))), machine)
    shares = []
    for turn in range(rounds):
        spent = {}
        for every in (NOISE_EVERY, 0) if turn % 2 else (0, NOISE_EVERY):
            steps = _steps(training, every=every)
            next(steps)
            spent[every] = _time(steps, number, machine)
        shares.append(spent[NOISE_EVERY] / spent[0] - 1)
    training.step.close()
    shares.sort()
    quartile = len(shares) // 4
    return {"share": median(shares), "low": shares[quartile], "high": shares[-1 - quartile], "steps_a_turn": number}


def _steps(training: Training, *, every: int) -> Iterator[None]:
    """Take a step for each that is asked for, and measure in every so many; in none if that is 0."""
    training.model.train()
    iterations = count()
    for epoch in count():
        for minibatch in training.minibatches.epoch(epoch):
            iteration = next(iterations)
            training.step.measures_noise = every > 0 and iteration % every == 0
            training.step.backward(minibatch, iteration=iteration)
            training.step.look()
            training.optimizer.step()
            yield


def _time(steps: Iterator[None], number: int, machine: Machine) -> float:
    """Return the seconds of some steps: of this process's own time where it is alone, which others do not disturb."""
    alone = machine.processes.world_size == 1
    if not alone:
        dist.barrier()
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    for _ in range(number):
        next(steps)
    return clock() - start


def _agree(number: int, machine: Machine) -> int:
    numbers = [number]
    if machine.processes.world_size > 1:
        dist.broadcast_object_list(numbers)
    return numbers[0]


def main() -> None:
    """Measure every case, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    with joined() as machine:
        result = {
            name: measure(case, machine, rounds=options.rounds, seconds=options.seconds) for name, case in CASES.items()
        }
        p, is_first = machine.processes.world_size, machine.processes.rank == 0
    if is_first:
        header = "| case | cost, median | quartiles of the pairs |\n|---|---|---|\n"
        rows = [f"| {name} | {r['share']:.2%} | {r['low']:.2%} to {r['high']:.2%} |" for name, r in result.items()]
        title = f"What measuring the gradient's noise adds to a step, p = {p}, {options.rounds} pairs"
        write_card(f"noise_cost_p{p}", title, result, header + "\n".join(rows))


if __name__ == "__main__":
    main()
