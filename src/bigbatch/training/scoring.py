"""Score one part of the data: a function of the model and the part, which leaves no trace in the model."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, SupportsFloat

import torch
from torch import Tensor, nn

from bigbatch.data.batch import Batch
from bigbatch.errors import InputError, first_line
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.step.worker_pass import HALF, aligned, forward_precision
from bigbatch.tasks.fitting import IncomputableError, describe
from bigbatch.tasks.metrics import Metric
from bigbatch.training.contributions import plain

Predict = Callable[[nn.Module, Batch], tuple[Any, Any]]
NEEDS_GRADIENTS: Final = "does not require grad"  # torch's words, if a forward pass differentiates under no_grad
WRONG_USE: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
PAIR: Final = 2


@dataclass(frozen=True)
class Scorer:
    """How a part of the data is scored.

    Attributes:
        metrics: what is measured.
        predict: maps (model, batch) to (outputs, targets); None for model(batch[0]) and batch[1].
        precision: "float32", or "bfloat16" to run the forward pass under autocast.
    """

    metrics: Sequence[Metric]
    predict: Predict | None = None
    precision: str = "float32"

    def __call__(self, model: nn.Module, batch: Batch, *, part: int, device: torch.device) -> list[Any]:
        """Return what a part contributes to each metric.

        A model whose forward pass differentiates (forces, physics-informed networks) gets its gradients. Whether it
        needs them is found out for each part anew, so that a part's result does not depend on those before it.

        Args:
            model: in evaluation mode.
            batch: the part's samples, on the device.
            part: its number, which keys what the model draws.
            device: of the model.

        Raises:
            InputError: a metric does not fit the model or the data.
        """
        batch = aligned(batch)
        try:
            with torch.no_grad():
                return self._score(model, batch, part, device)
        except RuntimeError as error:
            if NEEDS_GRADIENTS not in str(error):
                raise
        with torch.enable_grad():
            return self._score(model, batch, part, device)

    def _score(self, model: nn.Module, batch: Batch, part: int, device: torch.device) -> list[Any]:
        seed_generators(random_key("evaluation", part), device)
        predicted: list[Any] = []
        contributions = []
        for metric in self.metrics:
            with forward_precision(device, self.precision):
                if not hasattr(metric, "measure_batch") and not predicted:
                    predicted += self._predict(model, batch)
                found = _measure(metric, model, batch, predicted)
            contributions.append(plain(found, metric=metric.name))
        return contributions

    def _predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        if self.predict is None:
            if not (isinstance(batch, tuple | list) and len(batch) >= PAIR):
                msg = (
                    f"a batch of the validation data is a {type(batch).__name__}, not (inputs, targets): name a "
                    "function of (model, batch) that returns (outputs, targets) as evaluation.predict in the recipe, "
                    "or as evaluate(..., predict=...)"
                )
                raise InputError(msg)
            return [in_full(model(batch[0])), batch[1]]
        found: Any = self.predict(model, batch)
        if not (isinstance(found, tuple | list) and len(found) == PAIR):
            msg = f"predict must return (outputs, targets), not a {type(found).__name__}"
            raise InputError(msg)
        return [in_full(found[0]), found[1]]


def _measure(metric: Any, model: nn.Module, batch: Batch, predicted: Sequence[Any]) -> Any:  # noqa: ANN401 - any metric
    """Return what a part contributes to a metric.

    Raises:
        InputError: the metric does not fit the model or the data.
    """
    if hasattr(metric, "measure_batch"):
        return metric.measure_batch(model, batch)
    try:
        return metric.measure(*predicted)
    except (InputError, torch.OutOfMemoryError):
        raise
    except WRONG_USE as error:
        if NEEDS_GRADIENTS in str(error):
            raise
        outputs, targets = map(describe, predicted)
        msg = (
            f"{metric.name} cannot be measured on outputs {outputs} and targets {targets}: {_reason(error)}; "
            "name a metric that fits, or set evaluation.predict"
        )
        raise InputError(msg) from error


def result_of(metric: Metric, parts: Sequence[Any]) -> float:
    """Return a metric of all parts.

    Raises:
        IncomputableError: it cannot be computed from these parts.
        InputError: it is no number.
    """
    try:
        value: object = metric.result(parts)
    except InputError:
        raise
    except WRONG_USE as error:
        msg = f"{metric.name} cannot be computed from {len(parts)} parts of the data: {_reason(error)}"
        raise IncomputableError(msg) from error
    if isinstance(value, bool | complex) or not isinstance(value, SupportsFloat):
        msg = f"{metric.name}: result(parts) must return a number, not a {type(value).__name__}"
        raise InputError(msg)
    return float(value)


def _reason(error: Exception) -> str:
    """Return what was wrong and where, as the traceback is not shown."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{first_line(error)} ({type(error).__name__} in {Path(last.filename).name}, line {last.lineno})"


def in_full(outputs: Any) -> Any:  # noqa: ANN401 - whatever a model returns
    """Return outputs with their numbers of 16 bits as float32, also in lists, tuples and dictionaries."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in HALF else outputs
    if type(outputs) in {list, tuple}:
        return type(outputs)(map(in_full, outputs))
    return {key: in_full(value) for key, value in outputs.items()} if type(outputs) is dict else outputs


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards give each of its modules its old mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


class KeptBuffers:
    """The buffers of a model, to be put back after each part, if a forward pass has changed them.

    Otherwise a part's result would depend on the parts that its process has seen before, and processes would differ.
    """

    def __init__(self, model: nn.Module) -> None:
        owners = [(module, dict(module._buffers)) for module in model.modules()]  # noqa: SLF001 - the only full list
        self.owners = [(module, buffers) for module, buffers in owners if buffers]
        tensors = {id(b): b for _, buffers in self.owners for b in buffers.values() if b is not None}
        self.kept = [(tensor, tensor._version, tensor.clone()) for tensor in tensors.values()]  # noqa: SLF001 - documented

    def restore(self) -> None:
        """Put back what was changed or replaced."""
        for module, buffers in self.owners:
            if any(module._buffers.get(name) is not tensor for name, tensor in buffers.items()):  # noqa: SLF001 - as above
                module._buffers.update(buffers)  # noqa: SLF001 - as above
        for i, (tensor, version, copy) in enumerate(self.kept):
            if tensor._version != version:  # noqa: SLF001 - torch's count of writes
                with torch.no_grad():
                    tensor.copy_(copy)
                self.kept[i] = tensor, tensor._version, copy  # noqa: SLF001 - the same
