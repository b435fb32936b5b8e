"""Does a pack of smaller images keep the error of the JPEGs that it was made of? Imagenette, at its preset's reference.

Run from the repository's root, after `python benchmarks/studies.py imagenette_figure1`, whose runs are the pack's:
python benchmarks/pack.py [--seeds N]. The JPEGs lie in data/imagenette160. It resumes where it was interrupted.
"""

import argparse
import json
from pathlib import Path

from bigbatch.runs.folder import RunFolder
from bigbatch.study.configuration import Configuration
from bigbatch.study.statistics import Outcomes, judge
from card import describe, write_text
from studies import bigbatch, mean_and_std

PACKED, JPEGS = Path("runs/imagenette_figure1"), Path("runs/imagenette_jpegs")
SIZE = 64


def results_of(folder: Path, seeds: int) -> tuple[list[float], list[float]]:
    """Return the errors of the runs, in %: the medians of the last five epochs, and those after the last."""
    runs = [RunFolder(folder / f"recipe-{SIZE}-seed{seed}").read_summary() for seed in range(seeds)]
    medians = [run.result for run in runs if run.result is not None]
    return medians, [run.final_result for run in runs if run.final_result is not None]


def main() -> None:
    """Train on the JPEGs, compare, and write the card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    words = ("imagenette", "--set", "data.path=data/imagenette160", "--minibatch-sizes", str(SIZE))
    json.loads(bigbatch("sweep", *words, "--seeds", str(seeds), "--output", str(JPEGS), "--json"))
    names = {"JPEGs of 160 pixels": JPEGS, "a pack of pixels, shorter side 96": PACKED}
    found = {name: results_of(folder, seeds) for name, folder in names.items()}
    lines = ["| read from | error, % | after the last epoch, % | each seed, after the last epoch | verdict |"]
    lines.append("|---|---|---|---|---|")
    points = {Configuration(name, SIZE): Outcomes(last) for name, (_, last) in found.items()}
    reference = next(iter(points))
    judgement = judge(points, reference)
    for point, (medians, last) in zip(points, found.values(), strict=True):
        verdict = "the reference" if point == reference else judgement.verdicts.get(point, judgement.remark)
        each = ", ".join(f"{value:.2f}" for value in last)
        lines.append(f"| {point.variant} | {mean_and_std(medians)} | {mean_and_std(last)} | {each} | {verdict} |")
    margin = f"Margin: {judgement.margin:.2f}, two standard deviations of the JPEGs' runs." if judgement.margin else ""
    table = "\n".join(lines) + f"\n\nThe verdict is on the error after the last epoch. {margin}"
    write_text("imagenette_pack", "Imagenette: does a pack keep the error of its JPEGs?", table, describe())


if __name__ == "__main__":
    main()
