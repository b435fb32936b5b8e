"""A flipped bit is found, and its rank is named. A process that is slow not just by chance is named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bigbatch.processes.group import Processes
from bigbatch.training.consistency import Timing, checksum, compare_processes, odd_ones

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.complex64]


@settings(deadline=None)
@given(st.sampled_from(DTYPES), st.integers(0, 10**6), st.integers(0, 2))
def test_any_flipped_bit_of_any_tensor_changes_the_checksum(dtype, place, which):
    generator = torch.Generator().manual_seed(0)
    tensors = [(100 * torch.randn(4, 5, generator=generator)).to(dtype).t() for _ in range(3)]
    before = checksum(tensors)
    raw = tensors[which].t().view(-1).view(torch.uint8)
    bit = place % (8 * raw.numel())
    raw[bit // 8] ^= 1 << bit % 8
    assert checksum(tensors) != before
    raw[bit // 8] ^= 1 << bit % 8
    assert checksum(tensors) == before


def test_the_checksum_sees_which_tensor_holds_what_and_fits_a_word():
    a, b = torch.ones(3), torch.zeros(3)
    assert checksum([a, b]) != checksum([b, a])
    assert checksum([torch.tensor([True, False])]) != checksum([torch.tensor([True, True])])
    big = torch.full((1000,), -1, dtype=torch.int64)
    assert -(2**63) <= checksum([big, big, big]) < 2**63


def test_who_differs_from_most_is_odd():
    assert odd_ones([1]) == odd_ones([1, 1]) == []
    assert odd_ones([5, 1, 1, 1]) == [0]
    assert odd_ones([1, 2, 1, 3]) == [1, 3]
    assert odd_ones([1, 1, 2, 2]) == [0, 1, 2, 3], "nobody knows"


def test_one_process_has_nothing_to_compare_with():
    timing = compare_processes(nn.Linear(2, 2), Processes(), iteration=1, compute_seconds=1.0, wait_seconds=0.5)
    assert timing == Timing([1.0], [0.5])
    assert timing.straggler is None


@pytest.mark.parametrize(
    ("compute", "wait", "straggler"),
    [
        ([10.0, 20.0, 10.0], [10.0, 0.0, 10.0], 1),
        ([30.0, 10.0], [0.0, 20.0], 0),
        ([10.0, 11.0, 10.0], [1.0, 0.0, 1.0], None),
        ([0.1, 0.4, 0.1], [0.3, 0.0, 0.3], None),  # too short to tell
        ([10.0, 20.0, 10.0], [0.1, 0.0, 0.1], None),  # nobody waits
    ],
)
def test_a_straggler_is_slow_for_long_and_keeps_others_waiting(compute, wait, straggler):
    timing = Timing(compute, wait)
    assert timing.straggler == straggler
    if straggler is not None:
        assert f"rank {straggler} is slow: it computes" in timing.describe(straggler)


def test_the_sentence_tells_the_numbers():
    assert Timing([10.0, 20.0, 10.0], [10.0, 0.0, 10.0]).describe(1) == (
        "rank 1 is slow: it computes 2.00 times as long as the median of the others, who wait 50% of their time"
    )
