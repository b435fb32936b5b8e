"""The squared norm of every worker's gradient, known to all processes: what the gradient's noise is measured from."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.tree import Node, run_of

VECTOR_BYTES: Final = 64  # a reduction on a GPU takes another order where a tensor is not aligned for vector loads


class WorkerNorms:
    """Collect the norms of the workers' gradients, parameter by parameter, as backpropagation makes them.

    Nothing in them depends on the processes. A norm is taken of one parameter's gradient of one worker. The processes
    exchange a table with a place for each worker, in which a sum only adds zeros. What follows is added in an order of
    its own.

    Args:
        parameters: those that train.
        worker_count: workers of a minibatch (k).
        workers: those of this process.
        communicator: to the others; None if there are none.
    """

    def __init__(
        self, parameters: Sequence[Tensor], *, worker_count: int, workers: range, communicator: Communicator | None
    ) -> None:
        self.worker_count, self.workers, self.communicator = worker_count, workers, communicator
        self.nothing = [torch.zeros((), device=parameters[0].device)] * power_of_two(len(parameters))
        self.found = self.nothing.copy()  # of the worker at work, of each parameter; then zeros
        self.rows: list[Tensor] = []  # the same of each worker before it
        self.table = torch.empty(0)

    def begin(self, worker: int) -> None:
        """Make room for a worker's norms: zeros, which stay where it has no gradient."""
        if worker == self.workers.start:
            self.rows.clear()
        else:
            self.rows.append(torch.stack(self.found))
        self.found = self.nothing.copy()

    def add(self, places: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Take the norms of gradients of the last worker, of the parameters at these places."""
        for place, norm in zip(places, norms(gradients), strict=True):
            self.found[place] = norm

    def submit(self) -> None:
        """Start to exchange the table. It is whole when the communication is finished."""
        run = run_of(self.workers, self.worker_count)
        num_rows = power_of_two(self.worker_count)
        tables = torch.zeros(len(run), num_rows, dtype=torch.float64, device=self.nothing[0].device)
        self.table = tables[-1]
        self.table[self.workers.start : self.workers.stop] = self._squares([*self.rows, torch.stack(self.found)])
        if self.communicator:
            nodes = [Node(node.start, node.stop, table) for node, table in zip(run, tables, strict=True)]
            self.communicator.submit(nodes, self.table)

    def finish(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Return, in float64, the sum of the workers' squared norms, and the squared norm of their gradients' sum.

        Args:
            gradients: that sum, of each parameter.
        """
        self.found = self.nothing.copy()
        places = [place for place, gradient in enumerate(gradients) if gradient is not None]
        self.add(places, [gradient for gradient in gradients if gradient is not None])
        return torch.stack([sum_rows(self.table), self._squares([torch.stack(self.found)])[0]])

    def _squares(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the squared norm of each whole gradient, from those of its parameters."""
        return sum_rows(torch.stack([*rows]).double().square().t())


def power_of_two(number: int) -> int:
    """Return the least power of two that is not below the number.

    >>> [power_of_two(number) for number in (1, 2, 3, 29, 32)]
    [1, 2, 4, 32, 32]
    """
    return 1 << (number - 1).bit_length()


@torch.no_grad()
def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the norm of each dense tensor, in its own precision: for statistics.

    16 bits are summed in 32. The same values in the same strides have the same bits, whichever tensors come with them.
    On CPUs the kernels take one order wherever a tensor lies. On GPUs, tensors that are not aligned are copied.
    """
    found: dict[int, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors}:
        places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        accumulated = torch.float32 if dtype in {torch.float16, torch.bfloat16} else None
        alike = [_aligned(tensors[i]) for i in places]
        found |= zip(places, torch._foreach_norm(alike, 2, dtype=accumulated), strict=True)  # noqa: SLF001 - few launches for many small tensors
    return [found[i] for i in range(len(tensors))]


def _aligned(tensor: Tensor) -> Tensor:
    is_aligned = tensor.device.type == "cpu" or tensor.data_ptr() % VECTOR_BYTES == 0
    return tensor if is_aligned else tensor.clone()


def sum_rows(rows: Tensor) -> Tensor:
    """Return the sum over the first dimension, of 2^m rows, in an order that depends on m alone: by halves.

    >>> sum_rows(torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [0.0, 0.0]]))
    tensor([ 6., 60.])
    """
    while len(rows) > 1:
        lower, upper = rows.chunk(2)
        rows = lower + upper
    return rows[0]
