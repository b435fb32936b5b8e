"""`bigbatch sweep`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.cli.options.argument_types import file_or_folder, list_of, positive, process_count, seed_count, word_among
from bigbatch.cli.options.judgement import add_margin
from bigbatch.cli.options.machine import check_outside_group
from bigbatch.cli.options.parser import Commands, Parser, add_command, add_json
from bigbatch.cli.options.recipe import add_changes, add_recipe_name, resolve_recipe
from bigbatch.cli.output.sweep import print_planned, print_results
from bigbatch.data.presence import check_presence
from bigbatch.printable import printable
from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.lock import locked
from bigbatch.runs.record import FAILED, INTERRUPTED
from bigbatch.study.statistics import check_margin
from bigbatch.study.sweep.gpus import default_jobs, find_gpus
from bigbatch.study.sweep.jobs import STREAMS, Job, Sweep, plan_sweep
from bigbatch.study.sweep.manifest import write_manifest
from bigbatch.study.sweep.states import check_folders, check_writers, is_to_run, read_states
from bigbatch.study.variants import FORMS, PLAIN, VARIANTS, parse_variants
from bigbatch.user_code import is_user_code

if TYPE_CHECKING:
    from bigbatch.study.sweep.children import Ending

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
    parser = add_command(
        commands, "sweep", "Train a recipe with several minibatch sizes and seeds; compare the results."
    )
    add_recipe_name(parser)
    parser.add_argument(
        "--minibatch-sizes",
        type=list_of(positive),
        required=True,
        metavar="A,B,...",
        help="samples per update; the recipe's reference size is added, as all are compared with it",
    )
    parser.add_argument(
        "--seeds",
        type=seed_count,
        default=SEEDS,
        metavar="N",
        help=f"runs of each size, with the seeds S, S + 1, ... (default: {SEEDS})",
    )
    _add_variants(parser)
    add_changes(parser)
    parser.add_argument(
        "--output", type=file_or_folder, metavar="DIR", help="the folder of all runs (default: runs/sweep-RECIPENAME)"
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="also repeat runs that diverged (other failed runs are always repeated)",
    )
    add_margin(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the runs, and start none")
    parser.add_argument("--show", action="store_true", help="print the results of the runs that exist, and start none")
    add_json(parser, note="; messages go to standard error")
    _add_machine(parser)
    parser.set_defaults(run=sweep_command)


def _add_variants(parser: Parser) -> None:
    parser.add_argument(
        "--variants",
        default=PLAIN,
        metavar="V,W,...",
        help="variants of the recipe: names from --list-variants, n=N, or your own NAME:section.field=value,... "
        f"(default: {PLAIN})",
    )
    parser.add_argument(
        "--list-variants", action=_ListVariants, nargs=0, help="list what each variant changes, with its source"
    )
    parser.add_argument(
        "--vary",
        type=list_of(word_among(STREAMS)),
        metavar="WHAT,...",
        help="what the seed changes; the rest keeps the first seed (default: initialisation,order,augmentation)",
    )


def _add_machine(parser: Parser) -> None:
    group = parser.add_argument_group("machine", "The results do not depend on these options.")
    group.add_argument(
        "--jobs",
        type=process_count,
        metavar="J",
        help="runs at the same time (default: the number of GPUs, or of cores, divided by --processes)",
    )
    group.add_argument(
        "--processes",
        type=process_count,
        default=1,
        metavar="P",
        help="processes of each run; at most one per worker is used (default: 1)",
    )


def sweep_command(options: argparse.Namespace) -> int:
    """Run what is missing, and print the table."""
    check_outside_group("sweep")
    recipe = resolve_recipe(options, minibatch_size=max(options.minibatch_sizes))
    sweep = plan_sweep(
        recipe,
        options.minibatch_sizes,
        num_seeds=options.seeds,
        variants=parse_variants(options.variants),
        varied=options.vary,
        output=options.output,
        reads_data=not options.show,
        measure=_own_measure(recipe.metrics[0]),
    )
    if options.margin is not None:
        check_margin(options.margin, sweep.measure)
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
    # Entered before anything starts, so that every signal is passed on.
    with StopSignals(what_follows="") as signals, locked(sweep.output):
        write_manifest(sweep)
        endings = _run(sweep, options, signals)
    states = read_states(sweep.jobs)
    print_results(sweep, states, endings, margin=options.margin, as_json=options.json)
    return exit_code_of(endings, is_stopped=bool(signals.received))


def _own_measure(metric: str) -> Measure | None:
    """Return what a metric of the user's own measures, as its code says; None for one of ours."""
    if not is_user_code(metric):
        return None
    from bigbatch.tasks.metrics import find_metrics, measure_of

    return measure_of(*find_metrics([metric]))


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
    with SweepDisplay(total=len(sweep.jobs), measure=sweep.measure, to_stderr=options.json) as display:
        display.say(introduce(sweep, jobs, at_once=at_once))
        runner = Runner(
            jobs,
            num_done=len(sweep.jobs) - len(jobs),
            at_once=at_once,
            processes=options.processes,
            gpus=gpus,
            display=display,
            pace=Pace.of_finished((job, states[job.name].seconds) for job in sweep.jobs),
            measure=sweep.measure,
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
