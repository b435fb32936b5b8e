"""Processes that differ, from the start or by a fault, and losses that are no numbers: one decision everywhere."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from faulty import BAD_SAMPLE
from kills import start_up_seconds
from trial import TINY, Row, Trial

import bigbatch

HERE = Path(__file__).parent
WITH_FAULTY_DATA = (*TINY, "--set", "data.name=faulty:digits")
NOT_FINITE, BAD_INPUT = 3, 2
SECONDS_TO_REFUSE = 5


@dataclass(frozen=True)
class Mismatch:
    """How the last rank differs, and what the refusal must name."""

    expected: str
    arguments: tuple[object, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    changed_source: str = ""


OWN_MODEL = ("--set", "model.name=faulty:net")
MISMATCHES = {
    "seed": Mismatch("its sizes: minibatch_size 64, worker_minibatch_size 16, seed 1 instead of", ("--seed", 1)),
    "minibatch": Mismatch("its sizes: minibatch_size 128", ("--minibatch-size", 128)),
    "rate": Mismatch("its recipe: learning_rate = 0.5 instead", ("--set", "reference.learning_rate=0.5")),
    "precision": Mismatch("its numbers: cpu, bfloat16 forward pass", ("--set", "precision=bfloat16")),
    "data": Mismatch("its data: fingerprint", environment={"FAULT": "other data"}),
    "shape": Mismatch("its parameters: 1.weight: torch.float32, [17, 64]", environment={"OTHER_MODEL": "width"}),
    "dtype": Mismatch("its parameters: 1.weight: torch.float64, [16, 64]", environment={"OTHER_MODEL": "dtype"}),
    "default dtype": Mismatch(
        "its parameters: 3.weight: torch.float64, [10, 16]", environment={"FAULT": "default dtype"}
    ),
    "threads": Mismatch("its engine: threads_per_process 2 instead of", ("--threads-per-process", 2)),
    "sum": Mismatch("its way to sum: AggregationOptions(all_reduce='native'", ("--reduction", "native")),
    "torch": Mismatch("its engine: torch 1.0 instead of torch", environment={"FAULT": "torch"}),
    "numpy": Mismatch("its engine: numpy 1.0 instead of numpy", environment={"FAULT": "numpy"}),
    "python": Mismatch("its engine: python 2.7 instead of python", environment={"FAULT": "python"}),
    "user's code": Mismatch("its code: faulty", changed_source="faulty"),
    "our code": Mismatch("its code: bigbatch", changed_source="bigbatch"),
    "checkpoint": Mismatch("the checkpoint it sees in", ("--output", "elsewhere")),
}


def refuse_mismatches(
    *, processes: int = 3, kinds: tuple[str, ...] = tuple(MISMATCHES), limit: float = SECONDS_TO_REFUSE
) -> Row:
    """Let the last rank differ from the others, in one thing after the other."""
    start_up, slowest, wrong = start_up_seconds(processes), 0.0, []
    with TemporaryDirectory() as name:
        for kind in kinds:
            start = time.monotonic()
            ends = run_ranks(Path(name) / kind, processes, MISMATCHES[kind])
            slowest = max(slowest, time.monotonic() - start - start_up)
            expected = f"bigbatch: error: rank {processes - 1} differs from rank 0 in {MISMATCHES[kind].expected}"
            wrong += [
                f"{kind} ({code}): {text[-200:]}"
                for code, text in ends
                if code != BAD_INPUT or expected not in text or "Traceback" in text
            ]
    return Row(
        f"one rank differs from the others: {len(kinds)} kinds",
        f"refused within {limit:g} s, naming rank and field",
        f"{'all' if not wrong else 'NOT all'} refused by every rank, the slowest in {slowest:.1f} s besides start-up"
        + "".join(f"; WRONG: {text}" for text in wrong),
        not wrong and slowest <= limit,
    )


def run_ranks(folder: Path, processes: int, mismatch: Mismatch) -> list[tuple[int, str]]:
    """Start each rank as srun would, the last one with its difference; return exit code and errors of each."""
    folder.mkdir()
    command = [*WITH_FAULTY_DATA, *OWN_MODEL, "--epochs", 1, "--output", "run", "--resume"]
    if "checkpoint" in mismatch.expected:
        _run(folder, [*command, "--stop-after-iteration", 5], {}).communicate()
    ranks = []
    for rank in range(processes):
        places = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
        environment = {name: str(value) for name, value in places.items()} | {"BIGBATCH_STORE": str(folder / "store")}
        if rank < processes - 1:
            ranks.append(_run(folder, command, environment))
            continue
        path = _with_changed_source(folder, mismatch.changed_source)
        ranks.append(_run(folder, [*command, *mismatch.arguments], environment | mismatch.environment | path))
    return [(process.returncode, text) for process in ranks for text in [process.communicate(timeout=240)[1]]]


def _run(folder: Path, command: list[object], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bigbatch", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _with_changed_source(folder: Path, name: str) -> dict[str, str]:
    """Return the path to a copy of a module or package that differs in a comment."""
    if not name:
        return {}
    copy = folder / "copy"
    copy.mkdir()
    source = HERE / "faulty.py"
    if name == "bigbatch":
        shutil.copytree(Path(bigbatch.__file__).parent, copy / "bigbatch")
        source = copy / "bigbatch" / "errors.py"
    (copy / source.relative_to(source.parents[1 if name == "bigbatch" else 0])).write_text(
        source.read_text() + "# changed\n"
    )
    return {"PYTHONPATH": f"{copy}:{HERE}"}


def flip_a_bit(*, processes: int = 3) -> Row:
    """Flip one bit in one rank's weights, and let a restart heal it."""
    recipe = (*WITH_FAULTY_DATA, "--epochs", 12)
    path = {"PYTHONPATH": str(HERE)}
    with TemporaryDirectory() as name:
        alone = Trial(Path(name) / "alone", *recipe, "--processes", 1, **path)
        assert alone.run() == 0, alone.printed()
        options = ("--processes", processes, "--save-every-epochs", 5, "--max-restarts", 1)
        trial = Trial(Path(name) / "flipped", *recipe, *options, **path, FAULT="flip")
        exit_code, printed = trial.run(), trial.printed()
        is_same = exit_code == 0 and trial.summary()["weights_sha256"] == alone.summary()["weights_sha256"]
    is_found = "rank 1 no longer holds the weights of the other processes, after 200 iterations" in printed
    return Row(
        "one bit flipped in one rank's weights, before iteration 130",
        "found within 100 iterations; a restart goes on from a checkpoint before it",
        f"{'found after 200 iterations, the rank named' if is_found else f'NOT found ({printed[-300:]})'}; after the "
        f"restart {'the undisturbed' if is_same else 'OTHER'} weights",
        is_found and is_same,
    )


def nan_on_one_worker(*, layouts: tuple[int, ...] = (1, 2, 4)) -> Row:
    """Let one training sample be NaN: stop at its iteration and go on with skip; skip from the start."""
    messages, hashes = set(), set()
    recipe = (*WITH_FAULTY_DATA, "--epochs", 3)
    fault = {"PYTHONPATH": str(HERE), "FAULT": "nan"}
    with TemporaryDirectory() as name:
        for processes in layouts:
            trial = Trial(Path(name) / f"stop-{processes}", *recipe, "--processes", processes, **fault)
            exit_code = trial.run()
            messages.add((exit_code, *(line for line in trial.printed().splitlines() if "error" in line)))
            assert trial.run("--resume", "--on-nonfinite", "skip") == 0, trial.printed()
            skipping = Trial(Path(name) / f"skip-{processes}", *recipe, "--processes", processes, **fault)
            assert skipping.run("--on-nonfinite", "skip") == 0, skipping.printed()
            assert sum("skipped" in line for line in skipping.iterations().values()) == 3  # noqa: PLR2004 - one an epoch
            hashes |= {run.summary()["weights_sha256"] for run in (trial, skipping)}
    exit_code, text = min(messages)
    is_named = f" {BAD_SAMPLE}" in text and "at iteration" in text and "worker" in text
    return Row(
        f"NaN on one worker; {', '.join(map(str, layouts))} processes",
        "same decision everywhere, naming iteration, worker and samples; never in a checkpoint",
        f"{len(messages)} message with exit code {exit_code}, {'naming' if is_named else 'NOT naming'} iteration, "
        f"worker and sample; {len(hashes)} hash of the weights when it is skipped, at once or after the stop",
        len(messages) == len(hashes) == 1 and exit_code == NOT_FINITE and is_named,
    )
