"""An exponential average of the weights over the iterations, to evaluate instead of the last ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_name


class WeightAverage:
    """Average the trainable parameters: a' = decay * a + (1 - decay) * w after each update, from the first weights.

    It works element by element, so it has the same bits for any number of processes. Running statistics are not
    averaged.

    Args:
        model: whose parameters they are, on their device.
        decay: how much of the average an update keeps, as scaled to the minibatch size (`Recipe.average_decay`).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> average = WeightAverage(model, decay=0.75)
    >>> _ = nn.init.ones_(model.weight)
    >>> average.update()
    >>> with average.applied():
    ...     model.weight.item()
    0.25
    >>> model.weight.item()
    1.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        # A parameter that the model holds twice has a name for each place in its state dict.
        self.names = {n: p for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
        self.parameters: list[Tensor] = list({id(parameter): parameter for parameter in self.names.values()}.values())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Average the weights after an update."""
        torch._foreach_lerp_(self.averages, self.parameters, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside the `with` block, and afterwards its own, bit for bit."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._write(self.averages)
        try:
            yield
        finally:
            self._write(own)

    def state(self) -> dict[str, Tensor]:
        """Return the averages by the names of the model's state dict: what replaces its weights there."""
        places = {id(parameter): average for parameter, average in zip(self.parameters, self.averages, strict=True)}
        return {name: places[id(parameter)] for name, parameter in self.names.items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned.

        Raises:
            InputError: it is of another model.
        """
        for name, average in self.state().items():
            saved = state.get(name, state.get(plain_name(name)))
            if not isinstance(saved, Tensor) or (saved.shape, saved.dtype) != (average.shape, average.dtype):
                msg = f"the checkpoint has no average of '{name}'; put a whole one back, or choose another --output"
                raise InputError(msg)
            average.copy_(saved)

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, values)
        torch.clear_autocast_cache()  # an autocast around this would go on with its casts of the weights before
