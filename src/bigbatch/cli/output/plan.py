"""A plan as tables to read, or as a table for JSON."""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bigbatch.cli.output.tables import cell, print_table
from bigbatch.planning.noise import NoisePlan
from bigbatch.planning.plan import Plan
from bigbatch.planning.prediction import Prediction
from bigbatch.printable import printable
from bigbatch.recipe.warnings import warnings_of

if TYPE_CHECKING:
    from bigbatch.optim.listing import ParameterGroup
from bigbatch.study.naming import label_of, result_in_words


@dataclass(frozen=True)
class WholePlan:
    """A plan, and what else was asked for.

    Attributes:
        plan: of the training.
        at: the iterations whose learning rates are shown.
        blocks: the workers of each process.
        noise: what the noise scale of a run says.
        groups: the parameter groups of the optimizer.
        predictions: of the time on clusters of 1, 2, 4, ... machines.
    """

    plan: Plan
    at: Sequence[int]
    blocks: Sequence[range]
    noise: NoisePlan | None
    predictions: Sequence[Prediction]
    groups: "Sequence[ParameterGroup]" = ()


def plan_table(whole: WholePlan) -> dict[str, Any]:
    """Return the plan as a table for JSON."""
    table = whole.plan.to_json(whole.at)
    if whole.blocks:
        table["workers_of_process"] = [[block.start, block.stop - 1] for block in whole.blocks]
    if whole.predictions:
        table["cluster"] = [asdict(prediction) for prediction in whole.predictions]
    if whole.noise:
        table["noise"] = whole.noise.to_json()
    if whole.groups:
        table["parameter_groups"] = [asdict(group) for group in whole.groups]
    return table


def print_plan(whole: WholePlan) -> None:
    """Print the plan; its warnings go to standard error."""
    _print_rows(whole.plan, whole.at)
    for rank, block in enumerate(whole.blocks):
        print(f"process {rank} runs the workers {block.start} to {block.stop - 1}")
    if whole.groups:
        _print_groups(whole.groups)
    if whole.noise:
        _print_noise(whole.noise)
    if whole.predictions:
        _print_predictions(whole.predictions)
    for warning in warnings_of(whole.plan.recipe):
        print(printable(f"warning: {warning}"), file=sys.stderr)


def _print_rows(plan: Plan, at: Sequence[int]) -> None:
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


def _print_groups(groups: "Sequence[ParameterGroup]") -> None:
    from rich.table import Table

    table = Table(title="parameter groups", title_justify="left")
    for heading in ("rate", "weight decay", "parameters", "numbers", "names"):
        table.add_column(heading, overflow="fold")
    for group in groups:
        decay = "not set" if group.weight_decay is None else f"{group.weight_decay:g}"
        values = f"x {group.rate_ratio:g}", decay, str(group.num_parameters), f"{group.num_values:,}"
        table.add_row(*map(cell, (*values, ", ".join(group.names))))
    print_table(table)


def _print_noise(noise: NoisePlan) -> None:
    from rich.table import Table

    early, middle, late = map(_samples, (noise.early, noise.middle, noise.late))
    thirds = f"{early} early, {middle} midway, {late} late in training"
    result = result_in_words(noise.result, noise.measure) or f"no {label_of(noise.measure)} yet"
    measured = f"gradient noise scale of {noise.run} (minibatch {noise.minibatch_size}, {result})"
    print(printable(f"{measured}: {thirds} (samples)"))
    table = Table()
    for heading in ("minibatch", "iterations to the same loss", "samples to the same loss"):
        table.add_column(heading, justify="right")
    for price in noise.prices:
        table.add_row(str(price.minibatch_size), f"{price.iterations:.3g} x", f"{price.samples:.3g} x")
    print_table(table)
    print(printable(noise.advice))


def _samples(scale: float) -> str:
    return "too large to tell" if math.isinf(scale) else f"{scale:,.0f}"


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
