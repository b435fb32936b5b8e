"""A step's bits depend on the values of a batch, not on where in memory they lie."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from bigbatch.step.step import Step
from bigbatch.step.worker_pass import ALIGNMENT_BYTES, aligned

OFFSETS = [0, 1, 2, 3, 4, 9, 17]  # of 4 bytes each


def moved(tensor, offset):
    """Return the same values and strides at an address that is `offset` elements behind an aligned one."""
    room = torch.zeros(tensor.untyped_storage().nbytes() // tensor.element_size() + offset, dtype=tensor.dtype)
    return room.as_strided(tensor.shape, tensor.stride(), offset).copy_(tensor)


def trained(offset):
    """Return the weights after two updates; matrix products of these sizes depend on the address on some CPUs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(65, 10), nn.Tanh(), nn.Linear(10, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=14, worker_minibatch_size=7)
    for _ in range(2):
        inputs = torch.randn(14, 65, generator=torch.Generator().manual_seed(1)).split(7)
        step([(moved(part, offset), torch.arange(7) % 3) for part in inputs])
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_worker_gives_the_same_bits_wherever_its_samples_lie(offset):
    assert all(map(torch.equal, trained(offset), trained(0)))


VIEWS = {
    "dense": lambda x: x,
    "transposed": lambda x: x.mT,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "with gaps": lambda x: x[:, ::2, 1:],
    "expanded": lambda x: x[:1].expand(5, -1, -1, -1),
    "whole numbers": lambda x: x.long(),
    "a single number": lambda x: x[0, 0, 0, 0],
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("offset", [1, 3])
def test_a_copy_has_the_values_and_the_strides_and_an_aligned_one_is_itself(name, offset):
    view = VIEWS[name](moved(torch.arange(120.0).reshape(2, 4, 3, 5), offset))
    found = aligned(view)
    assert torch.equal(found, view)
    assert found.stride() == view.stride()
    assert found.data_ptr() % ALIGNMENT_BYTES["cpu"] == 0
    assert aligned(found) is found


class Pair(NamedTuple):
    inputs: torch.Tensor
    targets: torch.Tensor


def test_every_tensor_of_a_nested_batch_is_aligned_and_the_kinds_stay():
    odd, even, other = moved(torch.ones(5), 1), torch.ones(5), object()
    found = aligned({"pair": Pair(odd, even), "list": [odd, (even, other)]})
    assert isinstance(found["pair"], Pair)
    assert found["pair"].inputs.data_ptr() % ALIGNMENT_BYTES["cpu"] == 0
    assert found["pair"].targets is even
    assert found["list"][0].data_ptr() % ALIGNMENT_BYTES["cpu"] == 0
    assert found["list"][1] == (even, other)
    assert aligned(other) is other


def test_what_must_stay_the_same_object_does():
    leaf = moved(torch.ones(5), 1).requires_grad_()
    batch = (torch.ones(5), [torch.ones(2)])
    assert aligned(leaf) is leaf
    assert aligned(batch) is batch
