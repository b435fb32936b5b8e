"""Parse a command line: find its command and its options."""

import argparse
from collections.abc import Sequence

from bigbatch import __version__
from bigbatch.cli.commands.bench import add_bench
from bigbatch.cli.commands.diff import add_diff
from bigbatch.cli.commands.evaluate import add_evaluate
from bigbatch.cli.commands.export import add_export
from bigbatch.cli.commands.pack import add_pack
from bigbatch.cli.commands.plan import add_plan
from bigbatch.cli.commands.recipe import add_recipe_command
from bigbatch.cli.commands.report import add_report
from bigbatch.cli.commands.reproduce import add_reproduce
from bigbatch.cli.commands.runs import add_runs
from bigbatch.cli.commands.sweep import add_sweep
from bigbatch.cli.commands.train import add_train
from bigbatch.cli.commands.verify import add_verify
from bigbatch.cli.options.parser import Parser, add_commands
from bigbatch.errors import InputError, nearest


def run(arguments: Sequence[str]) -> int:
    """Parse the words after `bigbatch`, run the command that they name, and return its exit code.

    Raises:
        InputError: what argparse or the command refuses.
    """
    options = parse(arguments)
    return options.run(options) or 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command, with `arguments`, and with `run`, which takes the options and does the work.

    Raises:
        InputError: what argparse refuses.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(_joined(arguments), argparse.Namespace(arguments=list(arguments)))
    command = _chosen(parser, options)
    if unknown:
        raise InputError(_refusal(unknown[0], command))
    if missing := _missing_command(command):
        msg = f"{missing} is missing (see {command.prog} --help)"
        raise InputError(msg)
    return options


def _refusal(argument: str, command: argparse.ArgumentParser) -> str:
    """Say what is wrong with an argument that the command does not know."""
    if not argument.startswith("-"):
        return f"unexpected argument '{argument}' (see {command.prog} --help)"
    known = [option for option in _options(command) if option.startswith("--")]
    return f"unknown argument '{argument}'; {nearest(argument, known)} (see {command.prog} --help)"


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="bigbatch",
        description="Raise the minibatch size, keep the accuracy: exact large-minibatch SGD for PyTorch.",
        epilog="Each command explains its options: bigbatch COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"bigbatch {__version__}")
    commands = add_commands(parser, name="command", metavar="COMMAND")
    add_recipe_command(commands)
    add_plan(commands)
    add_pack(commands)
    add_train(commands)
    add_sweep(commands)
    add_evaluate(commands)
    add_export(commands)
    add_verify(commands)
    add_report(commands)
    add_runs(commands)
    add_diff(commands)
    add_reproduce(commands, train=run)
    add_bench(commands)
    return parser


def _joined(arguments: Sequence[str]) -> list[str]:
    """Write `--sort -FIELD` as `--sort=-FIELD`: argparse would take -FIELD for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--sort" and argument.startswith("-") and not argument.startswith("--"):
            joined[-1] = f"--sort={argument}"
        else:
            joined.append(argument)
    return joined


def _chosen(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the command that was given."""
    for action in _commands_of(parser):
        if name := getattr(options, action.dest, None):
            return _chosen(action.choices[name], options)
    return parser


def _missing_command(parser: argparse.ArgumentParser) -> str | None:
    """Return what stands for the command that the parser still needs."""
    return next((str(action.metavar) for action in _commands_of(parser)), None)


def _commands_of(parser: argparse.ArgumentParser) -> "list[argparse._SubParsersAction[Parser]]":
    """Return the action that holds the parser's commands, if it has any: argparse has no public way to list them."""
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
