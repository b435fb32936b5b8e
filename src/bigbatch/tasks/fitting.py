"""Which metric fits a model's outputs and targets; the refusal of one that does not."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import torch
from torch import Tensor

from bigbatch.errors import InputError

LABELS: Final = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


class IncomputableError(InputError):
    """A metric cannot be computed from these parts of the data; perhaps it can from more."""


def require(name: str, outputs: Any, targets: Any, needs: str, *, is_met: bool) -> None:  # noqa: ANN401 - any model's
    """Refuse outputs and targets that a metric does not fit.

    Args:
        name: of the metric.
        outputs: of the model.
        targets: of the data.
        needs: what the metric needs, for the error.
        is_met: whether they are that.

    Raises:
        InputError: names the metric, both shapes, and a metric that fits.
    """
    if not is_met:
        msg = (
            f"{name} needs {needs}, not outputs {describe(outputs)} and targets {describe(targets)}; "
            f'name a metric that fits, such as metrics = ["{fitting(outputs, targets)}"]'
        )
        raise InputError(msg)


def fitting(outputs: Any, targets: Any) -> str:  # noqa: ANN401 - any model's
    """Return the name of a metric that may fit; a mean loss fits whatever a loss does.

    >>> fitting(torch.zeros(4, 7, 9), torch.zeros(4, 7).long()), fitting(torch.zeros(4, 1), torch.zeros(4))
    ('perplexity', 'mean-loss')
    """
    if are_dictionaries(outputs) and outputs and "boxes" in outputs[0]:
        return "coco-box-ap"
    if not (are_labels(targets) and isinstance(outputs, Tensor) and outputs.ndim > 1):
        return "mean-loss"
    if outputs.shape[:-1] == targets.shape:
        return "top-1-error" if targets.ndim == 1 and outputs.shape[1] > 1 else "perplexity"
    return "mean-iou" if has_classes_second(outputs, targets) else "mean-loss"


def are_labels(targets: object) -> bool:
    """Tell whether targets are whole numbers, which can be classes."""
    return isinstance(targets, Tensor) and targets.dtype in LABELS


def are_detections(outputs: object, targets: object, entries: Sequence[str]) -> bool:
    """Tell whether outputs are a dictionary for each image of tensors with a row for each box, and targets as many."""
    return (
        are_dictionaries(outputs)
        and are_dictionaries(targets)
        and len(outputs) == len(targets)
        and all(_has_a_row_for_each_box(found, entries) for found in outputs)
    )


def are_dictionaries(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    """Tell whether a value is a list of dictionaries."""
    return isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value)


def _has_a_row_for_each_box(found: Mapping[str, Any], entries: Sequence[str]) -> bool:
    tensors = [found[name] for name in entries if isinstance(found.get(name), Tensor) and found[name].ndim]
    return len(tensors) == len(entries) and len(set(map(len, tensors))) == 1


def has_classes_second(outputs: Tensor, targets: Tensor) -> bool:
    """Tell whether outputs have the shape (n, classes, ...), and targets (n, ...)."""
    return outputs.ndim > 1 and (outputs.shape[0], *outputs.shape[2:]) == tuple(targets.shape)


def check_classes(name: str, targets: Tensor, num_classes: int, *, but: str = "") -> None:
    """Refuse labels that are no class of the model.

    Args:
        name: of the metric.
        targets: that count.
        num_classes: of the model's outputs.
        but: what else a label may be, for the error.

    Raises:
        InputError: names the label.
    """
    if not targets.numel():
        return
    least, most = (int(value) for value in targets.aminmax())
    if least < 0 or most >= num_classes:
        msg = (
            f"{name}: the data has a label {least if least < 0 else most}, but the model's outputs have the classes "
            f"0 to {num_classes - 1}{but}; correct the labels, or the width of the model"
        )
        raise InputError(msg)


def describe(value: Any) -> str:  # noqa: ANN401 - whatever a model returns
    """Return what a value is: a tensor's shape and dtype, a list's dictionaries, or a type.

    >>> describe(torch.zeros(2, 3)), describe({"a": 1}), describe([{"boxes": 1, "labels": 2}])
    ('[2, 3] (float32)', 'of type dict', 'of 1 dictionary (boxes, labels)')
    """
    if are_dictionaries(value) and value:
        return (
            f"of {len(value)} {'dictionary' if len(value) == 1 else 'dictionaries'} ({', '.join(map(str, value[0]))})"
        )
    if isinstance(value, Tensor):
        return f"{list(value.shape)} ({str(value.dtype).removeprefix('torch.')})"
    return f"of type {type(value).__name__}"
