"""`bigbatch plan`."""

import argparse
import json
import sys
from collections.abc import Sequence

from bigbatch.cli.recipe_options import resolve_recipe
from bigbatch.cli.tables import print_table
from bigbatch.data import count_train_samples
from bigbatch.plan import Plan, process_blocks


def plan_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Print the plan as a table or as JSON."""
    del arguments
    recipe = resolve_recipe(options)
    plan = Plan(recipe, count_train_samples(recipe.data))
    blocks = process_blocks(recipe, options.processes) if options.processes else []
    if options.json:
        table = plan.to_json(options.at)
        if blocks:
            table["workers_of_process"] = [[block.start, block.stop - 1] for block in blocks]
        print(json.dumps(table, indent=2))
        return
    _print_table(plan, options.at)
    for rank, block in enumerate(blocks):
        print(f"process {rank} runs the workers {block.start} to {block.stop - 1}")
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _print_table(plan: Plan, at: Sequence[int]) -> None:
    from rich.markup import escape
    from rich.table import Table

    reference = plan.recipe.reference.minibatch_size
    table = Table(
        title=escape(f"{plan.recipe.name}: minibatch {reference} -> {plan.recipe.minibatch_size}"),
        title_justify="left",
    )
    for heading in ("", "reference", "planned", "rule and source"):
        table.add_column(heading, overflow="fold")
    for row in plan.rows(at):
        style = "bold" if row.before and row.before != row.after else None
        table.add_row(row.name.replace("_", " "), row.before, row.after, row.rule, style=style)
    print_table(table)
