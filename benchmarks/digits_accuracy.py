"""Does the error stay when the minibatch grows 16 times? Digits at 16 and 256, and the wrong variants at 256.

Run from the repository's root: python benchmarks/digits_accuracy.py [--seeds 5]. Finished runs are not repeated.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from bigbatch.runs import RunFolder
from card import write_card

VARIANTS = {
    "16, the reference": (),
    "256, linear, gradual warmup": ("--minibatch-size", "256"),
    "256, linear, constant warmup": ("--minibatch-size", "256", "--set", "warmup.kind=constant"),
    "256, linear, no warmup": ("--minibatch-size", "256", "--set", "warmup.kind=none"),
    "256, square root, gradual warmup": ("--minibatch-size", "256", "--set", "scaling.rule=square-root"),
    "256, rate not scaled": ("--minibatch-size", "256", "--set", "scaling.rule=none"),
}


def run(job: tuple[int, str, int]) -> float:
    """Train one variant with one seed, unless its folder has it, and return its error in %."""
    number, variant, seed = job
    folder = RunFolder(Path(f"runs/digits-accuracy/{number}-{seed}"))
    command = [sys.executable, "-m", "bigbatch", "train", "digits", *VARIANTS[variant], "--seed", str(seed)]
    command += ["--processes", "1", "--resume", "--output", str(folder.path)]
    subprocess.run(command, check=True, capture_output=True)
    return float(folder.read_summary()["validation_error"])


def main() -> None:
    """Train every variant with every seed, two at a time, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    jobs = [(number, variant, seed) for seed in seeds for number, variant in enumerate(VARIANTS)]
    with ThreadPoolExecutor(2) as pool:
        errors = dict(zip(jobs, pool.map(run, jobs), strict=True))
    result = {v: [errors[number, v, seed] for seed in seeds] for number, v in enumerate(VARIANTS)}
    rows = [f"| {v} | {mean(e):.2f} ± {stdev(e):.2f} | {', '.join(f'{x:.2f}' for x in e)} |" for v, e in result.items()]
    header = "| minibatch, rate, warmup | validation error, % (mean ± std) | each seed |\n|---|---|---|\n"
    title = f"Digits: 16 times the minibatch, {len(seeds)} seeds"
    write_card("digits_accuracy", title, result, header + "\n".join(rows))


if __name__ == "__main__":
    main()
