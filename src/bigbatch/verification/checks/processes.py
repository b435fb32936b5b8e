"""The promise: the same bits for any number of processes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.processes.device import num_gpus, shared_gpus
from bigbatch.processes.interpreter import python_command
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.runs.folder import RunFolder
from bigbatch.verification.check import Check, failed, passed

NAME: Final = "same bits"
ERROR: Final = "bigbatch: error: "
COMMAND: Final = ("-m", "bigbatch", "train")
TRAIN: Final = (*python_command(), *COMMAND)


@dataclass(frozen=True)
class Run:
    """What came of a short run: the loss of every iteration and the weights' hash, or the line that refused it."""

    processes: int
    losses: tuple[float, ...] = ()
    weights_sha256: str = ""
    error: str = ""


def check_processes(recipe: Recipe, processes: Sequence[int], *, iterations: int) -> Check:
    """Train the first iterations with each number of processes, and twice with the first: there p does not enter.

    More processes than GPUs share them, and sum over Gloo.
    """
    with tempfile.TemporaryDirectory(prefix="bigbatch-verify-") as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(to_toml(recipe))
        runs = []
        for number, p in enumerate((processes[0], *processes)):
            runs.append(short_run(path, p, Path(folder) / str(number), iterations=iterations))
            if runs[-1].error:
                return failed(NAME, f"p = {p}: {runs[-1].error}")
    return compare(runs)


def compare(runs: Sequence[Run]) -> Check:
    """Compare the runs with the first; the second has as many processes."""
    first = runs[0]
    for run in runs[1:]:
        if not (found := difference(first, run)):
            continue
        if run.processes == first.processes:
            return failed(NAME, f"two runs with p = {run.processes} differ, so unseeded randomness enters: {found}")
        return failed(NAME, f"p = {run.processes} differs from p = {first.processes}: {found}")
    counts = ", ".join(str(run.processes) for run in runs)
    if shared_gpus(most := max(run.processes for run in runs)):
        counts += f" (above {num_gpus()} on shared GPUs, over Gloo)"
    hint = "; one worker allows no more" if most == 1 else ""
    weights = f"weights {first.weights_sha256[:12]}"
    return passed(NAME, f"p = {counts}{hint}: {len(first.losses)} iterations, every loss and the {weights} the same")


def short_run(
    recipe: Path,
    processes: int,
    folder: Path,
    *,
    iterations: int,
    train: Sequence[str] = (),
    timeout_seconds: float | None = None,
) -> Run:
    """Train a recipe's first iterations in processes of their own, in the current folder.

    Args:
        recipe: its file.
        processes: how many.
        folder: of the run.
        iterations: how many.
        train: the words that start a training; by default those of this Python.
        timeout_seconds: after which the run is given up.
    """
    options = ("--processes", str(processes), "--output", str(folder), "--stop-after-iteration", str(iterations))
    command = [*(train or TRAIN), str(recipe), *options]
    environment = os.environ | shared_gpus(processes)
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, check=False, env=environment, timeout=timeout_seconds
        )
    except subprocess.TimeoutExpired:
        return Run(processes, error=f"it was given up after {timeout_seconds:g} s; try a smaller worker_minibatch_size")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
        return Run(processes, error=lines[-1].removeprefix(ERROR))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in metrics if "loss" in line and "epoch" not in line][:iterations]
    return Run(processes, tuple(losses), RunFolder(folder).read_summary().weights_sha256 or "")


def difference(before: Run, after: Run) -> str | None:
    """Return the first value in which two runs differ, in words."""
    if len(before.losses) != len(after.losses):
        return f"{len(before.losses)} iterations and {len(after.losses)}"
    for iteration, (a, b) in enumerate(zip(before.losses, after.losses, strict=True)):
        if a != b and not (a != a and b != b):  # noqa: PLR0124 - two NaNs are the same
            return f"the loss of iteration {iteration} is {a:.9g} and {b:.9g}"
    if before.weights_sha256 != after.weights_sha256:
        return f"weights {before.weights_sha256[:12]} and {after.weights_sha256[:12]}, with the same losses"
    return None
