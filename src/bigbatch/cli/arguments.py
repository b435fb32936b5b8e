"""What the command line takes."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from bigbatch import __version__
from bigbatch.cli.aggregation_options import add_aggregation
from bigbatch.cli.bench import bench_all_reduce_command, bench_step_command
from bigbatch.cli.evaluate import evaluate_command
from bigbatch.cli.plan import plan_command
from bigbatch.cli.report import report_command
from bigbatch.cli.train import train_command
from bigbatch.errors import InputError, nearest
from bigbatch.launch_options import MAX_SECONDS

LARGEST_BUFFER: Final = 1 << 30
MOST_PROCESSES: Final = 1 << 16
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
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for option in _all_options(parser) if option.startswith("--")]
        msg = f"unknown argument '{unknown[0]}'; {nearest(unknown[0], known)}"
        raise InputError(msg)
    return options


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
    _add_report(commands)
    _add_bench(commands)
    return parser


if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction["Parser"]  # noqa: SLF001 - it has no public name


def _add_plan(commands: "Commands") -> None:
    parser = _add(commands, "plan", "Show every derived hyper-parameter, before and after, with its rule and source.")
    _add_recipe(parser)
    parser.add_argument("--processes", type=_processes, metavar="P", help="also show which workers each process runs")
    parser.add_argument(
        "--at", type=_iterations, default=(), metavar="I,J,...", help="also the learning rate at these iterations"
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
        "--stop-after-epoch", type=_positive, metavar="E", help="stop after this epoch, to be resumed later"
    )
    parser.set_defaults(run=train_command)


def _add_evaluate(commands: "Commands") -> None:
    parser = _add(commands, "evaluate", "Evaluate the last checkpoint of a run on its validation data.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    _add_machine(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=evaluate_command)


def _add_report(commands: "Commands") -> None:
    parser = _add(commands, "report", "Print runs side by side, and draw their error curves.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="the runs' folders")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the error curves (.png, .svg or .pdf)")
    parser.set_defaults(run=report_command)


def _add_bench(commands: "Commands") -> None:
    benches = _add(commands, "bench", "Measure speed.").add_subparsers(
        metavar="WHAT", required=True, parser_class=Parser
    )
    parser = _add(benches, "step", "Time the exact step against a plain DistributedDataParallel loop, in pairs.")
    _add_recipe(parser, default="fashion-mnist")
    _add_machine(parser)
    add_aggregation(parser)
    parser.add_argument("--rounds", type=_positive, default=11, metavar="N", help="pairs of turns (default 11)")
    parser.add_argument(
        "--seconds", type=_seconds, default=2.0, metavar="S", help="about how long a turn lasts (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=bench_step_command)
    parser = _add(benches, "all-reduce", "Time every all-reduce, by size, beside the backend's own.")
    _add_machine(parser)
    parser.add_argument(
        "--sizes", type=_sizes, metavar="S,T,...", help="of the buffers, as 4KB,1MB (default: 4 KB to 100 MB)"
    )
    parser.add_argument("--rounds", type=_positive, default=15, metavar="N", help="turns of each (default 15)")
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="S", help="about how long a size may take (default 10)"
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
        type=_processes,
        metavar="P",
        help="processes on this machine (default: one a GPU or core, at most one a worker)",
    )
    parser.add_argument(
        "--threads-per-process",
        type=_positive,
        default=1,
        metavar="T",
        help="CPU threads of each; the bits depend on it (default 1)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=120.0,
        metavar="S",
        help="seconds after which a silent process is given up (default 120)",
    )
    parser.add_argument(
        "--loader-workers",
        type=_not_negative,
        default=0,
        metavar="L",
        help="processes that read ahead, for each process (default 0: read in place)",
    )


def _processes(text: str) -> int:
    number = _positive(text)
    if number > MOST_PROCESSES:
        msg = f"must be at most {MOST_PROCESSES}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def _positive(text: str) -> int:
    return _whole_number(text, least=1)


def _not_negative(text: str) -> int:
    return _whole_number(text, least=0)


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        msg = f"must be a whole number of at least {least}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_SECONDS:
        msg = f"must be a number of seconds above 0, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_size(part) for part in text.split(","))


def _size(text: str) -> int:
    """Return the bytes of a size such as 64KB; whole float32 numbers."""
    number, unit = text[:-2].strip(), text[-2:].upper()
    scale = {"KB": 1 << 10, "MB": 1 << 20}.get(unit)
    if scale is None or not number.isdecimal() or not 0 < int(number) * scale <= LARGEST_BUFFER:
        msg = f"must be sizes such as 64KB,10MB (at most 1024MB), not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return int(number) * scale


def _iterations(text: str) -> tuple[int, ...]:
    return tuple(_not_negative(part) for part in text.split(","))


def _all_options(parser: argparse.ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list its options
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for child in action.choices.values():
                found += _all_options(child)
    return found
