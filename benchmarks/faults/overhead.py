"""What reliability costs: a checkpoint every 10 s, and a comparison of the weights every 100 iterations.

As a program it is one of two processes that train, on whose time both are measured in turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from trial import Row

from bigbatch.processes.join import joined
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.summary import Summary
from bigbatch.training.build import build
from bigbatch.training.consistency import compare_processes
from bigbatch.training.loop import COMPARED_EVERY
from bigbatch.training.progress import ProgressDisplay
from bigbatch.training.recorder import Recorder
from bigbatch.training.state import TrainingState

SECONDS_BETWEEN_SAVES = 10
MODELS = {
    "the digits' own ResNet-8": ["minibatch_size=64"],
    "ResNet-18": ["minibatch_size=64", "model.name=resnet18", "model.width=0"],
}
MOST_OF_SAVES, MOST_OF_COMPARISONS = 0.02, 0.01


def costs(rounds: int, *, processes: int = 2) -> list[Row]:
    """Measure both for each model, with as many processes as there are cores."""
    rows = []
    for model, settings in MODELS.items():
        with TemporaryDirectory() as name:
            found = _measure(Path(name), settings, rounds, processes)
        size = f"{model}, {found['megabytes']:.1f} MB of state, {processes} processes, {rounds} pairs of turns"
        rows += [
            Row(
                f"checkpoint every {SECONDS_BETWEEN_SAVES} s: {size}",
                "at most 2 % of training time",
                f"{found['saving']:.1%} (median; {found['saving_least']:.1%} to {found['saving_largest']:.1%}); "
                f"training waits {1000 * found['copy_seconds']:.1f} ms for the copy",
                found["saving"] <= MOST_OF_SAVES,
            ),
            Row(
                f"comparison of the weights every {COMPARED_EVERY} iterations: {size}",
                "under 1 % of step time",
                f"{found['comparing']:.2%}: {1000 * found['compare_seconds']:.2f} ms in {COMPARED_EVERY} steps of "
                f"{1000 * found['step_seconds']:.1f} ms",
                found["comparing"] < MOST_OF_COMPARISONS,
            ),
        ]
    return rows


def _measure(folder: Path, settings: list[str], rounds: int, processes: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), str(rounds), *settings]
    ranks = []
    for rank in range(processes):
        places = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
        own = {name: str(value) for name, value in places.items()} | {"BIGBATCH_STORE": str(folder / "store")}
        ranks.append(subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in ranks]
    found: dict[str, float] = json.loads(outputs[0].splitlines()[-1])
    return found


def measure_here(folder: Path, settings: list[str], rounds: int) -> dict[str, float]:
    """Train in turns of about 10 s, every other one with a save in it; then time comparisons."""
    recipe = with_settings(digits(), settings)
    with joined() as machine:
        training = build(recipe, machine, aggregation=AggregationOptions(), loader_workers=0)
        run = RunFolder(folder / "run")
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        is_writer = machine.processes.rank == 0
        display = ProgressDisplay(total_iterations=1, first_iteration=0, epochs=1, is_shown=False)
        recorder = Recorder(run, recipe, display, Summary.read({}), is_writer=is_writer)
        steps = _steps(training)
        _time(steps, 5)
        num_steps = torch.tensor(max(2, round(SECONDS_BETWEEN_SAVES / (_time(steps, 10) / 10))))
        dist.broadcast(num_steps, src=0)
        pairs, copies = [], []
        for number in range(rounds):
            seconds = {}
            for is_saving in (True, False) if number % 2 else (False, True):
                start = time.perf_counter()
                if is_saving:
                    recorder.save(training.state(), training.position(), must_wait=True)
                    copies.append(time.perf_counter() - start)
                _time(steps, int(num_steps))
                seconds[is_saving] = time.perf_counter() - start
                recorder.writer.wait()
            pairs.append(seconds[True] / seconds[False] - 1)
        plain = _time(steps, int(num_steps)) / int(num_steps)
        compare_seconds = median(_compare(training) for _ in range(21))
        recorder.writer.close()
        size = sum(path.stat().st_size for path in run.checkpoints.glob("*.safetensors"))
        training.step.close()
    return {
        "megabytes": size / 2e6,  # two are kept
        "saving": median(pairs),
        "saving_least": min(pairs),
        "saving_largest": max(pairs),
        "copy_seconds": median(copies),
        "step_seconds": plain,
        "compare_seconds": compare_seconds,
        "comparing": compare_seconds / (COMPARED_EVERY * plain),
    }


def _steps(training: TrainingState) -> Iterator[None]:
    """Take a step for each that is asked for."""
    iteration = 0
    for epoch in count():
        for minibatch in training.minibatches.epoch(epoch):
            _ = training.step.backward(minibatch, iteration=iteration).is_finite
            training.optimizer.step()
            training.course.advance()
            iteration += 1
            yield


def _time(steps: Iterator[None], number: int) -> float:
    dist.barrier()
    start = time.perf_counter()
    for _ in range(number):
        next(steps)
    return time.perf_counter() - start


def _compare(training: TrainingState) -> float:
    dist.barrier()
    start = time.perf_counter()
    compare_processes(training.model, training.machine.processes, iteration=0, compute_seconds=1.0, wait_seconds=1.0)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(measure_here(Path(sys.argv[1]), sys.argv[3:], int(sys.argv[2]))), flush=True)
    os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
