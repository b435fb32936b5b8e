"""The promise of portable numerics: the same bits on another processor."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.checks.processes import difference, short_run
from bigbatch.verification.emulation import EMULATOR, has_emulator, other_cpu, python_on
from bigbatch.verification.subject import Subject

NAME: Final = "portable bits"
SECONDS: Final = 1200  # for a training on an emulated processor
ITERATIONS: Final = 2


class Operators(TorchDispatchMode):
    """Note the operators that torch dispatches, those within automatic differentiation too, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever torch dispatches
        """Note the operator, and let it run."""
        del types
        name = operator.overloadpacket.__name__
        exponent = args[1] if name in {"pow", "pow_"} and len(args) > 1 else None
        self.found[f"{name} {exponent}" if isinstance(exponent, float) else name] = None
        return operator(*args, **(kwargs or {}))


def check_portability(subject: Subject) -> Check:
    """Name the operators of a worker's step that are not portable, and take the first steps on another processor."""
    operators = [name for name in dispatched(subject) if name.removesuffix("_") in NOT_PORTABLE]
    named = ", ".join(operators)
    if operators:
        them = "this has" if len(operators) == 1 else "these have"
        return failed(NAME, f"the step uses torch's {named}; {them} other bits on other processors (docs/portable.md)")
    if not has_emulator():
        return passed(NAME, f"no operator that is known to differ; without {EMULATOR} no other processor was tried")
    return compare_processors(subject.recipe)


def dispatched(subject: Subject) -> list[str]:
    """Return the names of the operators of a worker's pass, forward and backward, and of the update, each once."""
    model = subject.copy()
    optimizer = build_optimizer(subject.recipe.scaled_optimizer, model, subject.recipe.reference.learning_rate)
    with Operators() as operators, torch.enable_grad():
        subject.seed()
        subject.loss(model, subject.batch).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return list(operators.found)


def compare_processors(recipe: Recipe) -> Check:
    """Train the first iterations of one worker here and on an emulated processor of another maker."""
    cpu = other_cpu()
    with tempfile.TemporaryDirectory(prefix="bigbatch-verify-") as name:
        folder = Path(name)
        path = folder / "recipe.toml"
        path.write_text(to_toml(one_worker(recipe)))
        here = short_run(path, 1, folder / "here", iterations=ITERATIONS)
        there = short_run(
            path, 1, folder / "there", iterations=ITERATIONS, program=python_on(cpu), timeout_seconds=SECONDS
        )
    for run, where in ((here, "here"), (there, f"on an emulated {cpu}")):
        if run.error:
            return failed(NAME, f"{where}: {run.error}")
    if found := difference(here, there):
        return failed(NAME, f"here and on an emulated {cpu}, {found}")
    count = len(here.losses)
    return passed(
        NAME, f"{count} iterations of one worker the same on an emulated {cpu}, weights {here.weights_sha256[:12]}"
    )


def one_worker(recipe: Recipe) -> Recipe:
    """Return the recipe with a minibatch of one worker, if it allows that: emulation is slow."""
    with suppress(InputError):
        return replace(recipe, minibatch_size=recipe.worker_minibatch_size)
    return recipe
