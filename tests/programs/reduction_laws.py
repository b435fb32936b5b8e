"""One process of a group: reductions over sizes, dtypes and worker counts, against the tree over one process."""

import os

import torch

from bigbatch.launch import joined
from bigbatch.reduction import Processes, make_reduction
from bigbatch.sampling import worker_block

SHAPES = [((), (1,)), ((3,), (0,)), ((64,), (5, 7)), ((1000,), (2, 3, 4, 5))]
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def leaves(worker_count: int, case: int) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(case)
    shapes, dtype = SHAPES[case % len(SHAPES)], DTYPES[case % len(DTYPES)]
    scale = torch.logspace(-3, 3, worker_count)
    return [
        # Two dtypes in one leaf: each has a buffer of its own.
        [(torch.randn(shapes[0], generator=generator) * s).to(dtype), torch.randn(shapes[1], generator=generator) * s]
        for s in scale
    ]


def reduce(kind: str, all_leaves: list[list[torch.Tensor]], processes: Processes) -> list[torch.Tensor]:
    reduction = make_reduction(kind, all_leaves[0], worker_count=len(all_leaves), processes=processes)
    for _ in range(2):  # buffers are reused: the second sum must not see the first
        for worker in worker_block(len(all_leaves), rank=processes.rank, world_size=processes.world_size):
            reduction.add(worker, all_leaves[worker])
        total = [tensor.clone() for tensor in reduction.all_reduce()]
    return total


with joined() as machine:
    num_native_differs = 0
    for case in range(24):
        for worker_count in (machine.processes.world_size, machine.processes.world_size + 1, 13, 16):
            terms = leaves(worker_count, case)
            alone = reduce("exact", terms, Processes())
            together = reduce("exact", terms, machine.processes)
            native = reduce("native", terms, machine.processes)
            assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True)), (case, worker_count)
            assert all(torch.allclose(a, b, rtol=2e-2, atol=5.0) for a, b in zip(alone, native, strict=True))
            num_native_differs += not all(torch.equal(a, b) for a, b in zip(alone, native, strict=True))
    assert num_native_differs, "the control must fail: the backend's sum has other bits"
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
