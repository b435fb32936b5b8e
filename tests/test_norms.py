"""Norms: the same bits wherever a tensor lies."""

import pytest
import torch

from bigbatch.optim import norms
from bigbatch.optim.norms import ALIGNMENT_BYTES, aligned, squared_norms

SIZES = (1, 2, 3, 7, 8, 9, 31, 64, 100, 127, 1000, 1023, 4096, 5000)


def placed(tensor, offset):
    """Return the tensor as a view of a buffer, `offset` elements after its start, with the same strides."""
    buffer = torch.full((tensor.numel() + offset + 3,), torch.nan, dtype=tensor.dtype)
    return buffer.as_strided(tensor.shape, tensor.stride(), offset).copy_(tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_place_in_memory_does_not_change_a_bit(dtype):
    torch.manual_seed(0)
    tensors = [torch.randn(size).to(dtype) for size in SIZES]
    tensors += [torch.randn(6, 5, 3, 3, dtype=dtype).to(memory_format=torch.channels_last), torch.randn(7, 9).t()]
    expected = squared_norms(tensors)
    for offset in range(65):
        found = squared_norms([placed(tensor, offset) for tensor in tensors])
        assert torch.equal(found, expected), offset
        assert torch.equal(squared_norms([placed(tensors[5], offset)]), expected[5:6])


def test_they_are_the_norms():
    torch.manual_seed(0)
    tensors = [
        torch.randn(4, 5, 2, 2).to(memory_format=torch.channels_last),
        torch.randn(8, 8)[:, ::2],
        torch.randn(3, 1, 5).expand(3, 4, 5),
        torch.tensor(2.0),
        torch.zeros(0),
        torch.randn(3, dtype=torch.complex64),
        1e30 * torch.randn(1000),
    ]
    expected = [t.to(torch.complex128).abs().square().sum() for t in tensors]
    torch.testing.assert_close(squared_norms(tensors), torch.stack(expected))
    assert squared_norms([]).shape == (0,)
    assert squared_norms([torch.tensor([1.0, torch.inf]), torch.tensor([torch.nan])])[0] == torch.inf


def test_what_is_aligned_is_not_copied_and_all_is_aligned_then():
    whole = torch.randn(64)
    mixed = [whole, whole[1:], whole[16:], whole[3:5].double()[1:], torch.zeros(0), whole.bfloat16()[1:]]
    rows = aligned(mixed)
    assert all(row.data_ptr() % ALIGNMENT_BYTES == 0 for row in rows)
    assert [row.data_ptr() == before.data_ptr() for row, before in zip(rows, mixed, strict=True)][:3] == [
        True,
        False,
        True,
    ]
    assert all(torch.equal(row, before) for row, before in zip(rows, mixed, strict=True))


def test_every_reduction_is_given_aligned_rows(monkeypatch):
    """On CUDA the order depends on the alignment, unlike on a CPU; so the test looks at the kernel's input."""
    given = []
    kernel = torch._foreach_norm
    monkeypatch.setattr(norms.torch, "_foreach_norm", lambda rows, *a, **k: given.extend(rows) or kernel(rows, *a, **k))
    squared_norms([placed(torch.randn(size), offset) for size in SIZES for offset in (0, 1, 5)])
    assert given
    assert all(row.is_contiguous() and row.data_ptr() % ALIGNMENT_BYTES == 0 for row in given)
