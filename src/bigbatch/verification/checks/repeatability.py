"""A worker's pass is a function of the model's state and the seed: it has no hidden state and no other randomness."""

from dataclasses import dataclass
from itertools import chain
from typing import Final

import torch
from torch import nn

from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.subject import Batch, Subject, build
from bigbatch.verification.trace import (
    Call,
    Rows,
    describe_module,
    fingerprints,
    first_difference,
    has_generator,
    traced,
)

NAME: Final = "repeatability"
NUM_OTHERS: Final = 4


def check_repeatability(subject: Subject) -> Check:
    """Run a batch on two copies of the model, then again on one of them that has seen other batches in between.

    Two fresh copies that differ draw randomness that no seed reaches. A copy that differs after other batches, although
    its buffers were put back, remembers something outside its buffers.
    """
    if name := _unseeded_initialisation(subject):
        return failed(NAME, f"'{name}' is initialised otherwise when the model is built again: unseeded randomness")
    others = list(chain.from_iterable(subject.minibatches(2)))[1:][:NUM_OTHERS]
    first, again = (observe(subject, subject.copy(), subject.batch) for _ in range(2))
    if where := _difference(subject, first, again):
        return failed(NAME, f"{where} draws unseeded randomness: two copies with the same state and seed differ")
    model = subject.copy()
    start = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for number, batch in enumerate(others, 1):
        observe(subject, model, batch)
        _restore(model, start)
        if where := _difference(subject, first, observe(subject, model, subject.batch)):
            after = f"after {number} other batch{'s' if number > 1 else ''}"
            return failed(NAME, f"{where} has hidden state: {after} the same one gives other bits")
        _restore(model, start)
    return passed(NAME, f"a worker's outputs, losses and gradients are the same to the bit, also after {number} others")


@dataclass(frozen=True)
class Observation:
    """Everything that a worker's pass computed, as fingerprints."""

    calls: list[Call]
    losses: tuple[Rows, ...]
    gradients: tuple[Rows, ...]


def observe(subject: Subject, model: nn.Module, batch: Batch) -> Observation:
    """Run forward and backward from the seed of the first worker."""
    subject.seed()
    model.zero_grad()
    with traced(model, subject.recipe.worker_minibatch_size) as calls:
        losses = subject.losses(model, batch)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return Observation(calls, fingerprints(losses, 1), fingerprints(gradients, 1))


def _difference(subject: Subject, before: Observation, after: Observation) -> str | None:
    """Return in words where two observations differ first."""
    name = first_difference(before.calls, after.calls)
    if name is not None:
        module = subject.model.get_submodule(name)
        own = ", by a generator of its own," if has_generator(module) else ""
        return describe_module(subject.model, name) + own
    if before.losses != after.losses:
        return "the loss"
    return "the backward pass" if before.gradients != after.gradients else None


def _unseeded_initialisation(subject: Subject) -> str | None:
    other = build(subject.recipe, subject.data, subject.device).state_dict()
    for name, tensor in subject.model.state_dict().items():
        if fingerprints(tensor, 1) != fingerprints(other.get(name), 1):
            return name
    return None


@torch.no_grad()
def _restore(model: nn.Module, start: dict[str, torch.Tensor]) -> None:
    for name, buffer in model.named_buffers():
        if name in start:
            buffer.copy_(start[name])
