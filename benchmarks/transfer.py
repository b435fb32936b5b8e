"""Does a backbone of a large minibatch transfer as well as one of a small minibatch? Three studies, on one core.

Run from the repository's root: python benchmarks/transfer.py STAGE [--seeds N] [--runs DIR] [--show]. The stages, in
this order: `prepare` cuts small data sets from data/imagenette160 and data/cifar10. `pretrain` trains backbones at
several minibatch sizes. `classify` fine-tunes them on other images. `detect` puts them into a detector on data/bccd.
`rule` trains that detector at several minibatch sizes, for as many samples each; `gentle-rule` does so at a quarter
of the rate, for twice as long. Each resumes where it was interrupted; --show writes the card of what there is, and
trains nothing.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Self

from PIL import Image

from bigbatch.figures import COLOURS, DPI, SOFT, figure_style
from bigbatch.processes.outcome import ExitCode
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import FAILED, FINISHED
from bigbatch.runs.summary import Summary
from bigbatch.study.configuration import Configuration
from bigbatch.study.statistics import Judgement, Outcomes, judge
from card import RESULTS, describe, write_text
from studies import Study, bigbatch, mean_and_std, write_results

DATA = Path("data")
SMALL_IMAGENETTE, SMALL_CIFAR10, BCCD = DATA / "imagenette73", DATA / "cifar10-2000", DATA / "bccd" / "BCCD"
PIXELS = 73  # 64 * 256 / 224: what the evaluation's centre of 64 pixels is cut from
SIZES = (32, 128, 256, 1024)  # the reference, 4 and 8 times it, and past the elbow
RULE_SIZES = (2, 4, 8, 16)
WIDTH = ("model.name=resnet18", "model.width=8", "data.image_size=64", "worker_minibatch_size=32")
COSINE = ("schedule.kind=cosine", "schedule.milestones=[]", "warmup.epochs=1")
PRETRAINING = (
    *(*WIDTH, *COSINE, "name=backbone", f"data.path={SMALL_IMAGENETTE}", "epochs=12"),
    *("reference.minibatch_size=32", "reference.learning_rate=0.05", "reference.largest_matching=0"),
    "optimizer.weight_decay=5e-4",
)
CLASSIFYING = (
    *(*WIDTH, *COSINE, "name=classifier", f"data.path={SMALL_CIFAR10}", "epochs=10"),
    *("reference.minibatch_size=32", "reference.learning_rate=0.02", "reference.largest_matching=0"),
    *("minibatch_size=32", "optimizer.weight_decay=5e-4", 'model.weights_prefix={"fc." = "old-head."}'),
)
DETECTING = (
    *(f"data.path={BCCD}", 'model.weights_prefix={"" = "backbone.body."}'),
    "model.frozen_batch_norm=true",
)
GENTLY = ("reference.learning_rate=0.0075", "epochs=20", "warmup.epochs=4")
FROM_SCRATCH = "no backbone"
PAPER_BACKBONES = {32: "256: 35.9 / 33.9", 256: "8k: 35.8 / 33.9", 1024: "16k: 35.1 / 33.2"}
IN_THE_PAPER = "In the paper: Mask R-CNN on COCO, box AP / mask AP (arXiv 1706.02677, section 5.4)."
PAPER_RULE = {2: "35.7", 4: "35.7", 8: "35.7", 16: "35.6"}


@dataclass(frozen=True)
class Run:
    """A run of a study: its folder, the row that it belongs to, and how it is trained."""

    folder: RunFolder
    row: Configuration
    seed: int
    recipe: str
    settings: tuple[str, ...]

    @classmethod
    def of(cls, runs: Path, row: Configuration, seed: int, recipe: str, settings: tuple[str, ...]) -> Self:
        """Return the run that is named after its row and its seed, in a study's folder."""
        name = f"{row.variant.replace(' ', '-')}-{row.minibatch_size}-seed{seed}"
        return cls(RunFolder(runs / name), row, seed, recipe, settings)


def prepare() -> None:
    """Write small copies: Imagenette at 73 pixels, and 200 images a class of CIFAR-10, once."""
    for split, count in (("train", 512), ("val", 100)):
        copy_images(DATA / "imagenette160" / split, SMALL_IMAGENETTE / split, count, side=PIXELS)
    for split, target, count in (("train", "train", 200), ("test", "val", 100)):
        copy_images(DATA / "cifar10" / split, SMALL_CIFAR10 / target, count)


def copy_images(source: Path, target: Path, count: int, *, side: int = 0) -> None:
    """Copy the first images of each class in the order of their names; with `side`, the shorter side becomes that."""
    if target.exists():
        return
    for folder in sorted(source.iterdir()):
        new = target.with_name(f"{target.name}.new") / folder.name
        new.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir())[:count]:
            if side:
                image = Image.open(path).convert("RGB")
                scale = side / min(image.size)
                size = tuple(round(length * scale) for length in image.size)
                image.resize(size, Image.Resampling.BILINEAR).save(new / path.name, quality=95)
            else:
                shutil.copy(path, new)
    target.with_name(f"{target.name}.new").rename(target)


def pretrain(runs: Path, seeds: int, *, is_shown: bool) -> None:
    """Train the backbones as one sweep, write its card, and export each."""
    sizes = ",".join(map(str, SIZES))
    sets = [part for setting in PRETRAINING for part in ("--set", setting)]
    options = ("--minibatch-sizes", sizes, "--seeds", str(seeds), "--jobs", "1", "--output", str(runs / "backbones"))
    study = Study("Imagenette at 64 pixels: backbones of small and large minibatches", ())
    found = sweep(("imagenet-resnet50", *sets, *options), is_shown=is_shown)
    write_results("transfer_backbones", study, found, runs / "backbones")
    for size in SIZES:
        for seed in range(seeds):
            export_backbone(runs, size, seed)


def sweep(arguments: Sequence[str], *, is_shown: bool) -> dict[str, object]:
    """Run a sweep, and return what it prints as JSON."""
    import json

    found: dict[str, object] = json.loads(bigbatch("sweep", *arguments, "--json", *(["--show"] if is_shown else [])))
    return found


def export_backbone(runs: Path, size: int, seed: int) -> None:
    """Export a backbone's weights, if it is trained and has none yet."""
    folder, target = RunFolder(runs / "backbones" / f"recipe-{size}-seed{seed}"), weights_of(runs, size, seed)
    if is_finished(folder) and not target.exists():
        target.parent.mkdir(exist_ok=True)
        bigbatch("export", str(folder.path), str(target))


def weights_of(runs: Path, size: int, seed: int) -> Path:
    """Return the file of a backbone."""
    return runs / "weights" / f"{size}-seed{seed}.safetensors"


def is_finished(folder: RunFolder) -> bool:
    """Tell whether a run has come to its end."""
    summary = folder.read_summary_or_nothing()
    return summary is not None and summary.status == FINISHED


def has_diverged(folder: RunFolder) -> bool:
    """Tell whether a run has ended in NaN or infinity."""
    summary = folder.read_summary_or_nothing()
    return summary is not None and (summary.status, summary.exit_code) == (FAILED, ExitCode.NOT_FINITE)


def classifiers(runs: Path, seeds: int) -> Iterator[Run]:
    """Yield the fine-tuned classifiers, seed by seed; each seed has the backbone of that seed."""
    without = tuple(setting for setting in CLASSIFYING if "weights_prefix" not in setting)
    for seed in range(seeds):
        for size in SIZES:
            settings = (*CLASSIFYING, f"model.weights={weights_of(runs, size, seed)}")
            yield Run.of(runs / "transfer", Configuration("backbone", size), seed, "imagenet-resnet50", settings)
        yield Run.of(runs / "transfer", Configuration(FROM_SCRATCH, 0), seed, "imagenet-resnet50", without)


def detectors(runs: Path, seeds: int) -> Iterator[Run]:
    """Yield the detectors on each backbone, at the reference's minibatch size, seed by seed."""
    for seed in range(seeds):
        for size in SIZES:
            settings = (*DETECTING, f"model.weights={weights_of(runs, size, seed)}")
            yield Run.of(runs / "detection", Configuration("backbone", size), seed, "bccd-retinanet", settings)
        yield Run.of(runs / "detection", Configuration(FROM_SCRATCH, 0), seed, "bccd-retinanet", DETECTING[:1])


def detectors_by_size(runs: Path, seeds: int) -> Iterator[Run]:
    """Yield the detectors on the reference's backbones at each minibatch size, for as many samples, seed by seed.

    Those at the reference's size are runs of `detectors`.
    """
    for seed in range(seeds):
        settings = (*DETECTING, f"model.weights={weights_of(runs, SIZES[0], seed)}")
        reference = Run.of(runs / "detection", Configuration("backbone", SIZES[0]), seed, "bccd-retinanet", settings)
        yield replace(reference, row=Configuration("minibatch", RULE_SIZES[0]))
        for size in RULE_SIZES[1:]:
            sized = (*settings, f"minibatch_size={size}")
            yield Run.of(runs / "rule", Configuration("minibatch", size), seed, "bccd-retinanet", sized)


def gentle_detectors_by_size(runs: Path, seeds: int) -> Iterator[Run]:
    """Yield the same at a quarter of the preset's rate, for twice as long, with four epochs of warmup, seed by seed."""
    for seed in range(seeds):
        settings = (*DETECTING, *GENTLY, f"model.weights={weights_of(runs, SIZES[0], seed)}")
        for size in RULE_SIZES:
            row, sized = Configuration("minibatch", size), (*settings, f"minibatch_size={size}")
            yield Run.of(runs / "gentle-rule", row, seed, "bccd-retinanet", sized)


def train_all(todo: Sequence[Run]) -> None:
    """Train the runs that are not finished, one after the other; a run goes on from its last checkpoint."""
    for run in todo:
        if is_finished(run.folder) or has_diverged(run.folder):
            continue
        sets = [part for setting in (*run.settings, f"seed={run.seed}") for part in ("--set", setting)]
        resume = ["--resume"] if run.folder.exists() else []
        try:
            bigbatch("train", run.recipe, *sets, "--processes", "1", "--output", str(run.folder.path), *resume)
        except SystemExit:
            if not has_diverged(run.folder):
                raise


def summaries_of(todo: Sequence[Run]) -> dict[Configuration, dict[int, Summary]]:
    """Return run.json of each row's finished runs, by seed.

    Raises:
        SystemExit: nothing is finished.
    """
    rows: dict[Configuration, dict[int, Summary]] = {}
    for run in todo:
        if is_finished(run.folder):
            rows.setdefault(run.row, {})[run.seed] = run.folder.read_summary()
    if todo[0].row not in rows:
        sys.exit("no run of the reference is finished")
    return rows


def write_study(name: str, question: str, todo: Sequence[Run], paper: Mapping[int, str]) -> None:
    """Judge the rows by the equivalence test, and write the card and the figure of a study."""
    rows, reference = summaries_of(todo), todo[0].row
    diverged = Counter(run.row for run in todo if has_diverged(run.folder))
    outcomes = {row: Outcomes(results_of(runs), diverged[row]) for row, runs in rows.items()}
    judgement = judge(outcomes, reference, measure=measure_of(rows))
    missing = len(todo) - sum(map(len, rows.values())) - diverged.total()
    parts = [
        table_of(rows, judgement, diverged, paper),
        IN_THE_PAPER if paper else "",
        f"margin: {judgement.margin:.2f}, two standard deviations of the reference's runs" if judgement.margin else "",
        f"{missing} of {len(todo)} runs are not finished" if missing else "",
        f"![Every seed, and the mean]({name}.png)",
    ]
    draw(name, rows, reference)
    write_text(name, question, "\n\n".join(filter(None, parts)), describe() | {"commit": commits_of(rows)})


def commits_of(rows: Mapping[Configuration, Mapping[int, Summary]]) -> str:
    """Return the commits that the runs were trained at."""
    states = (run.attempt.git or {} for runs in rows.values() for run in runs.values())
    return ", ".join(sorted({str(state.get("commit"))[:12] for state in states}))


def results_of(runs: Mapping[int, Summary]) -> list[float]:
    """Return a row's results after the last epoch, where the cosine ends."""
    return [run.final_result for run in runs.values() if run.final_result is not None]


def measure_of(rows: Mapping[Configuration, Mapping[int, Summary]]) -> Measure:
    """Return what all runs are judged by."""
    return next(run.metric for runs in rows.values() for run in runs.values())


def table_of(
    rows: Mapping[Configuration, Mapping[int, Summary]],
    judgement: Judgement,
    diverged: Mapping[Configuration, int],
    paper: Mapping[int, str],
) -> str:
    """Return the rows as a table in Markdown, the paper's numbers beside ours."""
    measure = judgement.measure
    result = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
    lines = [f"| | {result} | each seed | verdict | in the paper | s a run |", "|---|---|---|---|---|---|"]
    for number, (row, runs) in enumerate(rows.items()):
        values = results_of(runs)
        cells = (
            row.variant if row.minibatch_size == 0 else f"{row.variant} at {row.minibatch_size}",
            mean_and_std(values),
            ", ".join([*map(measure.number, values), *["diverged"] * diverged[row]]),
            judgement.verdicts.get(row, judgement.remark or "-") if number else "the reference",
            paper.get(row.minibatch_size, "-"),
            round(mean(run.seconds or 0.0 for run in runs.values())),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(name: str, rows: Mapping[Configuration, Mapping[int, Summary]], reference: Configuration) -> None:
    """Draw every seed as a point, and the mean as a line, over the minibatch sizes."""
    with figure_style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(5.0, 3.0), layout="constrained")
        sized = {row.minibatch_size: results_of(runs) for row, runs in rows.items() if row.minibatch_size}
        for size, values in sized.items():
            axes.plot([size] * len(values), values, "o", color=COLOURS[0], markersize=4)
        axes.plot(list(sized), [mean(values) for values in sized.values()], color=COLOURS[0])
        axes.axhline(mean(results_of(rows[reference])), color=SOFT, linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(sized), [str(size) for size in sized])
        axes.set_xlabel("minibatch size" if reference.variant == "minibatch" else "minibatch size of the backbone")
        axes.set_ylabel(measure_of(rows).heading)
        figure.savefig(RESULTS / f"{name}.png", dpi=DPI)


QUESTIONS = {
    "classify": (
        *("transfer_classification", classifiers, {}),
        "CIFAR-10, 2,000 images: how well does a backbone transfer that was trained with a large minibatch?",
    ),
    "detect": (
        *("transfer_detection", detectors, PAPER_BACKBONES),
        "BCCD, RetinaNet: how well does a backbone transfer that was trained with a large minibatch?",
    ),
    "rule": (
        *("detection_rule", detectors_by_size, PAPER_RULE),
        "BCCD, RetinaNet: does the linear rule keep the average precision from 2 to 16 images?",
    ),
    "gentle-rule": (
        *("gentle_detection_rule", gentle_detectors_by_size, PAPER_RULE),
        "BCCD, RetinaNet: does it at a quarter of the rate, for twice as long?",
    ),
}


def main() -> None:
    """Run a stage, and write what it has found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("prepare", "pretrain", *QUESTIONS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where all runs are (default: runs)")
    parser.add_argument("--show", action="store_true", help="write what there is, and train nothing")
    options = parser.parse_args()
    if options.stage == "prepare":
        prepare()
    elif options.stage == "pretrain":
        pretrain(options.runs, options.seeds, is_shown=options.show)
    else:
        name, runs_of, paper, question = QUESTIONS[options.stage]
        todo = list(runs_of(options.runs, options.seeds))
        if not options.show:
            train_all(todo)
        write_study(name, question, todo, paper)


if __name__ == "__main__":
    main()
