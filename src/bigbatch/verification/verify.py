"""All checks of a recipe, in the order in which a person should read them."""

from collections.abc import Callable, Sequence
from typing import Final

import torch

from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.recipe import Recipe
from bigbatch.step.preconditions import check_model, check_optimizer
from bigbatch.user_code import is_user_code, load_callable
from bigbatch.verification.check import Check, checked, failed
from bigbatch.verification.checks.coupling import NAME as COUPLING
from bigbatch.verification.checks.coupling import check_coupling
from bigbatch.verification.checks.hooks import NAME as HOOKS
from bigbatch.verification.checks.hooks import check_hooks
from bigbatch.verification.checks.loop import check_loop
from bigbatch.verification.checks.momentum import NAME as MOMENTUM
from bigbatch.verification.checks.momentum import check_momentum
from bigbatch.verification.checks.normalisation import NAME as NORMALISATION
from bigbatch.verification.checks.normalisation import check_normalisation
from bigbatch.verification.checks.portability import NAME as PORTABLE_BITS
from bigbatch.verification.checks.portability import check_portability
from bigbatch.verification.checks.processes import NAME as SAME_BITS
from bigbatch.verification.checks.processes import check_processes
from bigbatch.verification.checks.repeatability import NAME as REPEATABILITY
from bigbatch.verification.checks.repeatability import check_repeatability
from bigbatch.verification.checks.shuffling import NAME as SHUFFLING
from bigbatch.verification.checks.shuffling import check_shuffling
from bigbatch.verification.checks.weight_decay import NAME as WEIGHT_DECAY
from bigbatch.verification.checks.weight_decay import check_weight_decay
from bigbatch.verification.subject import Subject, build_subject

DATA: Final = "data"
CHECKS: Final[dict[str, Callable[[Subject], Check]]] = {
    REPEATABILITY: check_repeatability,
    COUPLING: check_coupling,
    NORMALISATION: check_normalisation,
    WEIGHT_DECAY: check_weight_decay,
    MOMENTUM: check_momentum,
}


def verify(
    recipe: Recipe,
    device: torch.device,
    *,
    processes: Sequence[int],
    iterations: int,
    loop: str | None = None,
    is_portable: bool = False,
) -> list[Check]:
    """Check that training the recipe is exact and keeps the four precautions (arXiv 1706.02677, section 3).

    Args:
        recipe: its model, loss, data and optimizer may be the user's own.
        device: what the checks within this process compute on.
        processes: each number of them trains the first iterations.
        iterations: how many.
        loop: a training loop of the user's own to check as well, as `package.module:callable`; see `check_loop`.
        is_portable: whether to compare with another processor, emulated if QEMU is installed.

    Raises:
        InputError: something that the recipe names does not exist or cannot be built.
    """
    for name in filter(is_user_code, (*recipe.user_code, *recipe.launch.hooks, loop or "")):
        load_callable(name)
    try:
        data = load_data(recipe.data)
    except InputError as error:
        if not is_user_code(recipe.data.name):
            raise
        return [failed(DATA, str(error))]
    subject = build_subject(recipe, data, device)
    checks = [checked(SAME_BITS, lambda: check_processes(recipe, processes, iterations=iterations))]
    if recipe.launch.hooks:
        checks.append(checked(HOOKS, lambda: check_hooks(recipe, processes[0], iterations=iterations)))
    if is_portable:
        checks.append(checked(PORTABLE_BITS, lambda: check_portability(subject)))
    checks += check_computation(subject, loop)
    return [*checks, checked(SHUFFLING, lambda: check_shuffling(recipe, data, processes))]


def check_computation(subject: Subject, loop: str | None = None) -> list[Check]:
    """Check what the model, the loss and the optimizer do."""
    optimizer = build_optimizer(subject.recipe.scaled_optimizer, subject.model, subject.recipe.reference.learning_rate)
    try:
        check_model(subject.model)
        check_optimizer(optimizer, subject.model)
    except InputError as error:
        return [failed(COUPLING, str(error))]
    checks = [checked(name, lambda check=check: check(subject)) for name, check in CHECKS.items()]  # type: ignore[misc]
    return checks + (check_loop(subject, loop) if loop else [])
