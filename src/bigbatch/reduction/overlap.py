"""Overlap with backpropagation, through DistributedDataParallel's reducer: a bucket leaves as soon as it is full."""

from collections.abc import Callable
from inspect import signature
from itertools import accumulate
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from bigbatch.errors import InputError
from bigbatch.reduction.options import bucket_sizes

OnBucket = Callable[[dist.GradBucket], Future[Tensor]]

# torch 2.13 renames it and deprecates the old name.
PARAMETERS: Final = signature(DistributedDataParallel).parameters
NO_BUFFER_SYNC: Final[dict[str, Any]] = {
    "forward_sync_buffers" if "forward_sync_buffers" in PARAMETERS else "broadcast_buffers": False
}
TAKES_SIZES: Final = "bucket_cap_mb_list" in PARAMETERS  # since torch 2.13; before, all buckets have one size


class Overlap:
    """A DistributedDataParallel replica of the model that hands its buckets over during the backward pass.

    The replica sums nothing itself. Its comm hook calls `on_bucket`, whose future holds the bucket's buffer when the
    sum is in it. Two trial passes let torch arrange its buckets in the order in which gradients become ready. After
    that they stay as they are. The first of several is small: until it leaves, nothing is hidden.

    Args:
        module: a worker's pass through the model, whose parameters they are.
        group: of the processes.
        bucket_mb: about how large a bucket is, in MiB.
        trial: runs a module like that one on the samples of a worker, and returns the loss.

    Attributes:
        replica: to be called instead of the module where the buckets shall leave.
        buckets: the parameters of each bucket, by their places among those that train.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        group: dist.ProcessGroup | None,
        bucket_mb: float,
        trial: Callable[[nn.Module], Tensor],
    ) -> None:
        self.group: dist.ProcessGroup = group or dist.group.WORLD  # type: ignore[assignment]  # there is one
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        sizes = bucket_sizes(sum(parameter.nbytes for parameter in self.parameters), bucket_mb)
        of_each: dict[str, Any] = {"bucket_cap_mb_list": list(sizes)} if TAKES_SIZES else {}
        self.replica = DistributedDataParallel(
            module,
            process_group=group,
            bucket_cap_mb=bucket_mb,
            gradient_as_bucket_view=True,
            init_sync=False,
            **of_each,
            **NO_BUFFER_SYNC,
        )
        self.buckets: list[list[int]] = []
        self.on_bucket: OnBucket = self._record
        self.replica.register_comm_hook(None, self._hook)
        for _ in range(2):  # torch rearranges its buckets once, when the second forward pass begins
            self.buckets.clear()
            self._try(trial)
        for parameter in self.parameters:
            parameter.grad = None

    def mark_all(self, loss: Tensor) -> Tensor:
        """Return the loss, made to depend on every parameter. One that it does not use gets zeros in its bucket."""
        marked: Tensor = MarkAll.apply(loss, *self.parameters)  # type: ignore[no-untyped-call]
        return marked

    def _try(self, trial: Callable[[nn.Module], Tensor]) -> None:
        try:
            self.mark_all(trial(self.replica)).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if "ready only once" not in str(error):
                raise
            msg = (
                "a parameter gets its gradient twice in one backward pass, as in a reentrant checkpoint: use "
                "torch.utils.checkpoint with use_reentrant=False, or sum without overlap (--no-overlap)"
            )
            raise InputError(msg) from error

    def _hook(self, state: None, bucket: dist.GradBucket) -> Future[Tensor]:
        del state
        return self.on_bucket(bucket)

    def _record(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """Note the parameters of a bucket of a trial pass."""
        assert bucket.index() == len(self.buckets)
        places = {id(parameter): i for i, parameter in enumerate(self.parameters)}
        self.buckets.append([places[id(parameter)] for parameter in bucket.parameters()])
        offsets = [gradient.storage_offset() for gradient in bucket.gradients()]
        assert offsets == [0, *accumulate(gradient.numel() for gradient in bucket.gradients())][:-1]
        future: Future[Tensor] = Future()
        future.set_result(bucket.buffer())
        return future


class MarkAll(torch.autograd.Function):
    """The identity on a loss, which also leads to every parameter and brings it no gradient.

    The reducer waits for every parameter of a bucket, and one that the loss does not use would never come. Here it
    comes without a gradient, which the reducer takes for zeros.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        """Return the loss."""
        ctx.num_parameters = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradient for the loss, and none for the parameters."""
        return gradient, *[None] * ctx.num_parameters
