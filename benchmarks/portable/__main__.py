"""Measure what is portable, and what it costs; QEMU's user emulation must be installed (Debian: qemu-user).

Run from the repository's root: PYTHONPATH=benchmarks python -m portable operations [--name NAME] [--against NAME]
PYTHONPATH=benchmarks python -m portable trainings RECIPE [--epochs E] [--processes P,...] [--cpus CPU,...] [--short]
PYTHONPATH=benchmarks python -m portable speed RECIPE ...
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from bigbatch.runs.folder import RunFolder
from bigbatch.verification.emulation import CPUS, python_on
from card import RESULTS, write_card
from portable.comparison import bits_of, compared, condensed, facts_of, operations_table, other_version

HERE: Final = "here"
OPERATIONS: Final = Path(__file__).parent / "operations.py"
PROGRAMS: Final[dict[str, list[str]]] = {HERE: [sys.executable], **{cpu: python_on(cpu) for cpu in CPUS}}


def output_of(words: Sequence[str]) -> str:
    """Return what a program prints."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def measure_operations(jobs: int, cpus: Sequence[str]) -> dict[str, Any]:
    """Run all operations here and on emulated processors, with portable and with native numerics."""
    programs = (HERE, *cpus)

    def digests(numerics: str, cpu: str) -> dict[str, Any]:
        words = [*PROGRAMS[cpu], "-W", "ignore", str(OPERATIONS), f"--{numerics}"]
        result: dict[str, Any] = json.loads(output_of(words))
        return result

    with ThreadPoolExecutor(jobs) as pool:
        found = {
            numerics: dict(zip(programs, pool.map(partial(digests, numerics), programs), strict=True))
            for numerics in ("portable", "native")
        }
    return {
        "torch": torch.__version__,
        "capabilities": {
            numerics: {cpu: one["capability"] for cpu, one in by.items()} for numerics, by in found.items()
        },
        **{numerics: compared({cpu: one["digests"] for cpu, one in by.items()}) for numerics, by in found.items()},
        "bits": bits_of(found["portable"][HERE]["digests"]),
    }


def cases_of(cpus: Sequence[str], processes: Sequence[int], *, is_short: bool) -> list[tuple[str, int, str]]:
    """Return what is trained: the processor, the number of processes, and the numerics.

    If it is to be short, each emulated processor has one of the numbers of processes, and one has native numerics.
    """
    each = [(cpu, count) for cpu in cpus for count in processes]
    if is_short:
        each = [(cpu, processes[place % len(processes)]) for place, cpu in enumerate(cpus)]
    portable = [(cpu, count, "portable") for cpu, count in [*((HERE, count) for count in processes), *each]]
    return portable + [(cpu, processes[0], "native") for cpu in (HERE, *(cpus[:1] if is_short else cpus))]


def measure_trainings(
    recipe: str, settings: Sequence[str], cases: Sequence[tuple[str, int, str]], *, jobs: int
) -> list[dict[str, Any]]:
    """Train a recipe here and on emulated processors, with portable and with native numerics."""

    def train(folder: Path, cpu: str, count: int, numerics: str) -> dict[str, Any]:
        output = folder / f"{cpu}-{count}-{numerics}"
        options = ["--processes", str(count), "--output", str(output), "--timeout", "3600", *settings]
        output_of([*PROGRAMS[cpu], "-m", "bigbatch", "train", recipe, "--set", f"numerics={numerics}", *options])
        summary = RunFolder(output).read_summary()
        print(cpu, count, numerics, summary.weights_sha256, f"{summary.seconds:.0f} s", flush=True)
        return {
            "cpu": cpu,
            "processes": count,
            "numerics": numerics,
            "weights_sha256": summary.weights_sha256,
            "result": summary.result,
            "seconds": summary.seconds,
        }

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda case: train(Path(name), *case), cases))


def trainings_table(results: Sequence[dict[str, Any]]) -> str:
    """Return a table with a row for each training."""
    lines = ["| processor | processes | numerics | weights_sha256 | result | seconds |", "|---|---|---|---|---|---|"]
    for one in results:
        sha256, result = one["weights_sha256"][:12], f"{one['result']:.2f}"
        cells = (one["cpu"], one["processes"], one["numerics"], f"`{sha256}`", result, f"{one['seconds']:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    portable = {one["weights_sha256"] for one in results if one["numerics"] == "portable"}
    native = {one["weights_sha256"] for one in results if one["numerics"] == "native"}
    return "\n".join(lines) + f"\n\nPortable numerics: {len(portable)} hash. Native numerics: {len(native)} hashes."


def speed(recipes: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Compare the speed of portable with that of native numerics, by `bigbatch bench step --numerics portable`."""
    results = []
    for recipe in recipes:
        words = [sys.executable, "-m", "bigbatch", "bench", "step", *recipe.split(), "--numerics", "portable", "--json"]
        results.append(json.loads(output_of([*words, "--rounds", str(rounds)])))
        print(results[-1], flush=True)
    return results


def speed_table(results: Sequence[dict[str, Any]]) -> str:
    """Return a table with a row for each recipe."""
    lines = ["| recipe, model | precision | native, samples/s | portable is x times as fast |", "|---|---|---|---|"]
    for one in results:
        ratio = f"**{one['ratio']:.3f}** ({one['ratio_least']:.2f} to {one['ratio_largest']:.2f})"
        name = f"{one['recipe']}, {one['model']}"
        lines.append(f"| {name} | {one['precision']} | {one['native_samples_per_second']:,.1f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("operations", "trainings", "speed"))
    parser.add_argument("recipes", nargs="*", default=["digits"])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--cpus", default=",".join(CPUS))
    parser.add_argument("--short", action="store_true", help="fewer emulated trainings, which take long")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--name", default="")
    parser.add_argument("--against", default="", help="the name of operations' card that was made with another torch")
    options = parser.parse_args()
    name = options.name or f"portable_{options.what}"
    cpus = [cpu for cpu in options.cpus.split(",") if cpu]
    write: Callable[..., None] = partial(write_card, name)
    if options.what == "operations":
        found = measure_operations(options.jobs, cpus)
        table = operations_table(found) if cpus else facts_of(found)
        if options.against:
            table += other_version(found, json.loads((RESULTS / f"{options.against}.json").read_text())["result"])
        write("Operations with the same bits on other processors", condensed(found), table)
    elif options.what == "trainings":
        settings = ["--epochs", options.epochs, *(word for text in options.set for word in ("--set", text))]
        counts = [int(text) for text in options.processes.split(",")]
        cases = cases_of(cpus, counts, is_short=options.short)
        trained = measure_trainings(options.recipes[0], settings, cases, jobs=options.jobs)
        write(f"{options.recipes[0]}, trained on several processors", trained, trainings_table(trained))
    else:
        results = speed(options.recipes, options.rounds)
        header = f"A step in one process; medians over {options.rounds} pairs of turns (least to largest).\n\n"
        write("What portable numerics cost", results, header + speed_table(results))


if __name__ == "__main__":
    main()
