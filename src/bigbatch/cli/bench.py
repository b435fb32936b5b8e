"""`bigbatch bench`."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from bigbatch.cli.processes import processes_to_launch
from bigbatch.cli.recipe_options import resolve_recipe
from bigbatch.errors import InputError
from bigbatch.place import find_place


def bench_step_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Time the step here if this is one process of several or the only one, otherwise start the processes."""
    recipe = resolve_recipe(options)
    from bigbatch.benchmark import INPUTS, bench_step
    from bigbatch.launch import joined, launch

    place = find_place(os.environ)
    processes = processes_to_launch(options, place, worker_count=recipe.worker_count)
    num_processes = processes or (place.world_size if place else 1)
    if recipe.worker_count % num_processes:
        msg = f"the plain loop needs equal shares: {recipe.worker_count} workers among {num_processes} processes"
        raise InputError(msg)
    if recipe.data.name not in INPUTS:
        msg = f"bench step knows the image sizes of {', '.join(INPUTS)} only, not of '{recipe.data.name}'"
        raise InputError(msg)
    if processes:
        launch([*arguments, "--processes", str(processes)], processes)
        return
    with joined(threads=options.threads_per_process) as machine:
        result = bench_step(
            recipe, machine, rounds=options.rounds, seconds_per_turn=options.seconds, reduction=options.reduction
        )
    if machine.processes.rank == 0:
        print(json.dumps(result, indent=2) if options.json else _sentences(result))


def _sentences(result: dict[str, Any]) -> str:
    return (
        f"{result['model']}, minibatch {result['minibatch_size']} as workers of {result['worker_minibatch_size']}, "
        f"{result['processes']} processes on {result['device']}, {result['rounds']} pairs of turns "
        f"of {result['iterations_per_turn']} iterations\n"
        f"bigbatch, {result['reduction']:<8} {result['images_per_second']:>10,.0f} images/s (median)\n"
        f"plain DDP loop     {result['plain_images_per_second']:>10,.0f} images/s (median)\n"
        f"ratio              {result['ratio']:>10.3f} (median; "
        f"{result['ratio_least']:.3f} to {result['ratio_largest']:.3f})"
    )
