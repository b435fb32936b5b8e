"""`bigbatch plan`."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bigbatch.cli.options.argument_types import figure_file, file_or_folder, iterations, process_count
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import cell, print_table
from bigbatch.data.load import count_train_samples
from bigbatch.errors import InputError
from bigbatch.planning.cluster import parse_cluster, scales
from bigbatch.planning.communication_figures import draw_predictions
from bigbatch.planning.forecast import forecast
from bigbatch.planning.noise import NoisePlan, plan_by_noise
from bigbatch.planning.plan import Plan, process_blocks
from bigbatch.planning.prediction import Prediction, into_buckets, predict
from bigbatch.printable import printable
from bigbatch.recipe import Recipe
from bigbatch.recipe.warnings import warnings_of
from bigbatch.runs.record import read_record

PATHLESS: Final[dict[str, dict[str, Any]]] = {"data": {"path": ""}}  # where the data lies makes no difference


def add_plan(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "plan", "Show every derived hyper-parameter, before and after, its rule and source.")
    add_recipe(parser)
    parser.add_argument(
        "--processes", type=process_count, metavar="P", help="also show which workers each process runs"
    )
    parser.add_argument(
        "--at", type=iterations, default=(), metavar="I,J,...", help="also the learning rate at these iterations"
    )
    parser.add_argument(
        "--cluster",
        metavar="SPEC",
        help="also predict the time on 1 to N machines: nodes=32,devices=8,gbit=50,images_per_second=150,... or the "
        "paper's cluster, goyal2017,nodes=44 (docs/collectives.md lists the keys)",
    )
    parser.add_argument(
        "--noise-of",
        type=file_or_folder,
        metavar="RUN",
        help="also how large the minibatch may become, by the gradient noise scale that this run has measured",
    )
    parser.add_argument(
        "--figure", type=figure_file, metavar="FILE", help="with --cluster: draw it (.png, .svg or .pdf)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=plan_command)


def plan_command(options: argparse.Namespace) -> None:
    """Print the plan as a table or as JSON."""
    recipe = resolve_recipe(options)
    parts = Parts(
        Plan(recipe, count_train_samples(recipe.data)),
        process_blocks(recipe, options.processes) if options.processes else [],
        find_noise(recipe, options.noise_of) if options.noise_of else None,
    )
    predictions = predict_scales(parts.plan, options.cluster) if options.cluster is not None else []
    if options.figure and not predictions:
        msg = "--figure draws the prediction for a cluster; give --cluster too"
        raise InputError(msg)
    if options.json:
        print_json(_to_json(parts, predictions, options.at))
    else:
        _print(parts, predictions, options.at)
    if options.figure:
        draw_predictions(predictions, options.figure)


@dataclass(frozen=True)
class Parts:
    """What is printed: the plan, and what was asked for besides.

    Attributes:
        plan: of the training.
        blocks: the workers of each process.
        noise: what a run's noise scale says.
    """

    plan: Plan
    blocks: list[range]
    noise: NoisePlan | None


def _to_json(parts: Parts, predictions: Sequence[Prediction], at: Sequence[int]) -> dict[str, Any]:
    table = parts.plan.to_json(at)
    if parts.blocks:
        table["workers_of_process"] = [[block.start, block.stop - 1] for block in parts.blocks]
    if predictions:
        table["cluster"] = [asdict(prediction) for prediction in predictions]
    if parts.noise:
        table["noise"] = parts.noise.to_json()
    return table


def _print(parts: Parts, predictions: Sequence[Prediction], at: Sequence[int]) -> None:
    _print_table(parts.plan, at)
    for rank, block in enumerate(parts.blocks):
        print(f"process {rank} runs the workers {block.start} to {block.stop - 1}")
    if parts.noise:
        _print_noise(parts.noise)
    if predictions:
        _print_predictions(predictions)
    for warning in warnings_of(parts.plan.recipe):
        print(printable(f"warning: {warning}"), file=sys.stderr)


def predict_scales(plan: Plan, spec: str) -> list[Prediction]:
    """Predict the training on 1, 2, 4, ... machines, up to those of the cluster.

    Raises:
        InputError: the cluster is not described as it must be, or the plan does not fit it.
    """
    cluster = parse_cluster(spec)
    from bigbatch.benchmark.step import gradient_bytes

    length = forecast(plan.recipe, plan.num_samples)
    buffers = into_buckets(gradient_bytes(plan.recipe), cluster.bucket_mb)
    return [
        predict(
            replace(cluster, nodes=nodes),
            buffers,
            updates=[length.shortest, length.longest],
            worker_minibatch_size=plan.recipe.worker_minibatch_size,
        )
        for nodes in reversed(scales(cluster.nodes))  # the largest first: it is the one that may not fit
    ][::-1]


def find_noise(recipe: Recipe, folder: Path) -> NoisePlan:
    """Read the noise scale that a run has measured.

    Raises:
        InputError: the run is of another model or other data, or has measured too little.
    """
    run = read_record(folder)
    for part in ("model", "data"):
        if replace(getattr(run.recipe, part), **PATHLESS.get(part, {})) != replace(
            getattr(recipe, part), **PATHLESS.get(part, {})
        ):
            msg = f"{folder} is a run of another {part}: its noise says nothing of '{recipe.name}'"
            raise InputError(msg)
    return plan_by_noise(run, reference=recipe.reference.minibatch_size)


def _print_noise(noise: NoisePlan) -> None:
    from rich.table import Table

    early, middle, late = map(_samples, (noise.early, noise.middle, noise.late))
    thirds = f"{early} early, {middle} midway, {late} late in training"
    error = "no validation error yet" if noise.validation_error is None else f"{noise.validation_error:.2f} % error"
    measured = f"gradient noise scale of {noise.run} (minibatch {noise.minibatch_size}, {error})"
    print(printable(f"{measured}: {thirds} (samples)"))
    table = Table()
    for heading in ("minibatch", "iterations to the same loss", "samples to the same loss"):
        table.add_column(heading, justify="right")
    for price in noise.prices:
        table.add_row(str(price.minibatch_size), f"{price.iterations:.3g} x", f"{price.samples:.3g} x")
    print_table(table)
    print(printable(noise.advice))


def _print_predictions(predictions: Sequence[Prediction]) -> None:
    from rich.table import Table

    table = Table(title="predicted for a cluster (docs/collectives.md says how)", title_justify="left")
    headings = ("machines", "processes", "workers each", "s/iteration", "sum, s", "not hidden, s", "images/s")
    for heading in (*headings, "efficiency", "hours"):
        table.add_column(heading, justify="right")
    for p in predictions:
        seconds = (f"{value:.4f}" for value in (p.seconds, p.communication_seconds, p.exposed_seconds))
        counts = (str(p.nodes), str(p.processes), str(p.workers_per_process))
        hours = f"{p.hours:.2f}" if p.hours == p.most_hours else f"{p.hours:.2f} to {p.most_hours:.2f}"
        table.add_row(*counts, *seconds, f"{p.images_per_second:,.0f}", f"{p.efficiency:.1%}", hours)
    print_table(table)


def _print_table(plan: Plan, at: Sequence[int]) -> None:
    from rich.table import Table

    reference = plan.recipe.reference.minibatch_size
    table = Table(
        title=cell(f"{plan.recipe.name}: minibatch {reference} -> {plan.recipe.minibatch_size}"),
        title_justify="left",
    )
    for heading in ("", "reference", "planned", "rule and source"):
        table.add_column(heading, overflow="fold")
    for row in plan.rows(at):
        style = "bold" if row.before and row.before != row.after else None
        table.add_row(*map(cell, (row.name.replace("_", " "), row.before, row.after, row.rule)), style=style)
    print_table(table)


def _samples(scale: float) -> str:
    return "too large to tell" if math.isinf(scale) else f"{scale:,.0f}"
