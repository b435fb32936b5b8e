"""The sum over all workers of a minibatch of their gradients and statistics: what a step uses."""

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.futures import Future

from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.library_collectives import fold
from bigbatch.reduction.local_sum import Flat, FlatLayout, LocalSum
from bigbatch.reduction.overlap import Overlap
from bigbatch.reduction.tree import Node
from bigbatch.reduction.usage import Usage
from bigbatch.reduction.worker_norms import WorkerNorms


class Aggregation:
    """Evaluate the canonical tree over the leaves of all workers of all processes.

    A leaf is a worker's gradients and its statistics. The leaves of this process's workers join its local tree as
    they come. The leaf of its last worker completes the process's partial sums. These leave for the other processes
    bucket by bucket, while the rest of backpropagation goes on.

    A parameter without a gradient counts as zeros. If none of the workers of any process has one, it has none in the
    end, as in torch.

    Args:
        parameters: whose gradients are summed.
        statistics: tensors like those that each worker brings besides.
        worker_count: workers of a minibatch (k).
        workers: those of this process.
        communicator: to the others; None if there are none.
        overlap: what watches the backward pass of the last worker; None to sum after it.
        is_compressed: send gradients as bfloat16; for the native sum only.

    Attributes:
        norms: None unless they are measured; otherwise, after `finish`, the sum of the workers' squared norms, and the
            squared norm of their gradients' sum.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        statistics: Sequence[Tensor],
        *,
        worker_count: int,
        workers: range,
        communicator: Communicator | None,
        overlap: Overlap | None,
        is_compressed: bool = False,
    ) -> None:
        self.parameters, self.workers, self.worker_count = parameters, workers, worker_count
        self.communicator, self.overlap, self.is_compressed = communicator, overlap, is_compressed
        self.usage = Usage(len(parameters), parameters[0].device)
        layout = FlatLayout(self.parameters, overlap.buckets if overlap else None)
        self.gradients = LocalSum(layout, worker_count)
        self.statistics = LocalSum(FlatLayout([*statistics, self.usage.all]), worker_count)
        self.last_statistics: Sequence[Tensor] = ()  # the last worker's, until its buckets are full
        self.gradient_run: list[Node[Flat]] = []
        self.statistics_run: list[Node[Flat]] = []
        self.buckets: list[Tensor] = []  # those of this step, when torch keeps the gradients in them
        self.worker_norms = WorkerNorms(
            self.parameters, worker_count=worker_count, workers=workers, communicator=communicator
        )
        self.measuring: WorkerNorms | None = None
        self.norms: Tensor | None = None
        self.submitted_at = 0.0  # when this process had given away all that it computes
        if overlap:
            overlap.on_bucket = self._submit_bucket

    def begin(self, *, measures_norms: bool = False) -> None:
        """Begin the sums of a minibatch.

        Args:
            measures_norms: whether to take the norms, which needs at least two workers.
        """
        self.gradients.clear()  # what a step that failed may have left
        self.statistics.clear()
        self.buckets.clear()
        self.usage.clear()
        self.measuring = self.worker_norms if measures_norms and self.worker_count > 1 else None

    def backward(self, worker: int, total: Tensor, statistics: Sequence[Tensor]) -> None:
        """Go backward from a worker's total, and add its gradients and statistics to the sum.

        Args:
            worker: the next of this process's workers.
            total: of its samples, a scalar. If it depends on no parameter, its gradients are zeros.
            statistics: what it brings besides.
        """
        self._free_gradients()
        if self.measuring:
            self.measuring.begin(worker)
        if self.overlap and worker == self.workers[-1]:
            self.last_statistics = statistics
            self.gradient_run = self.gradients.take()
            self.overlap.mark_all(total).backward()  # type: ignore[no-untyped-call]
            return
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.parameters]
        self._take_norms(range(len(gradients)), gradients)
        self.usage.begin()
        self.usage.add(range(len(gradients)), gradients)
        self._add_statistics(worker, statistics)
        self.gradients.add(worker, gradients)
        self._free_gradients()  # they must not lie beside the next worker's activations
        if worker == self.workers[-1]:
            self.gradient_run = self.gradients.take()
            self._submit(self.gradient_run)

    def finish(self) -> list[Tensor]:
        """Set every parameter's gradient to the sum, and return the sums of the statistics.

        They are valid until the next call of `begin`.

        Raises:
            PeerLostError: a process ended, or did not answer in time.
        """
        if self.measuring:
            self.measuring.submit()
        if self.communicator:
            self.communicator.finish()
        *statistics, used = self.statistics_run[-1].value.views
        if not self.overlap:  # which leaves the gradients in its buckets
            for parameter, gradient in zip(self.parameters, self.gradient_run[-1].value.views, strict=True):
                parameter.grad = gradient
        for place in self.usage.unused(used):
            self.parameters[place].grad = None
        summed = [parameter.grad for parameter in self.parameters]
        self.norms = self.measuring.finish(summed) if self.measuring else None
        return statistics

    def divide(self, weight: Tensor) -> None:
        """Divide the summed gradients, and their norms, by the sum of the weights, a scalar, after `finish`."""
        for buffer in self._summed():
            buffer.div_(weight.to(buffer.dtype))
        if self.norms is not None:
            self.norms = self.norms / weight.double().square()

    def is_finite(self) -> Tensor:
        """Return whether all sums are finite, as a tensor on their device, after `finish`."""
        gradients = self._summed()
        if self.norms is not None:  # which are not, if a gradient is not
            gradients = [self.norms]
        sums = [buffer.sum().float() for buffer in (*gradients, *self.statistics_run[-1].value.buffers)]
        return torch.stack(sums).isfinite().all()

    def _free_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _summed(self) -> list[Tensor]:
        """Return the buffers of the summed gradients."""
        return self.buckets if self.overlap else self.gradient_run[-1].value.buffers

    def _add_statistics(self, worker: int, statistics: Sequence[Tensor]) -> None:
        self.statistics.add(worker, [*statistics, self.usage.of_worker()])
        if worker == self.workers[-1]:
            self.statistics_run = self.statistics.take()
            self._submit(self.statistics_run)

    def _take_norms(self, places: Sequence[int], gradients: Sequence[Tensor | None]) -> None:
        if self.measuring:
            given = [(place, tensor) for place, tensor in zip(places, gradients, strict=True) if tensor is not None]
            self.measuring.add([place for place, _ in given], [tensor for _, tensor in given])

    def _submit(self, run: list[Node[Flat]]) -> None:
        """Sum a run over the processes, into its last node."""
        self.submitted_at = time.perf_counter()
        if self.communicator:
            for i, out in enumerate(run[-1].value.buffers):
                self.communicator.submit([Node(n.start, n.stop, n.value.buffers[i]) for n in run], out)

    def _submit_bucket(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """Complete a bucket's partial sums with the last worker's leaf, and sum them over the processes."""
        assert self.communicator
        assert self.overlap
        places = self.overlap.buckets[bucket.index()]
        if self.measuring:
            self._take_norms(places, bucket.gradients())
        if bucket.index() == 0:
            self.usage.begin()
        # Torch hands over zeros for a parameter without a gradient, and sets its `grad` after the last bucket only.
        self.usage.add(places, [self.parameters[place].grad for place in places])
        self.submitted_at = time.perf_counter()
        self.buckets.append(bucket.buffer())
        last = self.workers[-1]
        nodes = [Node(n.start, n.stop, n.value.buffers[bucket.index()]) for n in self.gradient_run]
        nodes.append(Node(last, last + 1, bucket.buffer()))
        if bucket.is_last():
            self._add_statistics(last, self.last_statistics)
        if not self.is_compressed:
            return self.communicator.submit(nodes, bucket.buffer())
        self.communicator.finish()  # the statistics may be on the same group
        fold(nodes, bucket.buffer())
        world_size = self.communicator.world_size
        mean: Future[Tensor] = bf16_compress_hook(self.overlap.group, bucket)
        return mean.then(lambda future: future.value().mul_(world_size))
