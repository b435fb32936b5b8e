"""`bigbatch verify`."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from bigbatch.cli.options.argument_types import list_of, named, positive, process_count
from bigbatch.cli.options.machine import check_outside_group
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.processes.portable import take_numerics
from bigbatch.recipe.numerics import PORTABLE
from bigbatch.rules.sampling import process_workers

if TYPE_CHECKING:
    from bigbatch.verification.check import Check

DEFAULT_PROCESSES: Final = (1, 2, 4)
FAILED: Final = 1


def add_verify(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands,
        "verify",
        "Check that a recipe gives the same bits for any number of processes.",
        details="Also check that it keeps the paper's precautions, and name what in your model, loss, data, optimizer "
        "or loop breaks them. Exit code: 0 if all checks pass, otherwise 1.",
    )
    add_recipe(parser)
    parser.add_argument(
        "--processes",
        type=list_of(process_count),
        metavar="P,Q,...",
        help="numbers of processes whose bits are compared (default: 1,2,4, at most one per worker)",
    )
    parser.add_argument(
        "--iterations",
        type=positive,
        default=5,
        metavar="N",
        help="iterations that are trained with each number of processes (default: 5)",
    )
    parser.add_argument(
        "--loop",
        type=named,
        metavar="MODULE:CALLABLE",
        help="also check your training loop, which is called as loop(model, loss_function, optimizer, minibatches, "
        "learning_rates); docs/verification.md shows one",
    )
    parser.add_argument(
        "--portable",
        action="store_true",
        help="check the recipe with numerics = portable, and whether it has the same bits on another processor: QEMU "
        "emulates one if it is installed",
    )
    add_json(parser)
    parser.set_defaults(run=verify_command)


def verify_command(options: argparse.Namespace) -> int:
    """Print a line for each check; return 0 if all passed, 1 if one failed."""
    check_outside_group("verify")
    recipe = resolve_recipe(options)
    if options.portable:
        recipe = replace(recipe, numerics=PORTABLE)
    take_numerics(recipe.numerics)
    processes = choose_processes(options.processes, recipe.initial_worker_count)

    from bigbatch.processes.join import joined
    from bigbatch.verification.verify import verify

    with joined(tf32=recipe.precision == "tf32") as machine:
        checks = verify(
            recipe,
            machine.device,
            processes=processes,
            iterations=options.iterations,
            loop=options.loop,
            is_portable=options.portable,
        )
    num_failed = sum(not check.is_passed for check in checks)
    if options.json:
        result = {"passed": not num_failed, "checks": [asdict(check) for check in checks]}
        print_json(result)
    else:
        _print_checks(checks)
        print(f"{num_failed} of {len(checks)} checks failed" if num_failed else f"all {len(checks)} checks passed")
    return FAILED if num_failed else 0


def choose_processes(asked: Sequence[int] | None, worker_count: int) -> list[int]:
    """Return the numbers of processes to compare, each once; by default 1, 2 and 4, as far as workers go.

    Raises:
        InputError: more processes than workers.
    """
    for p in asked or ():
        process_workers(worker_count, rank=0, world_size=p)
    return list(dict.fromkeys(asked or sorted({min(p, worker_count) for p in DEFAULT_PROCESSES})))


def _print_checks(checks: "Sequence[Check]") -> None:
    """Print one line each, however long: a file or a pipe is searched line by line."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'pass' if check.is_passed else 'FAIL'}   {check.name:<{width}}   {check.text}")
    print()
