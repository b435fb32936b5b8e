"""Batch normalisation as a fixed linear layer: its statistics, its scale and its shift stay what they are."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

from torch import nn

from bigbatch.errors import InputError, nearest
from bigbatch.models.plain_names import plain_name

BatchNorm: Final = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - no public base class
STATISTICS: Final = ("running_mean", "running_var")


def freeze_batch_norm(model: nn.Module, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Make batch normalisations linear layers, as detection does on a backbone that is trained already.

    They normalise by their running statistics, also after `model.train()`, and nothing changes these. Their scale and
    shift are not trained. The model keeps its modules and the names of its state dict. In a loop of your own, call it
    before you make the optimizer and `Step`; weights may be loaded before or after.

    Args:
        model: whose they are. A frozen normalisation of another library, such as torchvision's `FrozenBatchNorm2d`,
            stays as it is.
        patterns: of the names of its modules, as `fnmatch` has them; by default all.

    Returns:
        The names of what is frozen by now.

    Raises:
        InputError: a pattern matches no batch normalisation, or one that has no running statistics.

    Source: He et al. 2017, arXiv 1703.06870; in "Accurate, Large Minibatch SGD", arXiv 1706.02677, section 5.4.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    >>> freeze_batch_norm(model), model.train()[1].training
    (['1'], False)
    """
    norms = {plain_name(name): module for name, module in model.named_modules() if _normalises(module)}
    _check_patterns(patterns, norms)
    found = {name: norm for name, norm in norms.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}
    for name, norm in found.items():
        if isinstance(norm, BatchNorm):
            _freeze(name, norm)
    return list(found)


def hold(norm: nn.Module) -> None:
    """Keep a normalisation in evaluation mode, whatever mode its model is put into."""
    norm.eval()
    vars(norm)["train"] = partial(_train_children, norm)  # of this one; a copy has its own


def release(norm: nn.Module) -> None:
    """Let a normalisation follow its model's mode again, from the next `train()` on."""
    vars(norm).pop("train", None)


def is_held(norm: nn.Module) -> bool:
    """Tell whether a normalisation is kept in evaluation mode."""
    return "train" in vars(norm)


def _train_children(norm: nn.Module, mode: bool = True) -> nn.Module:  # noqa: FBT001, FBT002 - as torch has it
    for child in norm.children():  # an activation or a dropout within a normalisation, as timm has them
        child.train(mode)
    return norm


def _normalises(module: nn.Module) -> bool:
    """Tell whether a module is a batch normalisation, or another library's that is frozen already."""
    buffers = {name for name, _ in module.named_buffers(recurse=False)}
    return isinstance(module, BatchNorm) or buffers.issuperset(STATISTICS)


def _freeze(name: str, norm: nn.Module) -> None:
    if norm.running_mean is None:
        msg = f"model.frozen_batch_norm: '{name}' has no running statistics to normalise by; leave it out"
        raise InputError(msg)
    for parameter in norm.parameters(recurse=False):
        parameter.requires_grad = False
    hold(norm)


def _check_patterns(patterns: Sequence[str], norms: Iterable[str]) -> None:
    names = list(norms)
    if not names:
        msg = "model.frozen_batch_norm: the model has no batch normalisation; leave it out"
        raise InputError(msg)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            stems = list(dict.fromkeys(name.partition(".")[0] + ".*" for name in names))
            msg = f"model.frozen_batch_norm: '{pattern}' matches no batch normalisation; {nearest(pattern, stems)}"
            raise InputError(msg)
