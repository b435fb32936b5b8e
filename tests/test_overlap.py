"""The buckets in which gradients leave during backpropagation."""

import pytest
import torch
from torch import nn

from bigbatch.reduction.overlap import TAKES_SIZES, Overlap


@pytest.fixture
def alone():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def layers_of_buckets(num_layers, bucket_mb):
    """Return which of a model's layers of 1 MiB are in which bucket."""
    model = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(num_layers)))
    inputs = torch.ones(1, 512)
    return Overlap(model, group=None, bucket_mb=bucket_mb, trial=lambda module: module(inputs).sum()).buckets


@pytest.mark.usefixtures("alone")
@pytest.mark.skipif(not TAKES_SIZES, reason="torch before 2.13 has one size for all buckets")
def test_the_first_bucket_of_several_is_small():
    """The last layer is the first to have its gradient."""
    assert layers_of_buckets(8, bucket_mb=4) == [[7], [6, 5, 4, 3], [2, 1, 0]]
    assert layers_of_buckets(4, bucket_mb=4) == [[3, 2, 1, 0]]
    assert layers_of_buckets(5, bucket_mb=2) == [[4], [3, 2], [1, 0]]
