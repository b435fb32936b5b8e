"""The studies: each is one `bigbatch sweep`, whose runs go into a card, a figure and runs that `bigbatch report` reads.

Run from the repository's root: python benchmarks/studies.py NAME [--seeds N] [--show]. It resumes where it was
interrupted; --show writes what there is. CIFAR-10 is read from data/cifar10, tinyshakespeare from
data/tinyshakespeare.txt, Imagenette from data/imagenette160, and from its pack in data/imagenette-pack:
`bigbatch pack data/imagenette160 data/imagenette-pack --pixels --short-side 96`. From benchmarks/results/NAME.json
`bigbatch report` draws the study's page.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import kendalltau

from bigbatch.runs.summary import Summary
from card import RESULTS, describe, write_text

SIZES_OF_FASHION = "32,64,128,256,512,1024,2048,4096,8192"
SMALL = ("--set", "model.width=8")  # a third of the preset's time
CIFAR10 = (
    *("cifar10", "--set", "data.path=data/cifar10", "--epochs", "15", "--set", "schedule.kind=cosine"),
    *("--set", "schedule.milestones=[]", "--set", "warmup.epochs=1", "--set", "model.name=cifar-resnet8"),
    *("--set", "model.stem_pool=true"),
)
TABLES = "recipe,no-warmup,constant-warmup,unscaled,square-root,halved-rate,doubled-rate,zero-gamma-off"
PLAIN = "recipe"
FEWEST_TO_ORDER = 3
PAPER_AT_8K = {
    "recipe": 23.74,
    "no-warmup": 24.84,
    "constant-warmup": 25.88,
    "unscaled": 41.67,
    "square-root": 26.22,
    "halved-rate": 24.27,
    "doubled-rate": 24.05,
    "zero-gamma-off": 24.11,
}  # ResNet-50 on ImageNet at 32 times the reference, whose error is 23.60 % (arXiv 1706.02677, tables 1 and 2)


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
    "cifar10_figure1": Study(
        "CIFAR-10 (as JPEG): up to which minibatch size does linear scaling keep the error?",
        (*CIFAR10, "--minibatch-sizes", "128,256,512,1024"),
    ),
    "digits_tables": Study(
        "Digits at 16 times the reference: the paper's tables 1 and 2",
        ("digits", "--minibatch-sizes", "256", "--variants", f"{TABLES},loss-mean-per-worker,n=32,n=64"),
    ),
    "fashion_mnist_tables": Study(
        "Fashion-MNIST at 8 times the reference: the paper's tables 1 and 2",
        ("fashion-mnist", *SMALL, "--minibatch-sizes", "512", "--variants", f"{TABLES},n=16,n=64"),
    ),
    "fashion_mnist_past_the_elbow": Study(
        "Fashion-MNIST at 16, 32 and 64 times the reference, past the elbow: AdaScale, growing minibatches, LARS",
        (
            *("fashion-mnist", *SMALL, "--minibatch-sizes", "1024,2048,4096", "--variants"),
            (
                "recipe,grow-from-256:growth.kind=schedule,growth.start=256,adascale,"
                "my-lars:optimizer.name=lars,optimizer.trust=0.05,"
                "lars-by-root:optimizer.name=lars,optimizer.trust=0.05,scaling.rule=square-root"
            ),
        ),
    ),
    "fashion_mnist_longer": Study(
        "Fashion-MNIST at the reference, trained as long as AdaScale trains at 16, 32 and 64 times it: what is left?",
        (
            *("fashion-mnist", *SMALL, "--minibatch-sizes", "64", "--variants"),
            "recipe,30-epochs:epochs=30,45-epochs:epochs=45,74-epochs:epochs=74",
        ),
    ),
    "tinyshakespeare_figure1": Study(
        "Tinyshakespeare: up to which minibatch size does AdamW with the square-root rule keep the perplexity?",
        ("benchmarks/tinyshakespeare.toml", "--minibatch-sizes", "16,32,64,128,256,512"),
    ),
    "imagenette_figure1": Study(
        "Imagenette at 64 pixels, a ResNet-18: up to which minibatch size does linear scaling keep the error?",
        (
            *("imagenette", "--set", "data.path=data/imagenette-pack"),
            *("--minibatch-sizes", "32,64,128,256,512"),
        ),
    ),
    "digits_past_the_elbow": Study(
        "Digits at 16 times the reference, about the elbow of linear scaling: AdaScale, growing minibatches, LARS",
        (
            *("digits", "--minibatch-sizes", "256", "--set", "growth.start=32", "--variants"),
            "recipe,adascale,growing,growing-with-noise,my-lars:optimizer.name=lars,optimizer.trust=0.05",
        ),
    ),
}


def bigbatch(*arguments: str) -> str:
    """Run the command, and return what it printed; end as it does, if it fails."""
    command = [sys.executable, "-m", "bigbatch", *arguments]
    found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        sys.exit(found.returncode)
    return found.stdout


def last_results(results: Path, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[float]]:
    """Return the results after the last epoch of the runs that the rows count, by configuration."""
    counted = {(row["variant"], row["minibatch_size"]): row["results"] for row in rows}
    found: dict[tuple[str, int], list[float]] = {}
    for run in (kept["summary"] for kept in json.loads(results.read_text())["runs"]):
        configuration = run.get("variant", ""), run["recipe"]["minibatch_size"]
        if str(run["recipe"]["seed"]) in counted.get(configuration, {}):
            found.setdefault(configuration, []).append(Summary.read(run).final_result)
    return found


def mean_and_std(results: Sequence[float]) -> str:
    """Return results as a table shows them."""
    return "-" if not results else f"{mean(results):.2f}" + (f" ± {stdev(results):.2f}" if len(results) > 1 else "")


def table_of(
    rows: list[dict[str, Any]], last: Mapping[tuple[str, int], Sequence[float]], metric: Mapping[str, str]
) -> str:
    """Return the rows of a sweep as a table in Markdown, with the results after the last epoch besides."""
    name, unit = metric["name"].replace("top-1-", ""), f", {metric['unit']}" if metric["unit"] else ""
    columns = ("variant", "minibatch", "rate", "iterations", f"{name}{unit}", "verdict", "each seed")
    lines = [
        f"| {' | '.join(columns)} | after the last epoch{unit} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        diverged = f"{row['seeds_diverged']} of {row['seeds_asked']} diverged" if row["seeds_diverged"] else ""
        verdict = row["verdict"]["text"] if row["verdict"] else diverged or ("the reference" if row["results"] else "-")
        seeds = ", ".join(f"{value:.2f}" for value in row["results"].values())
        cells = (
            row["variant"],
            row["minibatch_size"],
            f"{row['learning_rate']:.4g}",
            row["iterations"],
            mean_and_std(list(row["results"].values())),
            verdict,
            seeds,
            mean_and_std(last.get((row["variant"], row["minibatch_size"]), [])),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def beside_the_paper(rows: list[dict[str, Any]], reference: int) -> str:
    """Return what each change costs here and in the paper, and whether the two agree on their order."""
    whole = [row for row in rows if row["mean"] is not None and not row["seeds_diverged"]]
    ours = {row["variant"]: row["mean"] for row in whole if row["minibatch_size"] != reference}
    shared = [name for name in PAPER_AT_8K if name in ours and name != PLAIN]
    if PLAIN not in ours or len(shared) < FEWEST_TO_ORDER:
        return ""
    costs = [(ours[name] - ours[PLAIN], PAPER_AT_8K[name] - PAPER_AT_8K[PLAIN]) for name in shared]
    lines = ["", "", "| the recipe, but | costs here, points | in the paper, at 8k |", "|---|---|---|"]
    lines += [f"| {name} | {here:+.2f} | {there:+.2f} |" for name, (here, there) in zip(shared, costs, strict=True)]
    order = kendalltau(*zip(*costs, strict=True))
    agreement = f"Order of the changes by cost, here and in the paper: Kendall's tau {order.statistic:.2f}"
    return "\n".join([*lines, "", f"{agreement} (p = {order.pvalue:.2f} were there nothing in common)."])


def write_results(name: str, study: Study, found: dict[str, Any], runs: Path) -> None:
    """Write the card, the runs, and the curve if there are several minibatch sizes."""
    with tempfile.TemporaryDirectory() as folder:
        bigbatch("report", str(runs), "--output", folder)
        curves = list(Path(folder).glob("*-by-size.png"))  # one, of the metric, if there are several sizes
        what = found["metric"]["name"].replace("top-1-", "").capitalize()
        figure = f"![{what} against minibatch size]({name}.png)\n\n" if curves else ""
        shutil.copy(Path(folder) / "runs.json", RESULTS / f"{name}.json")
        for curve in curves:
            shutil.copy(curve, RESULTS / f"{name}.png")
    elbow = f"\n\nElbow: {found['elbow']['text']}." if found["elbow"] else ""
    unfinished = unfinished_of(found["unfinished"])
    draw = f"`bigbatch report benchmarks/results/{name}.json` draws its page."
    paper = beside_the_paper(found["rows"], found["reference_minibatch_size"])
    table = table_of(found["rows"], last_results(RESULTS / f"{name}.json", found["rows"]), found["metric"])
    body = f"{table}{paper}{elbow}\n\n{figure}{draw}{unfinished}"
    write_text(name, study.question, body, describe())


def unfinished_of(runs: list[dict[str, Any]]) -> str:
    """Return which runs are no part of the result: those that were not run in one line, the others by name."""
    lines = [f"\n- not finished: {run['run']} ({run['kind']})" for run in runs if run["kind"] != "missing"]
    missing = Counter(run["run"].rpartition("-seed")[0] for run in runs if run["kind"] == "missing")
    if missing:
        lines.append(f"\n- not run: {', '.join(f'{name} ({count} seeds)' for name, count in missing.items())}")
    return "".join(["\n", *lines]) if lines else ""


def main() -> None:
    """Run a study, and write what it has found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, help="where the runs are (default: runs/NAME)")
    parser.add_argument("--jobs", type=int, help="runs at once (default: the sweep's)")
    parser.add_argument("--show", action="store_true", help="write what there is, and start no run")
    options = parser.parse_args()
    study, runs = STUDIES[options.name], options.runs or Path("runs") / options.name
    sweep = ["sweep", *study.arguments, "--seeds", str(options.seeds), "--output", str(runs)]
    sweep += ["--jobs", str(options.jobs)] if options.jobs else []
    found = json.loads(bigbatch(*sweep, "--json", *(["--show"] if options.show else [])))
    write_results(options.name, study, found, runs)


if __name__ == "__main__":
    main()
