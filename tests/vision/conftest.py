"""No test leaves a process group, Accelerate's state, Lightning's variables or a thread count to the next."""

import os

import pytest
import torch
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def as_before():
    """End what a trainer has begun in this process."""
    threads, variables = torch.get_num_threads(), dict(os.environ)
    yield
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(variables)
    AcceleratorState._reset_state(reset_partial_state=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
