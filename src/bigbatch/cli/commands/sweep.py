"""`bigbatch sweep`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.cli.options.argument_types import (
    file_or_folder,
    minibatch_sizes,
    percentage_points,
    process_count,
    seed_count,
    words_among,
)
from bigbatch.cli.options.parser import Commands, Parser, add_command
from bigbatch.cli.options.recipe import RECIPE_HELP, add_changes, resolve_recipe
from bigbatch.cli.output.sweep import print_planned, print_results
from bigbatch.data.presence import check_presence
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.place import find_place
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.runs.lock import locked
from bigbatch.runs.record import FAILED, INTERRUPTED
from bigbatch.study.sweep.gpus import default_jobs, find_gpus
from bigbatch.study.sweep.jobs import STREAMS, Job, Sweep, plan_sweep
from bigbatch.study.sweep.manifest import write_manifest
from bigbatch.study.sweep.states import check_folders, check_writers, is_to_run, read_states
from bigbatch.study.variants import FORMS, PLAIN, VARIANTS, parse_variants

if TYPE_CHECKING:
    from bigbatch.study.sweep.children import Ending

DESCRIPTION: Final = "Measure the error against the minibatch size: many runs, resumed where they stopped."
SEEDS: Final = 5  # as in the paper


class _ListVariants(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the variants, and end."""
        lines = [(name, variant.meaning) for name, variant in VARIANTS.items()] + list(FORMS.items())
        for name, meaning in lines:
            print(f"{name:<22}{meaning}")
        parser.exit()


def add_sweep(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "sweep", DESCRIPTION)
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument(
        "--minibatch-sizes",
        type=minibatch_sizes,
        required=True,
        metavar="A,B,...",
        help="samples per update; the recipe at its reference size is added, for all else is compared with it",
    )
    parser.add_argument(
        "--seeds", type=seed_count, default=SEEDS, metavar="N", help="runs of each: seed, seed + 1, ... (default 5)"
    )
    parser.add_argument(
        "--variants",
        default=PLAIN,
        metavar="V,W,...",
        help=f"names from --list-variants, n=N, or NAME:section.field=value,... of your own (default {PLAIN})",
    )
    parser.add_argument(
        "--list-variants", action=_ListVariants, nargs=0, help="print what each variant changes, and its source"
    )
    parser.add_argument(
        "--vary",
        type=words_among(STREAMS),
        metavar="WHAT,...",
        help="what follows the seed; the rest stays at the first seed (default: initialisation,order,augmentation)",
    )
    add_changes(parser)
    _add_machine(parser)
    _add_output(parser)
    parser.set_defaults(run=sweep_command)


def _add_machine(parser: Parser) -> None:
    group = parser.add_argument_group(
        "machine", "the results do not depend on these: a step is a function of its minibatch"
    )
    group.add_argument(
        "--jobs",
        type=process_count,
        metavar="J",
        help="runs at once (default: GPUs / processes, or else cores / processes)",
    )
    group.add_argument(
        "--processes",
        type=process_count,
        default=1,
        metavar="P",
        help="of each run; of one with fewer workers, as many as those (default 1)",
    )


def _add_output(parser: Parser) -> None:
    parser.add_argument(
        "--output", type=file_or_folder, metavar="DIR", help="the folder of all runs (default: runs/sweep-RECIPENAME)"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="also run those again that have diverged; others are anyway"
    )
    parser.add_argument(
        "--margin",
        type=percentage_points,
        metavar="M",
        help="the difference that still matches, in percentage points (default: 2 std of the reference's runs)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print which runs there would be, and start none")
    parser.add_argument(
        "--show", action="store_true", help="print the table of the runs that are there, and start none"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; what happens meanwhile goes to standard error")


def sweep_command(options: argparse.Namespace) -> int:
    """Run what is missing, and print the table."""
    if find_place(os.environ):
        msg = "sweep starts its processes itself: run it outside torchrun and srun, with --processes P"
        raise InputError(msg)
    sweep = plan_sweep(
        resolve_recipe(options, minibatch_size=max(options.minibatch_sizes)),
        options.minibatch_sizes,
        num_seeds=options.seeds,
        variants=parse_variants(options.variants),
        varied=options.vary,
        output=options.output,
        reads_data=not options.show,
    )
    check_folders(sweep)
    say = sys.stderr if options.json else sys.stdout
    for note in sweep.notes:
        print(printable(note), file=say)
    if options.dry_run:
        print_planned(sweep, read_states(sweep.jobs), as_json=options.json)
        return 0
    if options.show:
        print_results(sweep, read_states(sweep.jobs), [], margin=options.margin, as_json=options.json)
        return 0
    check_writers(sweep)
    if _jobs_to_run(sweep, options):
        check_presence(sweep.recipe.data)
    # Entered before anything starts: a signal then always finds somebody who passes it on.
    with StopSignals(what_follows="") as signals, locked(sweep.output):
        write_manifest(sweep)
        endings = _run(sweep, options, signals)
    states = read_states(sweep.jobs)
    print_results(sweep, states, endings, margin=options.margin, as_json=options.json)
    return exit_code_of(endings, is_stopped=bool(signals.received))


def _run(sweep: Sweep, options: argparse.Namespace, signals: StopSignals) -> "list[Ending]":
    """Run what is to be run, and return how it ended."""
    from bigbatch.study.sweep.display import SweepDisplay
    from bigbatch.study.sweep.runner import Runner
    from bigbatch.study.sweep.watching import Pace

    jobs = _jobs_to_run(sweep, options)
    if not jobs:
        print(f"all {len(sweep.jobs)} runs are there already", file=sys.stderr if options.json else sys.stdout)
        return []
    states, gpus = read_states(sweep.jobs), find_gpus(os.environ)
    at_once = min(options.jobs or default_jobs(options.processes, gpus), len(jobs))
    with SweepDisplay(total=len(sweep.jobs), to_stderr=options.json) as display:
        display.say(introduce(sweep, jobs, at_once=at_once))
        runner = Runner(
            jobs,
            num_done=len(sweep.jobs) - len(jobs),
            at_once=at_once,
            processes=options.processes,
            gpus=gpus,
            display=display,
            pace=Pace.of_finished((job, states[job.name].seconds) for job in sweep.jobs),
        )
        return runner.run(signals)


def _jobs_to_run(sweep: Sweep, options: argparse.Namespace) -> list[Job]:
    states = read_states(sweep.jobs)
    return [job for job in sweep.jobs if is_to_run(states[job.name], retry_failed=options.retry_failed)]


def introduce(sweep: Sweep, jobs: Sequence[Job], *, at_once: int) -> str:
    """Return what is about to be done, in a line."""
    done = len(sweep.jobs) - len(jobs)
    there = f", {done} of them are there already" if done else ""
    return f"{len(sweep.jobs)} runs in {sweep.output}{there}; {at_once} at once"


def exit_code_of(endings: "Sequence[Ending]", *, is_stopped: bool) -> int:
    """Return the exit code: of a stop before that of a failure; a run that diverged is none."""
    kinds = {ending.kind for ending in endings}
    if is_stopped or INTERRUPTED in kinds:
        return ExitCode.STOPPED
    return ExitCode.FAILURE if FAILED in kinds else 0
