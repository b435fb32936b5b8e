"""What the command line takes."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from bigbatch import __version__
from bigbatch.cli.aggregation_options import add_aggregation
from bigbatch.cli.argument_types import (
    iterations,
    not_negative,
    positive,
    process_count,
    process_counts,
    seconds,
    sizes,
)
from bigbatch.cli.bench import bench_all_reduce_command, bench_step_command
from bigbatch.cli.diff import diff_command
from bigbatch.cli.evaluate import evaluate_command
from bigbatch.cli.export import export_command
from bigbatch.cli.plan import plan_command
from bigbatch.cli.reliability_options import add_reliability
from bigbatch.cli.report import report_command
from bigbatch.cli.reproduce import reproduce_command
from bigbatch.cli.runs import runs_command
from bigbatch.cli.train import train_command
from bigbatch.cli.verify import verify_command
from bigbatch.errors import InputError, nearest
from bigbatch.ledger import NEWEST_FIRST
from bigbatch.reduction.options import NATIVE

BEST_HELP: Final = "the checkpoint with the lowest validation error instead of the last"
VERIFY_HELP: Final = (
    "Check that a recipe trains to the same bits for any number of processes and keeps the paper's four precautions, "
    "and name what in your model, loss, data, optimizer or loop breaks them; exit code 0 or 1."
)
RECIPE_HELP: Final = "a preset (digits, fashion-mnist, cifar10, imagenet-resnet50) or a TOML file"


class Parser(argparse.ArgumentParser):
    """A parser that leaves what to do about an error to its caller."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")  # noqa: EM102, TRY003 - one line


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; the result's `run` is the command to call with (options, arguments).

    Raises:
        InputError: what argparse refuses.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(_joined(arguments))
    if unknown:
        known = [option for option in _all_options(parser) if option.startswith("--")]
        msg = f"unknown argument '{unknown[0]}'; {nearest(unknown[0], known)}"
        raise InputError(msg)
    return options


def _joined(arguments: Sequence[str]) -> list[str]:
    """Write `--sort -FIELD` as `--sort=-FIELD`: argparse would take -FIELD for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--sort" and argument.startswith("-") and not argument.startswith("--"):
            joined[-1] = f"--sort={argument}"
        else:
            joined.append(argument)
    return joined


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="bigbatch",
        description="Raise the minibatch size, keep the accuracy: exact large-minibatch SGD for PyTorch.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bigbatch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    _add_plan(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_verify(commands)
    _add_report(commands)
    _add_runs(commands)
    _add_diff(commands)
    _add_reproduce(commands)
    _add_bench(commands)
    return parser


if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction["Parser"]  # noqa: SLF001 - it has no public name


def _add_plan(commands: "Commands") -> None:
    parser = _add(commands, "plan", "Show every derived hyper-parameter, before and after, with its rule and source.")
    _add_recipe(parser)
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


def _add_train(commands: "Commands") -> None:
    parser = _add(commands, "train", "Train a recipe; the weights do not depend on the number of processes.")
    _add_recipe(parser)
    _add_machine(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the run's folder (default: runs/NAME-MINIBATCH-seedSEED)"
    )
    add_aggregation(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the folder, if there is one"
    )
    parser.add_argument(
        "--stop-after-epoch", type=positive, metavar="E", help="stop after this epoch, to be resumed later"
    )
    parser.add_argument(
        "--stop-after-iteration", type=positive, metavar="I", help="stop after so many iterations, to be resumed later"
    )
    add_reliability(parser)
    parser.set_defaults(run=train_command)


def _add_evaluate(commands: "Commands") -> None:
    parser = _add(commands, "evaluate", "Evaluate the last checkpoint of a run on its validation data.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    _add_machine(parser)
    parser.add_argument("--best", action="store_true", help=BEST_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=evaluate_command)


def _add_export(commands: "Commands") -> None:
    parser = _add(commands, "export", "Write a run's weights as a safetensors file, for other programs.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--best", action="store_true", help=BEST_HELP)
    parser.set_defaults(run=export_command)


def _add_verify(commands: "Commands") -> None:
    parser = _add(commands, "verify", VERIFY_HELP)
    _add_recipe(parser)
    parser.add_argument(
        "--processes",
        type=process_counts,
        metavar="P,Q,...",
        help="numbers of processes that must give the same bits (default: 1,2,4, at most one a worker)",
    )
    parser.add_argument(
        "--iterations", type=positive, default=5, metavar="N", help="trained with each number (default 5)"
    )
    parser.add_argument(
        "--loop",
        metavar="MODULE:CALLABLE",
        help="also check a training loop of yours, called as loop(model, loss_function, optimizer, minibatches, "
        "learning_rates): one update for each minibatch, a list of the workers' (inputs, targets), at its rate; "
        "docs/verification.md shows one",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=verify_command)


def _add_report(commands: "Commands") -> None:
    parser = _add(commands, "report", "Print runs side by side, and draw their error curves.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="the runs' folders")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the error curves (.png, .svg or .pdf)")
    parser.set_defaults(run=report_command)


def _add_runs(commands: "Commands") -> None:
    parser = _add(commands, "runs", "List the runs below folders: a row each, filtered and sorted.")
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="where to look (default: runs)")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only these: state=finished, minibatch>=256, model.width=16, ...; may be repeated, and all must hold",
    )
    parser.add_argument(
        "--sort",
        default=NEWEST_FIRST,
        metavar="FIELD",
        help="by this field, -FIELD for the largest first (default -when)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every field that can be asked for")
    parser.set_defaults(run=runs_command)


def _add_diff(commands: "Commands") -> None:
    parser = _add(commands, "diff", "Compare two runs: what changed that cannot matter, what can, and where they part.")
    parser.add_argument("old", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("new", type=Path, metavar="RUN", help="another's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=diff_command)


def _add_reproduce(commands: "Commands") -> None:
    parser = _add(commands, "reproduce", "Run a run again on this machine, and compare the two bit for bit.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    _add_set(parser)
    _add_machine(parser)
    parser.add_argument("--reduction", choices=("exact", NATIVE), help="of the gradients (default: the run's)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the new run's folder (default: RUN-reproduction)")
    # What is not said comes from the run.
    parser.set_defaults(run=partial(reproduce_command, train=_run), threads_per_process=None)


def _run(arguments: Sequence[str]) -> int | None:
    options = parse(arguments)
    exit_code: int | None = options.run(options, arguments)
    return exit_code


def _add_bench(commands: "Commands") -> None:
    benches = _add(commands, "bench", "Measure speed.").add_subparsers(
        metavar="WHAT", required=True, parser_class=Parser
    )
    parser = _add(benches, "step", "Time the exact step against a plain DistributedDataParallel loop, in pairs.")
    _add_recipe(parser, default="fashion-mnist")
    _add_machine(parser)
    add_aggregation(parser)
    parser.add_argument("--rounds", type=positive, default=11, metavar="N", help="pairs of turns (default 11)")
    parser.add_argument(
        "--seconds", type=seconds, default=2.0, metavar="S", help="about how long a turn lasts (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=bench_step_command)
    parser = _add(benches, "all-reduce", "Time every all-reduce, by size, beside the backend's own.")
    _add_machine(parser)
    parser.add_argument(
        "--sizes", type=sizes, metavar="S,T,...", help="of the buffers, as 4KB,1MB (default: 4 KB to 100 MB)"
    )
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="turns of each (default 15)")
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, metavar="S", help="about how long a size may take (default 10)"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write a figure (.png, .svg or .pdf)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=bench_all_reduce_command)


def _add(commands: "Commands", name: str, description: str) -> Parser:
    return commands.add_parser(name, help=description, description=description, allow_abbrev=False)


def _add_recipe(parser: Parser, *, default: str | None = None) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP, nargs="?" if default else None, default=default)
    parser.add_argument("--minibatch-size", type=int, metavar="B", help="samples per update, over all workers")
    parser.add_argument("--epochs", type=int, metavar="E", help="passes over the training data")
    parser.add_argument("--seed", type=int, metavar="S", help="of initialisation, order and augmentation")
    _add_set(parser)


def _add_set(parser: Parser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="change any field of the recipe, as in --set warmup.epochs=2; may be repeated",
    )


def _add_machine(parser: Parser) -> None:
    parser.add_argument(
        "--processes",
        type=process_count,
        metavar="P",
        help="processes on this machine (default: one a GPU or core, at most one a worker)",
    )
    parser.add_argument(
        "--threads-per-process",
        type=positive,
        default=1,
        metavar="T",
        help="CPU threads of each; the bits depend on it (default 1)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="seconds after which a silent process is given up (default: the recipe's, or 120)",
    )
    parser.add_argument(
        "--loader-workers",
        type=not_negative,
        default=0,
        metavar="L",
        help="processes that read ahead, for each process (default 0: read in place)",
    )


def _all_options(parser: argparse.ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list its options
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for child in action.choices.values():
                found += _all_options(child)
    return found
