"""No test leaves a process group or a thread count to the next."""

import pytest
import torch


@pytest.fixture(autouse=True)
def no_group():
    """End what a trainer has begun in this process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
