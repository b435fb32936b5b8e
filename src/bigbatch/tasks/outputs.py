"""What of a model's outputs a loss or a metric is about, where a library's model returns more than a tensor."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.tasks.fitting import describe

MAIN: Final = "out"  # of torchvision's models for segmentation
AUXILIARY: Final = "aux"
IMAGES: Final = 4  # dimensions


def main_output(outputs: Any) -> Any:  # noqa: ANN401 - whatever a model returns
    """Return the logits of a library's outputs; anything else as it is.

    It is `logits` of transformers' outputs, and of those of torchvision's GoogLeNet and Inception. It is "out" of
    torchvision's models for segmentation.

    >>> main_output({"out": 1, "aux": 2}), main_output([3])
    (1, [3])
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(logits := getattr(outputs, "logits", None), Tensor):
        return logits
    return outputs[MAIN] if isinstance(outputs, Mapping) and MAIN in outputs else outputs


def auxiliary_output(outputs: Any) -> Tensor | None:  # noqa: ANN401 - whatever a model returns
    """Return the output of an auxiliary classifier of torchvision's models for segmentation; None without one."""
    found = outputs.get(AUXILIARY) if isinstance(outputs, Mapping) and MAIN in outputs else None
    return found if isinstance(found, Tensor) else None


def scored_output(outputs: Any, targets: Any) -> Any:  # noqa: ANN401 - whatever a model returns
    """Return the main output as a metric of ours takes it: images of logits in the size of the targets."""
    found = main_output(outputs)
    are_tensors = isinstance(found, Tensor) and isinstance(targets, Tensor)
    return enlarged(found, targets) if are_tensors else found


def enlarged(logits: Tensor, targets: Tensor) -> Tensor:
    """Return logits in the size of the targets: smaller images are enlarged, as transformers' losses do.

    Args:
        logits: shape (n, classes, height, width).
        targets: shape (n, height, width).
    """
    size = targets.shape[1:]
    if logits.ndim != IMAGES or len(size) != IMAGES - 2 or logits.shape[2:] == size:
        return logits
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def tensor_of(outputs: Any, loss: str) -> Tensor:  # noqa: ANN401 - whatever a model returns
    """Return the main output, which a loss of ours needs as a tensor.

    Raises:
        InputError: it is something else.
    """
    found = main_output(outputs)
    if not isinstance(found, Tensor):
        msg = (
            f"loss '{loss}' needs a tensor, not outputs {describe(found)}; let the model return its logits, or name an "
            "objective of your own"
        )
        raise InputError(msg)
    return found
