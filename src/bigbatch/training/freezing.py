"""Parts of a model that are not trained, for some epochs or for good."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Self

from torch import nn

from bigbatch.errors import InputError, nearest
from bigbatch.models.frozen_batch_norm import BatchNorm, hold, is_held, release
from bigbatch.models.plain_names import plain_name
from bigbatch.recipe.sections import Model


class Freezing:
    """The frozen parameters of a model, and its frozen batch normalisations, which stay in evaluation mode.

    A batch normalisation is frozen if the patterns match all of its parameters and buffers. It then normalises by its
    running statistics and does not change them: those of other data would no longer fit its frozen scale.

    Args:
        model: whose they are.
        patterns: of names, as `fnmatch` has them.
        epochs: for which they stay frozen; 0 for good.

    Raises:
        InputError: a pattern matches no parameter that would be trained.
    """

    def __init__(self, model: nn.Module, patterns: Sequence[str], epochs: int) -> None:
        self.epochs = epochs
        trained = {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in trained):
                stem = nearest(pattern, list(dict.fromkeys(name.partition(".")[0] + ".*" for name in trained)))
                msg = f"model.frozen: '{pattern}' matches no parameter that is trained; {stem}"
                raise InputError(msg)
        self.parameters = [p for name, p in trained.items() if _matches(name, patterns)]
        modules = ((name, module) for name, module in model.named_modules() if not is_held(module))
        norms = ((name, module) for name, module in modules if isinstance(module, BatchNorm))
        self.norms = [norm for name, norm in norms if _is_frozen(name, norm, patterns)]

    @classmethod
    def of(cls, model: nn.Module, recipe: Model) -> Self | None:
        """Return what a recipe freezes; None if that is nothing."""
        return cls(model, recipe.frozen, recipe.frozen_epochs) if recipe.frozen else None

    @property
    def is_for_good(self) -> bool:
        """Whether nothing is ever trained of it."""
        return self.epochs == 0

    def is_over(self, epoch: int) -> bool:
        """Tell whether it is all trained when this number of epochs is over."""
        return not self.is_for_good and epoch >= self.epochs

    def freeze(self) -> None:
        """Freeze the parameters, and keep the normalisations in evaluation mode."""
        for parameter in self.parameters:
            parameter.requires_grad = False
        for norm in self.norms:
            hold(norm)

    def thaw(self) -> None:
        """Let all of it be trained, after the model's next `train()`."""
        for parameter in self.parameters:
            parameter.requires_grad = True
        for norm in self.norms:
            release(norm)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Inside the `with` block, what will be trained later looks as if it were trained now."""
        if not self.is_for_good:
            self.thaw()
        try:
            yield
        finally:
            self.freeze()


def freeze_for_good(model: nn.Module, recipe: Model) -> Freezing | None:
    """Freeze what a recipe never trains, so that an optimizer that is made then does not have it.

    Returns:
        What the recipe freezes; None if that is nothing. What it trains later is not frozen yet.
    """
    freezing = Freezing.of(model, recipe)
    if freezing and freezing.is_for_good:
        freezing.freeze()
    return freezing


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_frozen(name: str, norm: nn.Module, patterns: Sequence[str]) -> bool:
    names = [part for part, _ in (*norm.named_parameters(), *norm.named_buffers())]
    return all(_matches(plain_name(f"{name}.{part}" if name else part), patterns) for part in names)
