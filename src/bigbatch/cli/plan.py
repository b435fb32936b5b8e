"""`bigbatch plan`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bigbatch.cli.argument_types import iterations, process_count
from bigbatch.cli.parser import add_command, add_recipe
from bigbatch.cli.recipe_options import resolve_recipe
from bigbatch.cli.tables import cell, print_table
from bigbatch.cluster import Prediction, into_buckets, parse_cluster, predict, scales
from bigbatch.communication_figures import draw_predictions
from bigbatch.data import count_train_samples
from bigbatch.errors import InputError
from bigbatch.plan import Plan, process_blocks
from bigbatch.printable import printable

if TYPE_CHECKING:
    from bigbatch.cli.parser import Commands


def add_plan(commands: "Commands") -> None:
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
    parser.add_argument("--figure", type=Path, metavar="FILE", help="with --cluster: draw it (.png, .svg or .pdf)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=plan_command)


def plan_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Print the plan as a table or as JSON."""
    del arguments
    recipe = resolve_recipe(options)
    plan = Plan(recipe, count_train_samples(recipe.data))
    blocks = process_blocks(recipe, options.processes) if options.processes else []
    predictions = predict_scales(plan, options.cluster) if options.cluster else []
    if options.figure and not predictions:
        msg = "--figure draws the prediction for a cluster; give --cluster too"
        raise InputError(msg)
    if options.json:
        table = plan.to_json(options.at)
        if blocks:
            table["workers_of_process"] = [[block.start, block.stop - 1] for block in blocks]
        if predictions:
            table["cluster"] = [asdict(prediction) for prediction in predictions]
        print(json.dumps(table, indent=2))
    else:
        _print_table(plan, options.at)
        for rank, block in enumerate(blocks):
            print(f"process {rank} runs the workers {block.start} to {block.stop - 1}")
        if predictions:
            _print_predictions(predictions)
        for warning in plan.warnings:
            print(printable(f"warning: {warning}"), file=sys.stderr)
    if options.figure:
        draw_predictions(predictions, options.figure)


def predict_scales(plan: Plan, spec: str) -> list[Prediction]:
    """Predict the training on 1, 2, 4, ... machines, up to those of the cluster.

    Raises:
        InputError: the cluster is not described as it must be, or the plan does not fit it.
    """
    cluster = parse_cluster(spec)
    from bigbatch.benchmark.step import gradient_bytes

    buffers = into_buckets(gradient_bytes(plan.recipe), cluster.bucket_mb)
    return [
        predict(
            replace(cluster, nodes=nodes),
            buffers,
            minibatch_size=plan.recipe.minibatch_size,
            worker_minibatch_size=plan.recipe.worker_minibatch_size,
            total_iterations=plan.learning_rate.total_iterations,
        )
        for nodes in reversed(scales(cluster.nodes))  # the largest first: it is the one that may not fit
    ][::-1]


def _print_predictions(predictions: Sequence[Prediction]) -> None:
    from rich.table import Table

    table = Table(title="predicted for a cluster (docs/collectives.md says how)", title_justify="left")
    headings = ("machines", "processes", "workers each", "s/iteration", "sum, s", "not hidden, s", "images/s")
    for heading in (*headings, "efficiency", "hours"):
        table.add_column(heading, justify="right")
    for p in predictions:
        seconds = (f"{value:.4f}" for value in (p.seconds, p.communication_seconds, p.exposed_seconds))
        counts = (str(p.nodes), str(p.processes), str(p.workers_per_process))
        table.add_row(*counts, *seconds, f"{p.images_per_second:,.0f}", f"{p.efficiency:.1%}", f"{p.hours:.2f}")
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
