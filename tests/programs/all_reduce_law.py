"""One process of a group: all-reduces over sizes, dtypes and worker counts, against the tree over one process."""

import os
from itertools import product

import torch

from bigbatch.processes.join import joined
from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.library_collectives import DirectCollectives
from bigbatch.reduction.options import EXACT_ALGORITHMS
from bigbatch.reduction.tree import Node, merge_run
from bigbatch.rules.sampling import process_workers

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def leaves(worker_count, numel, dtype):
    generator = torch.Generator().manual_seed(worker_count + numel)
    scales = torch.logspace(-3, 3, worker_count)
    return [
        Node(worker, worker + 1, (torch.randn(numel, generator=generator) * scale).to(dtype))
        for worker, scale in enumerate(scales)
    ]


def all_reduce(algorithm, terms, block):
    """Sum twice, for buffers are reused: into a buffer of its own, and into one of the nodes'."""
    totals = []
    for is_own in (True, False):
        clones = [Node(worker, worker + 1, terms[worker].value.clone()) for worker in block]
        nodes = merge_run(clones, len(terms), torch.Tensor.add_)
        out = torch.full_like(terms[0].value, torch.nan) if is_own else nodes[-1].value
        algorithm(nodes, out)
        totals.append(out)
    assert torch.equal(*totals)
    return totals[0]


with joined() as machine:
    p, cpu = machine.processes.world_size, torch.device("cpu")
    num_native_differs = 0
    for worker_count in (p, p + 1, 13, 16):
        communicator = Communicator(machine.processes, worker_count, cpu)
        blocks = [process_workers(worker_count, rank=rank, world_size=p) for rank in range(p)]
        algorithms = communicator.algorithms | {"collectives": DirectCollectives(communicator.lanes[0].group, blocks)}
        assert set(EXACT_ALGORITHMS) < set(algorithms)
        for dtype, numel in product(DTYPES, (0, 1, 7, 64, 1000, 300_000)):
            terms = leaves(worker_count, numel, dtype)
            (alone,) = merge_run(
                [Node(t.start, t.stop, t.value.clone()) for t in terms], worker_count, torch.Tensor.add_
            )
            for name, algorithm in algorithms.items():
                together = all_reduce(algorithm, terms, blocks[machine.processes.rank])
                if name == "native":
                    torch.testing.assert_close(together, alone.value, rtol=2e-2, atol=16.0)
                    num_native_differs += not torch.equal(together, alone.value)
                else:
                    assert torch.equal(together, alone.value), (name, worker_count, dtype, numel)
        assert communicator.choice
        assert communicator.describe()["chosen_by_bytes"]["4096"] in EXACT_ALGORITHMS
        communicator.close()  # a new one in the same process works
    assert num_native_differs or p == 2, "the control must fail: the backend's sum has other bits"
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
