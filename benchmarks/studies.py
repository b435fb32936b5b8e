"""The studies: each is one `bigbatch sweep`, whose runs go into a card, a figure and runs that `bigbatch report` reads.

Run from the repository's root: python benchmarks/studies.py NAME [--seeds N] [--show]. It resumes where it was
interrupted; --show writes what there is. From benchmarks/results/NAME.json `bigbatch report` draws the study's page.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from card import RESULTS, describe, write_text

SIZES_OF_FASHION = "32,64,128,256,512,1024,2048,4096,8192"
SMALL = ("--set", "model.width=8")  # a third of the preset's time


@dataclass(frozen=True)
class Study:
    """A sweep, and what it asks."""

    question: str
    arguments: tuple[str, ...]


STUDIES = {
    "fashion_mnist_figure1": Study(
        "Fashion-MNIST: up to which minibatch size does linear scaling keep the error?",
        ("fashion-mnist", *SMALL, "--minibatch-sizes", SIZES_OF_FASHION),
    ),
    "digits_figure1": Study(
        "Digits: up to which minibatch size does linear scaling keep the error?",
        ("digits", "--minibatch-sizes", "16,32,64,128,256,512,1024"),
    ),
    "digits_tables": Study(
        "Digits at 16 times the reference: the paper's tables 1 and 2",
        (
            *("digits", "--minibatch-sizes", "256", "--variants"),
            (
                "recipe,no-warmup,constant-warmup,unscaled,square-root,halved-rate,doubled-rate,zero-gamma-off,"
                "loss-mean-per-worker,n=32,n=64"
            ),
        ),
    ),
    "digits_past_the_elbow": Study(
        "Digits at 16 times the reference, past the elbow of linear scaling: AdaScale, growing minibatches, LARS",
        (
            *("digits", "--minibatch-sizes", "256", "--set", "growth.start=32", "--variants"),
            "recipe,adascale,growing,growing-with-noise,my-lars:optimizer.name=lars,optimizer.trust=0.05",
        ),
    ),
}


def bigbatch(*arguments: str) -> str:
    """Run the command, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "bigbatch", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return the rows of a sweep as a table in Markdown."""
    lines = [
        "| variant | minibatch | rate | iterations | error, % | verdict | each seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row["std"] is None else f" ± {row['std']:.2f}"
        error = "-" if row["mean"] is None else f"{row['mean']:.2f}{spread}"
        diverged = f"{row['seeds_diverged']} of {row['seeds_asked']} diverged" if row["seeds_diverged"] else ""
        verdict = row["verdict"]["text"] if row["verdict"] else diverged or "the reference"
        seeds = ", ".join(f"{value:.2f}" for value in row["errors"].values())
        cells = (
            row["variant"],
            row["minibatch_size"],
            f"{row['learning_rate']:.4g}",
            row["iterations"],
            error,
            verdict,
        )
        lines.append(f"| {' | '.join(map(str, cells))} | {seeds} |")
    return "\n".join(lines)


def write_results(name: str, study: Study, found: dict[str, Any], runs: Path) -> None:
    """Write the card, the figure and the runs."""
    with tempfile.TemporaryDirectory() as folder:
        bigbatch("report", str(runs), "--output", folder)
        shutil.copy(Path(folder) / "runs.json", RESULTS / f"{name}.json")
        shutil.copy(Path(folder) / "error-by-size.png", RESULTS / f"{name}.png")
    elbow = f"\n\nElbow: {found['elbow']['text']}." if found["elbow"] else ""
    unfinished = "".join(f"\n- not finished: {run['run']} ({run['kind']})" for run in found["unfinished"])
    unfinished = f"\n{unfinished}" if unfinished else ""
    draw = f"`bigbatch report benchmarks/results/{name}.json` draws its page."
    body = f"{table_of(found['rows'])}{elbow}\n\n![Error against minibatch size]({name}.png)\n\n{draw}{unfinished}"
    write_text(name, study.question, body, describe())


def main() -> None:
    """Run a study, and write what it has found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, help="where the runs are (default: runs/NAME)")
    parser.add_argument("--show", action="store_true", help="write what there is, and start no run")
    options = parser.parse_args()
    study, runs = STUDIES[options.name], options.runs or Path("runs") / options.name
    sweep = ("sweep", *study.arguments, "--seeds", str(options.seeds), "--output", str(runs))
    found = json.loads(bigbatch(*sweep, "--json", *(["--show"] if options.show else [])))
    write_results(options.name, study, found, runs)


if __name__ == "__main__":
    main()
