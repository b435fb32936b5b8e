"""`bigbatch verify`."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from bigbatch.cli.recipe_options import resolve_recipe
from bigbatch.errors import InputError
from bigbatch.place import find_place
from bigbatch.sampling import worker_block

if TYPE_CHECKING:
    from bigbatch.verification.check import Check

DEFAULT_PROCESSES: Final = (1, 2, 4)
FAILED: Final = 1


def verify_command(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Print a line for each check; return 0 if all passed, 1 if one failed."""
    del arguments
    recipe = resolve_recipe(options)
    if find_place(os.environ):
        msg = "verify starts processes of its own; run it without torchrun or srun"
        raise InputError(msg)
    processes = choose_processes(options.processes, recipe.worker_count)

    from bigbatch.launch import joined
    from bigbatch.verification.verify import verify

    with joined() as machine:
        checks = verify(recipe, machine.device, processes=processes, iterations=options.iterations, loop=options.loop)
    num_failed = sum(not check.is_passed for check in checks)
    if options.json:
        result = {"passed": not num_failed, "checks": [asdict(check) for check in checks]}
        print(json.dumps(result, indent=2))
    else:
        _print_checks(checks)
        print(f"{num_failed} of {len(checks)} checks failed" if num_failed else f"all {len(checks)} checks passed")
    return FAILED if num_failed else 0


def choose_processes(asked: Sequence[int] | None, worker_count: int) -> list[int]:
    """Return the numbers of processes to compare, each once; by default 1, 2 and 4, as far as workers and GPUs go.

    Raises:
        InputError: more processes than workers, or than GPUs if there are any.
    """
    for p in asked or ():
        worker_block(worker_count, rank=0, world_size=p)
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    most = min(worker_count, num_gpus or worker_count)
    if asked is None:
        return sorted({min(p, most) for p in DEFAULT_PROCESSES})
    if max(asked) > most:
        msg = f"{max(asked)} processes need as many GPUs, but this machine has {num_gpus}"
        raise InputError(msg)
    return list(dict.fromkeys(asked))


def _print_checks(checks: "Sequence[Check]") -> None:
    """Print one line each, however long: a file or a pipe is searched line by line."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'pass' if check.is_passed else 'FAIL'}   {check.name:<{width}}   {check.text}")
    print()
