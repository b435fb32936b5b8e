"""What one GPU must show, in ten minutes: python benchmarks/gpu FOLDER, with PYTHONPATH=src.

It needs torch, numpy and safetensors, but neither git nor a network. Each section writes FOLDER/NAME.json as it goes,
and at the end there is FOLDER/card.md. The sections run one after the other in one process. If one fails or takes far
too long, a new process goes on with the next: after an error of CUDA, a process is often of no use any more.
Exit code 0: all sections have run, and all promises held.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from card import write_card
from record import DONE, ENDED, FAILED, Record

BUDGET_SECONDS = {
    "engine": 10,
    "everything": 60,
    "bits": 150,
    "speed": 220,
    "breakdown": 50,
    "memory": 30,
    "loading": 60,
}
PATIENCE = 1.5  # budgets that a section may take
STARTING_SECONDS = 60  # that a process may take to begin its first section
WRITTEN_DOWN, NO_GPU = 3, 4  # exit codes of a process whose section failed and says so, or that has nothing to run on


def main() -> int:
    """Run the sections, write the card, and return the exit code."""
    options = parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.in_this_process:
        return run_here(options)
    for name in options.sections:
        (options.folder / f"{name}.json").unlink(missing_ok=True)
    while sections := unfinished(options):
        if run_process(options, sections) == NO_GPU:
            sys.exit("this machine has no GPU: nothing was run (--device cpu --short shows that all of it starts)")
    records = [Record.read(options.folder, name) or Record(name) for name in options.sections]
    print(write_card(options.folder, records))
    return 0 if all(record.has_kept_all for record in records) else 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("benchmarks/gpu", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the findings and the card")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--short", action="store_true", help="tiny models: does all of it run?")
    parser.add_argument("--sections", nargs="+", default=list(BUDGET_SECONDS), metavar="NAME", help="all by default")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def unfinished(options: argparse.Namespace) -> list[str]:
    """Return the sections that have not come to an end."""
    records = {name: Record.read(options.folder, name) for name in options.sections}
    return [name for name, record in records.items() if record is None or record.status not in ENDED]


def run_process(options: argparse.Namespace, sections: list[str]) -> int:
    """Run sections in a process, until it ends or one of them takes too long; at least one comes to an end.

    Returns:
        The exit code of the process.
    """
    command = [sys.executable, sys.argv[0], str(options.folder), "--device", options.device, "--in-this-process"]
    command += ["--short"] * options.short + ["--sections", *sections]
    process = subprocess.Popen(command, start_new_session=True, env={"KINETO_LOG_LEVEL": "5", **os.environ})
    reason = watch(process, options)
    left = unfinished(options)
    if left and process.returncode not in {WRITTEN_DOWN, NO_GPU}:
        record = Record.read(options.folder, left[0]) or Record(left[0])
        record.status, record.error = FAILED, f"{reason}, with exit code {process.returncode}"
        record.write(options.folder)
    return process.returncode


def watch(process: subprocess.Popen[bytes], options: argparse.Namespace) -> str:
    """Wait for a process to end, or kill it if its section takes too long; return which of the two."""
    current, since = "", time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        name = next(iter(unfinished(options)), current)
        if name != current:
            current, since = name, time.monotonic()
        has_begun = Record.read(options.folder, current) is not None
        if time.monotonic() - since > (PATIENCE * budget_of(current) if has_begun else STARTING_SECONDS):
            os.killpg(process.pid, signal.SIGKILL)  # its own processes too
            process.wait()
            return "it took too long"
    return "its process ended"


def budget_of(section: str) -> float:
    """Return the seconds of a section; the tests have sections of their own."""
    return BUDGET_SECONDS.get(section, 10)


def run_here(options: argparse.Namespace) -> int:
    """Run sections in this process, until one fails."""
    import torch

    from bench import Bench

    if options.device == "cuda" and not torch.cuda.is_available():
        return NO_GPU
    for name in options.sections:
        record = Record(name)
        record.write(options.folder)
        try:
            bench = Bench(record, options.folder, options.device, options.short, budget_of(name))
            importlib.import_module(name).run(bench)
            record.status = DONE
        except Exception as error:  # noqa: BLE001 - whatever it is, the next section starts
            record.status, record.error = FAILED, f"{type(error).__name__}: {error}"
        record.write(options.folder)
        if record.status == FAILED:
            return WRITTEN_DOWN
    return 0


if __name__ == "__main__":
    sys.exit(main())
