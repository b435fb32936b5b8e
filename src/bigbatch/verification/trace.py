"""What every layer of a model was given and returned, sample by sample, as fingerprints of the bits."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

Rows = tuple[int, ...]  # one fingerprint a sample; one for the whole tensor where no dimension is that of the samples

GENERATORS: Final = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


@dataclass(frozen=True)
class Call:
    """One call of a module: fingerprints of the tensors that went in and came out."""

    module: str
    number: int
    inputs: tuple[Rows, ...]
    outputs: tuple[Rows, ...]


@contextmanager
def traced(model: nn.Module, num_samples: int) -> Iterator[list[Call]]:
    """Record the calls of all modules, inner ones first: each in the order in which it ends."""
    calls: list[Call] = []
    pending: list[tuple[Rows, ...]] = []
    counts: dict[str, int] = defaultdict(int)
    with ExitStack() as hooks:
        for name, module in model.named_modules():

            def enter(_: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - whatever a module takes
                # Now, not afterwards: a layer may write to what it was given.
                pending.append(fingerprints((args, kwargs), num_samples))

            def leave(_: nn.Module, __: Any, output: Any, name: str = name) -> None:  # noqa: ANN401
                calls.append(Call(name, counts[name], pending.pop(), fingerprints(output, num_samples)))
                counts[name] += 1

            hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        yield calls


def first_difference(before: Sequence[Call], after: Sequence[Call], *, samples: slice = slice(None)) -> str | None:
    """Return the innermost and first module whose outputs differ although its inputs are the same, for these samples.

    None if there is no such module; the model as a whole has the name "".
    """
    others = {(call.module, call.number): call for call in after}
    for call in before:
        other = others.get((call.module, call.number))
        if other is None:
            continue
        if _chosen(call.inputs, samples) == _chosen(other.inputs, samples) and (
            _chosen(call.outputs, samples) != _chosen(other.outputs, samples)
        ):
            return call.module
    return None


def describe_module(model: nn.Module, name: str) -> str:
    """Return how to name a module to a person."""
    module = model.get_submodule(name)
    kind = type(module).__name__
    return f"layer '{name}' ({kind})" if name else f"the model's own forward ({kind})"


def has_generator(module: nn.Module) -> bool:
    """Tell whether a module keeps a generator of random numbers of its own."""
    return any(isinstance(value, GENERATORS) for value in vars(module).values())


def fingerprints(value: Any, num_samples: int) -> tuple[Rows, ...]:  # noqa: ANN401 - tensors, however nested
    """Return the fingerprint of every tensor in `value`, sample by sample."""
    return tuple(_rows(tensor, num_samples) for tensor in tensors(value))


def tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401 - tensors, however nested
    """Yield the tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


def _rows(tensor: Tensor, num_samples: int) -> Rows:
    """Fingerprint each sample: along the dimension of its size, or by equal parts of the first one."""
    if num_samples in tensor.shape:
        tensor = tensor.movedim(list(tensor.shape).index(num_samples), 0)
        parts = num_samples
    else:
        parts = num_samples if tensor.ndim and tensor.shape[0] and tensor.shape[0] % num_samples == 0 else 1
    if not tensor.numel():
        return ()
    dense = tensor.detach().cpu().contiguous()
    content = dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).reshape(parts, -1).numpy()
    return tuple(hash(row.tobytes()) for row in content)


def _chosen(rows: tuple[Rows, ...], samples: slice) -> tuple[Rows, ...]:
    return tuple(tensor[samples] for tensor in rows)
