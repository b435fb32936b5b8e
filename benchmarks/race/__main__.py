"""Race bigbatch against other trainers, on a quiet machine.

Run from the repository's root, in an environment with benchmarks/race/requirements.txt:
PYTHONPATH=benchmarks python -m race steps [--rounds N] [--tasks T,...] [--processes P,...] [--seconds S]
PYTHONPATH=benchmarks python -m race epoch FOLDER [--rounds N]
"""

import argparse
import os
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median
from typing import Any, Final

from card import write_card
from race.racers import RACERS
from race.referee import Racer, Referee, launch
from race.task import TASKS

HAND: Final = "DDP by hand"
LIBRARIES: Final = ("torch", "torchvision", "pytorch-lightning", "accelerate", "transformers")


def race_steps(task: str, processes: int, *, names: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Let racers run turns of some iterations; the order is turned round from round to round."""
    each = TASKS[task].minibatch_size // processes
    with Referee(task, processes) as referee:
        racers = [referee.start(name, samples=each) for name in names]
        iterations = max(3, round(seconds / (_slowest(racers, each) / 3)))
        times: dict[str, list[float]] = {racer.name: [] for racer in racers}
        for number in range(rounds):
            for racer in racers if number % 2 == 0 else racers[::-1]:
                times[racer.name].append(racer.turn(iterations * each))
        starts = {racer.name: racer.starting for racer in racers}
    images = iterations * TASKS[task].minibatch_size
    return {
        "task": task,
        "processes": processes,
        "iterations_per_turn": iterations,
        "images_per_second": {name: images / median(found) for name, found in times.items()},
        "ratios": {name: _ratios(times, name) for name in times},
        "seconds_to_first_update": starts,
    }


def _slowest(racers: Sequence[Racer], each: int) -> float:
    """Warm all up, and return the seconds of three iterations of the slowest."""
    for racer in racers:
        racer.turn(3 * each)
    return max(racer.turn(3 * each) for racer in racers)


def race_epoch(folder: str, processes: int, *, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Let each racer train one epoch of a folder's photographs in new processes, in turn."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            start = time.perf_counter()
            code = launch(name, "resnet18", processes, os.environ, folder).wait()
            if code:
                raise subprocess.CalledProcessError(code, name)
            times[name].append(time.perf_counter() - start)
    return {
        "task": "resnet18",
        "processes": processes,
        "seconds": {name: median(found) for name, found in times.items()},
        "ratios": {name: _ratios(times, name) for name in times},
    }


def _ratios(times: dict[str, list[float]], peer: str) -> dict[str, tuple[float, float, float]]:
    """Return how much faster ours are than a peer, from the pairs of each round: median, least, largest."""
    found = {}
    for ours in (name for name in times if name.startswith("bigbatch")):
        pairs = [theirs / mine for theirs, mine in zip(times[peer], times[ours], strict=True)]
        found[ours] = (median(pairs), min(pairs), max(pairs))
    return found


def _table(results: Sequence[dict[str, Any]], speed: str, unit: str) -> str:
    columns = ("task, processes", "racer", unit, "exact is x times as fast", "native is", "to its first update, s")
    lines = [f"| {' | '.join(columns)} |", "|---|---|---|---|---|---|"]
    for result in results:
        for name, value in result[speed].items():
            cells = [
                "" if name.startswith("bigbatch") else f"**{middle:.3f}** ({least:.2f} to {largest:.2f})"
                for middle, least, largest in result["ratios"][name].values()
            ]
            first = result.get("seconds_to_first_update", {}).get(name)
            start = f"{first:.1f}" if first else ""
            lines.append(
                f"| {result['task']}, {result['processes']} | {name} | {value:,.1f} | {' | '.join(cells)} | {start} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Race, and write the card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("steps", "epoch"))
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--racers", default="/".join(RACERS), help="names with / between them")
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    processes = [int(text) for text in options.processes.split(",")]
    names = options.racers.split("/")
    libraries = ", ".join(
        f"{library} {version(library)}" for library in LIBRARIES if find_spec(library.replace("-", "_"))
    )
    if options.what == "steps":
        rounds = options.rounds or 9
        results = [
            race_steps(task, count, names=names, rounds=rounds, seconds=options.seconds)
            for task in options.tasks.split(",")
            for count in processes
        ]
        header = (
            f"Medians over {rounds} rounds; in each, every racer takes one turn of the same iterations, at the same "
            f"minibatch of 256 in workers of 32, with the same loader over random images in memory. A ratio is that of "
            f"the pairs of each round (least to largest). {libraries}.\n\n"
        )
        write_card(
            options.name or "race",
            "The race: a step",
            results,
            header + _table(results, "images_per_second", "images/s"),
        )
    else:
        rounds = options.rounds or 3
        results = [race_epoch(options.folder, count, names=names, rounds=rounds) for count in processes]
        header = (
            f"Medians over {rounds} rounds of an epoch of Imagenette's JPEGs at 64 pixels, ResNet-18 of width 16, from "
            f"the start of the processes to their end. The others read with torchvision. {libraries}.\n\n"
        )
        write_card(
            options.name or "race_epoch",
            "The race: an epoch from JPEGs",
            results,
            header + _table(results, "seconds", "seconds"),
        )


if __name__ == "__main__":
    main()
