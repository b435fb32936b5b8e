"""What measuring the gradient's noise costs: steps with and without it, in turn.

Run from the repository's root, alone or as one of several processes:
    torchrun --nproc-per-node 2 benchmarks/noise_cost.py [--pairs 200]
"""

import argparse
import time
from collections.abc import Iterator
from itertools import count
from statistics import median
from typing import Any

import torch.distributed as dist

from bigbatch.processes.join import Machine, joined
from bigbatch.recipe.course import NOISE_EVERY
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import find_recipe
from bigbatch.reduction.options import AggregationOptions
from bigbatch.training.build import build
from bigbatch.training.state import TrainingState
from card import write_card

WARM = 4  # steps before any is timed
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


def measure(case: tuple[str, ...], machine: Machine, *, pairs: int) -> dict[str, Any]:
    """Return what measuring adds to a step, as a share of its time: the median of all pairs, and its quartiles."""
    recipe = with_settings(find_recipe(case[0]), list(case[1:]))
    training = build(recipe, machine, aggregation=AggregationOptions(), loader_workers=0)
    training.model.train()
    steps = {is_measuring: _steps(training, is_measuring=is_measuring) for is_measuring in (True, False)}
    for _ in range(WARM):
        next(steps[True])
    shares, plain = [], []
    for turn in range(pairs):
        spent = {}
        for is_measuring in (True, False) if turn % 2 else (False, True):
            spent[is_measuring] = _time(steps[is_measuring], machine)
        shares.append(spent[True] / spent[False] - 1)
        plain.append(spent[False])
    training.step.close()
    shares.sort()
    share, low, high = (shares[len(shares) * part // 4] for part in (2, 1, 3))
    return {"measured_step": share, "low": low, "high": high, "training": share / NOISE_EVERY, "seconds": median(plain)}


def _steps(training: TrainingState, *, is_measuring: bool) -> Iterator[None]:
    for epoch in count():
        for minibatch in training.minibatches.epoch(epoch):
            _ = training.step.backward(minibatch, measures_noise=is_measuring).is_finite
            training.optimizer.step()
            yield


def _time(steps: Iterator[None], machine: Machine) -> float:
    """Return the seconds of a step: of this process's own time where it is alone, which others do not disturb."""
    alone = machine.processes.world_size == 1
    if not alone:
        dist.barrier()
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    next(steps)
    return clock() - start


def main() -> None:
    """Measure every case, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    with joined() as machine:
        result = {name: measure(case, machine, pairs=options.pairs) for name, case in CASES.items()}
        p, is_first = machine.processes.world_size, machine.processes.rank == 0
    if is_first:
        header = f"| case | a step that measures (quartiles) | a training: 1 of {NOISE_EVERY} does |\n|---|---|---|\n"
        rows = [
            f"| {name} | {r['measured_step']:.1%} ({r['low']:.1%} to {r['high']:.1%}) | **{r['training']:.2%}** |"
            for name, r in result.items()
        ]
        title = f"What measuring the gradient's noise costs, p = {p}: {options.pairs} pairs of steps, in turn"
        write_card(f"noise_cost_p{p}", title, result, header + "\n".join(rows))


if __name__ == "__main__":
    main()
