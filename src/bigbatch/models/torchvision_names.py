"""The names that torchvision and timm give to the tensors of a ResNet, and ours: the networks are the same."""

import re
from collections.abc import Iterator
from typing import Final

THEIR_STEM: Final = re.compile(r"((?:.*\.)?)(conv1|bn1)\.(\w+)")
THEIR_BLOCK: Final = re.compile(r"((?:.*\.)?)layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")
OUR_STEM: Final = re.compile(r"((?:.*\.)?)stem\.([01])\.(\w+)")
OUR_BLOCK: Final = re.compile(r"((?:.*\.)?)stages\.([0-3])\.(\d+)\.(branch\.|shortcut\.|last_norm)(\d?)\.(\w+)")
STEM: Final = ("conv1", "bn1")
OF_A_CONV: Final = 3  # modules in a branch: convolution, normalisation, ReLU


def other_names(name: str) -> list[str]:
    """Return the names that a tensor may have in the other family: ours for one of torchvision's, and the reverse.

    The last normalisation of a block has a name of its own in ours. So there are two answers for some names, and the
    one that the model has is right.

    >>> other_names("layer2.0.conv2.weight"), other_names("backbone.body.bn1.running_mean")
    (['stages.1.0.branch.3.weight'], ['backbone.body.stem.1.running_mean'])
    >>> other_names("layer1.0.bn2.bias"), other_names("stages.0.0.last_norm.bias"), other_names("fc.bias")
    (['stages.0.0.branch.4.bias', 'stages.0.0.last_norm.bias'], ['layer1.0.bn3.bias', 'layer1.0.bn2.bias'], [])
    """
    return [*_ours(name), *_theirs(name)]


def _ours(name: str) -> Iterator[str]:
    if block := THEIR_BLOCK.fullmatch(name):
        before, stage, number, part, place, tensor = block.groups()
        for inner in _our_parts(part, int(place)):
            yield f"{before}stages.{int(stage) - 1}.{number}.{inner}.{tensor}"
    elif stem := THEIR_STEM.fullmatch(name):
        before, part, tensor = stem.groups()
        yield f"{before}stem.{STEM.index(part)}.{tensor}"


def _our_parts(part: str, place: int) -> tuple[str, ...]:
    if part == "downsample.":
        return (f"shortcut.{place}",)
    first = OF_A_CONV * (place - 1)
    return (f"branch.{first}",) if part == "conv" else (f"branch.{first + 1}", "last_norm")


def _theirs(name: str) -> Iterator[str]:
    if block := OUR_BLOCK.fullmatch(name):
        before, stage, number, part, place, tensor = block.groups()
        for inner in _their_parts(part, place):
            yield f"{before}layer{int(stage) + 1}.{number}.{inner}.{tensor}"
    elif stem := OUR_STEM.fullmatch(name):
        before, place, tensor = stem.groups()
        yield f"{before}{STEM[int(place)]}.{tensor}"


def _their_parts(part: str, place: str) -> tuple[str, ...]:
    if part == "last_norm":
        return "bn3", "bn2"
    if part == "shortcut.":
        return (f"downsample.{place}",)
    number, kind = divmod(int(place), OF_A_CONV)
    return (f"{'bn' if kind else 'conv'}{number + 1}",)
