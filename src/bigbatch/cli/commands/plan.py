"""`bigbatch plan`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bigbatch.cli.options.argument_types import figure_file, file_or_folder, list_of, not_negative, process_count
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.plan import WholePlan, plan_table, print_plan
from bigbatch.data.load import count_train_samples
from bigbatch.errors import InputError, first_line
from bigbatch.planning.cluster import parse_cluster, scales
from bigbatch.planning.communication_figures import draw_predictions
from bigbatch.planning.forecast import forecast
from bigbatch.planning.noise import NoisePlan, plan_by_noise
from bigbatch.planning.plan import Plan, process_blocks
from bigbatch.planning.prediction import Prediction, into_buckets, predict
from bigbatch.printable import printable
from bigbatch.recipe import Recipe
from bigbatch.runs.record import read_record
from bigbatch.user_code import is_user_code

if TYPE_CHECKING:
    from bigbatch.optim.listing import ParameterGroup

PATHLESS: Final[dict[str, dict[str, Any]]] = {"data": {"path": ""}}  # where the data lies makes no difference


def add_plan(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands, "plan", "Show every hyper-parameter before and after scaling, with its rule and source."
    )
    add_recipe(parser)
    parser.add_argument(
        "--processes", type=process_count, metavar="P", help="also show which workers each of P processes runs"
    )
    parser.add_argument(
        "--at",
        type=list_of(not_negative),
        default=(),
        metavar="I,J,...",
        help="also show the learning rate at these iterations",
    )
    parser.add_argument(
        "--cluster",
        metavar="SPEC",
        help="also predict the time on a cluster, such as goyal2017,nodes=44 or "
        "nodes=32,devices=8,gbit=50,images_per_second=150; docs/collectives.md lists the keys",
    )
    parser.add_argument(
        "--noise-of",
        type=file_or_folder,
        metavar="RUN",
        help="also show how large the minibatch may become, by the gradient noise that this run has measured",
    )
    parser.add_argument(
        "--figure", type=figure_file, metavar="FILE", help="with --cluster: draw the prediction (.png, .svg or .pdf)"
    )
    parser.add_argument(
        "--parameters",
        action="store_true",
        help="also build the model, and show which parameters decay and at which rate; always shown for your own model",
    )
    add_json(parser)
    parser.set_defaults(run=plan_command)


def plan_command(options: argparse.Namespace) -> None:
    """Print the plan as tables or as JSON."""
    recipe = resolve_recipe(options)
    plan = Plan(recipe, count_train_samples(recipe.data))
    whole = WholePlan(
        plan,
        options.at,
        process_blocks(recipe, options.processes) if options.processes else [],
        find_noise(recipe, options.noise_of) if options.noise_of else None,
        predict_scales(plan, options.cluster) if options.cluster is not None else [],
        list_parameters(recipe) if options.parameters or is_user_code(recipe.model.name) else [],
    )
    if options.figure and not whole.predictions:
        msg = "--figure draws the prediction for a cluster; give --cluster too"
        raise InputError(msg)
    if options.json:
        print_json(plan_table(whole))
    else:
        print_plan(whole)
    if options.figure:
        draw_predictions(whole.predictions, options.figure)


def list_parameters(recipe: Recipe) -> "list[ParameterGroup]":
    """Build the model and the optimizer, and list the parameter groups; a warning where that does not work here."""
    from bigbatch.benchmark.step import find_input
    from bigbatch.optim.listing import list_groups
    from bigbatch.training.freezing import freeze_for_good
    from bigbatch.training.parts import build_recipe_model

    try:
        shape = (0, 0)  # the user's own model does not ask for it
        if not is_user_code(recipe.model.name):
            given = find_input(recipe)
            shape = given.num_classes, given.in_channels
        model = build_recipe_model(recipe, num_classes=shape[0], in_channels=shape[1])
        freeze_for_good(model, recipe.model)
        return list_groups(recipe.scaled_optimizer, model, recipe.reference.learning_rate)
    except Exception as error:  # noqa: BLE001 - the user's own code may raise anything, and the plan stands without it
        print(printable(f"warning: no list of what decays: {first_line(error)}"), file=sys.stderr)
        return []


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
        for nodes in reversed(scales(cluster.nodes))  # the largest first: only it may not fit
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
            msg = f"{folder} is a run of another {part}: its noise says nothing about '{recipe.name}'"
            raise InputError(msg)
    return plan_by_noise(run, reference=recipe.reference.minibatch_size)
