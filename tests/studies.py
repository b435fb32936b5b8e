"""Synthetic run folders of studies, for the tests of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bigbatch.recipe import Recipe, Warmup
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.metrics import read_line
from bigbatch.runs.summary import Summary
from bigbatch.study.sweep.jobs import Sweep, plan_sweep
from bigbatch.study.sweep.manifest import write_manifest
from bigbatch.study.variants import find_variant

REFERENCE = digits().reference.minibatch_size
FINGERPRINT = "da7a" * 16
EPOCHS, ITERATIONS = 6, 8  # of an epoch


def write_run(
    path: Path, recipe: Recipe, result: float | None, /, *, measure: Measure = TOP_1_ERROR, **fields: object
) -> RunFolder:
    """Write a run that ends at a result; None for a run that ended before its first evaluation.

    Errors are written as an older version did, without the metric.
    """
    folder = RunFolder(path)
    folder.create(recipe)
    rate = recipe.learning_rate(ITERATIONS)
    lines: list[dict[str, object]] = []
    for epoch in range(EPOCHS) if result is not None else ():
        for i in range(epoch * ITERATIONS, (epoch + 1) * ITERATIONS):
            noise = {"gradient_square": 0.5, "gradient_variance": 50.0 + i}
            lines.append({"iteration": i, "loss": 2.0 / (i + 1), "learning_rate": rate(i), **noise})
        end = {"loss": 0.1, **_validation(measure, result, epoch), "seconds": 1.0}
        lines.append({"epoch": epoch + 1, "iteration": (epoch + 1) * ITERATIONS, **end})
    folder.append_metrics(*map(read_line, lines))
    made = {"started": "2026-11-24T05:45:46+00:00", "processes": 2, "device": "cpu AVX2", "reduction": "exact"}
    name = {"validation_error": result} if measure == TOP_1_ERROR else {"metric": measure.to_json(), "result": result}
    ended = {"iterations": EPOCHS * ITERATIONS, "seconds": 6.5, "weights_sha256": "ab" * 32, **name}
    summary = {"status": "finished", "recipe": recipe.to_dict(), "data_fingerprint": FINGERPRINT, **made, **ended}
    folder.write_summary(Summary.read(summary | fields))
    return folder


def _validation(measure: Measure, result: float, epoch: int) -> dict[str, object]:
    """Return what an epoch measured, on its way to the result."""
    if measure == TOP_1_ERROR:
        return {"validation_error": min(99.0, result + 30 * 0.1**epoch)}
    far = 1 + 5 * 0.1**epoch
    return {"validation": {measure.name: result * far if measure.better == "lower" else result / far, "other": 1.0}}


def recipe_of(size: int, seed: int = 0, **changes: object) -> Recipe:
    """Return the digits' recipe at a minibatch size."""
    return replace(digits(), minibatch_size=size, seed=seed, worker_minibatch_size=REFERENCE, **changes)


def write_study(folder: Path) -> Path:
    """Write a small study: four sizes, the largest diverging, a variant, an interrupted run and a failed one."""
    for seed, noise in enumerate((-0.1, 0.0, 0.1)):
        for size, error in {REFERENCE: 2.0, 64: 2.02, 256: 2.9, 1024: 90.0}.items():
            write_run(folder / f"linear-{size}-seed{seed}", recipe_of(size, seed), error + noise)
        variant = recipe_of(64, seed, warmup=Warmup("none"))
        write_run(folder / f"no-warmup-64-seed{seed}", variant, 3.5 + noise)
    write_run(folder / "linear-64-seed3", recipe_of(64, 3), 50.0, status="running")
    write_run(folder / "linear-1024-seed3", recipe_of(1024, 3), None, status="failed", error="the loss is NaN")
    return folder


def write_sweep(
    output: Path, errors: Mapping[tuple[str, int], Sequence[float | None]], recipe: Recipe | None = None
) -> Sweep:
    """Write the runs of a sweep, an error (%) for each seed of each variant and size, and what the sweep records.

    None is a run that diverged; a variant is given as on the command line.
    """
    words = list(dict.fromkeys(word for word, _ in errors))
    names = {word: find_variant(word) for word in words}
    sizes = sorted({size for _, size in errors})
    seeds = max(map(len, errors.values()))
    sweep = plan_sweep(recipe or digits(), sizes, num_seeds=seeds, variants=list(names.values()), output=output)
    found = {(names[word].name, size): values for (word, size), values in errors.items()}
    for job in sweep.jobs:
        number = job.recipe.seed - sweep.recipe.seed
        for error in found.get(job.configuration, [])[number : number + 1]:
            ending = {} if error is not None else {"status": "failed", "exit_code": 3, "error": "the loss is NaN"}
            write_run(job.folder.path, job.recipe, error, **ending)
    write_manifest(sweep)
    return sweep
