"""The promise of portable numerics: the same bits on another processor."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.checks.processes import COMMAND, difference, short_run
from bigbatch.verification.emulation import EMULATOR, has_emulator, other_cpu, python_on
from bigbatch.verification.subject import Subject

NAME: Final = "portable bits"
SECONDS: Final = 1200  # for a training on an emulated processor
ITERATIONS: Final = 2
ROOT: Final = 0.5
PAGE: Final = "docs/portable.md names what is portable"

SINGLE, DOUBLE = "torch.float32", "torch.float64"
# By their names in torch, with the dtypes in which they differ, and those that QEMU computes wrongly.
# benchmarks/results/portable_operations.md has what was measured; a test compares the two.
NOT_PORTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("tan", "atan", "asin", "acos", "log2", "log10", "pow 0.5"), (SINGLE, DOUBLE)),
    **dict.fromkeys(("log", "logit"), (DOUBLE,)),
}
NOT_KNOWN: Final = frozenset({"grid_sampler_2d", "mkldnn_rnn_layer"})


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note the operators that torch dispatches, and on which dtypes, while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[tuple[str, str]] = set()

    def __torch_dispatch__(
        self,
        operator: Any,  # noqa: ANN401 - torch's
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever torch dispatches
        """Note the operator, and let it run."""
        del types
        name = operator.overloadpacket.__name__.removeprefix("_foreach_").removesuffix("_")
        if name == "pow" and any(isinstance(exponent, float) and exponent == ROOT for exponent in args[1:]):
            name = f"pow {ROOT}"
        self.found.update((name, str(one.dtype)) for one in tree_leaves(args) if isinstance(one, Tensor))
        return operator(*args, **(kwargs or {}))


def check_portability(subject: Subject) -> Check:
    """Name the operators of a worker's step that are not portable, and take the first steps on another processor."""
    operators = dispatched(subject)
    if named := sorted({name for name, dtype in operators if dtype in NOT_PORTABLE.get(name, ())}):
        return failed(NAME, f"the step uses torch's {', '.join(named)}, with other bits on other processors; {PAGE}")
    if named := sorted({name for name, _ in operators} & NOT_KNOWN):
        return failed(NAME, f"the step uses torch's {', '.join(named)}, which could not be compared; {PAGE}")
    if not has_emulator():
        return passed(NAME, f"no operator that is known to differ; without {EMULATOR} no other processor was tried")
    return compare_processors(subject.recipe)


def dispatched(subject: Subject) -> set[tuple[str, str]]:
    """Return the operators of a worker's pass, forward and backward, and of the update, with their dtypes."""
    model = subject.copy()
    optimizer = build_optimizer(subject.recipe.scaled_optimizer, model, subject.recipe.reference.learning_rate)
    with Operators() as operators, torch.enable_grad():
        subject.seed()
        subject.loss(model, subject.batch).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found: set[tuple[str, str]] = operators.found
    return found


def compare_processors(recipe: Recipe) -> Check:
    """Train the first iterations of one worker here and on an emulated processor of another maker."""
    cpu = other_cpu()
    with tempfile.TemporaryDirectory(prefix="bigbatch-verify-") as name:
        folder = Path(name)
        path = folder / "recipe.toml"
        path.write_text(to_toml(one_worker(recipe)))
        here = short_run(path, 1, folder / "here", iterations=ITERATIONS)
        train = (*python_on(cpu), *COMMAND)
        there = short_run(path, 1, folder / "there", iterations=ITERATIONS, train=train, timeout_seconds=SECONDS)
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
