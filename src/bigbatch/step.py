"""One exact step: a function of its minibatch, never of the processes that compute it."""

from collections.abc import Callable, Iterable, Sized
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.keyed_random import fold
from bigbatch.optim import MomentumCorrection
from bigbatch.reduction import Processes, make_reduction
from bigbatch.reduction.base import communicating
from bigbatch.sampling import check_minibatch_size, worker_block
from bigbatch.seeding import seed_torch

LossFunction = Callable[[Any, Any], Tensor]

# Counters of steps, equal on every worker; other integer state that changes cannot be averaged.
STEP_COUNTERS: Final = ("num_batches_tracked",)


class Step:
    """Compute the update of a minibatch worker by worker, and sum along the canonical tree.

    For each worker of this process: seed torch's generators from (seed, iteration, worker), put the running
    statistics back to the step's start, run the model on the worker's samples, divide their summed loss by the
    minibatch size, go backward. The gradients, running statistics and losses are summed over all workers of all
    processes; the running statistics then become the mean over the workers (arXiv 1706.02677, sections 2.3 and 3).

    All processes start from the weights of rank 0. Under `torchrun`, call `torch.distributed.init_process_group`
    before.

    Args:
        model: on its device; put into training mode by every step. A parameter that no worker used has a zero gradient.
        loss_function: maps (model output, targets) to one loss a sample (reduction="none"; any shape, summed), or to
            their sum. A mean is refused: it cannot be divided by the minibatch size.
        optimizer: any of torch's or your own that does not absorb the rate (see `momentum_correction`).
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: keys the randomness of the workers, such as dropout.
        reduction: "exact", or "native" for the backend's all-reduce: other bits for another number of processes.
        momentum_correction: correct an optimizer that absorbs the rate, instead of refusing it.
        precision: "float32", or "bfloat16" to run the forward pass under autocast.
        group: torch's process group; None for the default one, or this process alone if there is none.

    Raises:
        InputError: sizes that do not divide, more processes than workers, or an optimizer that absorbs the rate.

    >>> model = nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=8, worker_minibatch_size=4)
    >>> minibatch = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)) for worker in step.workers]
    >>> loss = step(minibatch, iteration=0)
    """

    def __init__(  # noqa: PLR0913 - each is a part of the recipe
        self,
        model: nn.Module,
        loss_function: LossFunction,
        optimizer: torch.optim.Optimizer,
        *,
        minibatch_size: int,
        worker_minibatch_size: int,
        seed: int = 0,
        reduction: str = "exact",
        momentum_correction: bool = False,
        precision: str = "float32",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        check_minibatch_size(minibatch_size, worker_minibatch_size)
        self.model, self.loss_function, self.optimizer = model, loss_function, optimizer
        self.minibatch_size, self.worker_minibatch_size, self.seed = minibatch_size, worker_minibatch_size, seed
        self.autocast = precision == "bfloat16"
        self.correction = MomentumCorrection(optimizer, is_requested=momentum_correction)
        processes = Processes.current(group)
        worker_count = minibatch_size // worker_minibatch_size
        self.workers = worker_block(worker_count, rank=processes.rank, world_size=processes.world_size)
        self.worker_count = worker_count
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.counters = [buffer for buffer in model.buffers() if not buffer.is_floating_point()]
        self.counter_names = [name for name, buffer in model.named_buffers() if not buffer.is_floating_point()]
        self.device = self.parameters[0].device
        loss = torch.zeros((), device=self.device)
        leaf = [*self.parameters, *self.statistics, loss]
        self.reduction = make_reduction(reduction, leaf, worker_count=worker_count, processes=processes)
        self.is_loss_checked = False
        broadcast_model(model, processes)

    def __call__(self, minibatch: Iterable[tuple[Any, Any]], *, iteration: int) -> Tensor:
        """Take the step: `backward`, then the optimizer's update.

        Args:
            minibatch: this process's part, one (inputs, targets) for each of `workers`, in their order.
            iteration: the number of the update, counted from 0; keys the randomness.

        Returns:
            The mean loss over the whole minibatch, a scalar on the model's device.
        """
        loss = self.backward(minibatch, iteration=iteration)
        self.correction.apply()
        self.optimizer.step()
        return loss

    def backward(self, minibatch: Iterable[tuple[Any, Any]], *, iteration: int) -> Tensor:
        """Set every parameter's gradient, and the running statistics, to those of the whole minibatch.

        For loops that do more before the update, such as clipping; arguments and result as `__call__`.
        """
        self.model.train()
        start = [buffer.clone() for buffer in (*self.statistics, *self.counters)]
        if isinstance(minibatch, Sized) and len(minibatch) > len(self.workers):
            raise InputError(self._wrong_number(len(minibatch)))
        num_blocks = 0
        for worker, (inputs, targets) in zip(self.workers, minibatch, strict=False):
            self._restore(start)
            seed_torch(fold("worker", self.seed, iteration, worker), self.device)
            loss = self._worker_backward(inputs, targets)
            self.reduction.add(worker, [*(p.grad for p in self.parameters), *self.statistics, loss])
            num_blocks += 1
        if num_blocks != len(self.workers):
            raise InputError(self._wrong_number(num_blocks))
        self._check_counters(start[len(self.statistics) :])
        # Every process leaves the step with its generators in the same state, whichever workers it ran.
        seed_torch(fold("after the step", self.seed, iteration), self.device)
        return self._finish(self.reduction.all_reduce())

    def _wrong_number(self, num_blocks: int) -> str:
        return f"the minibatch has {num_blocks} blocks for the {len(self.workers)} workers of this process"

    def _worker_backward(self, inputs: Any, targets: Any) -> Tensor:  # noqa: ANN401 - whatever the model takes
        for parameter in self.parameters:
            parameter.grad = None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            outputs = self.model(inputs)
            losses = self.loss_function(outputs, targets)
        if not self.is_loss_checked:
            self._check_loss(losses, outputs, targets)
        loss = losses.float().sum() / self.minibatch_size
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def _finish(self, total: list[Tensor]) -> Tensor:
        num_parameters = len(self.parameters)
        for parameter, gradient in zip(self.parameters, total[:num_parameters], strict=True):
            parameter.grad = gradient
        for buffer, summed in zip(self.statistics, total[num_parameters:-1], strict=True):
            torch.div(summed, self.worker_count, out=buffer)
        return total[-1].clone()

    @torch.no_grad()
    def _restore(self, start: list[Tensor]) -> None:
        for buffer, value in zip((*self.statistics, *self.counters), start, strict=True):
            buffer.copy_(value)

    @torch.no_grad()
    def _check_loss(self, losses: Tensor, outputs: Any, targets: Any) -> None:  # noqa: ANN401 - whatever the loss takes
        """Refuse a loss that takes the mean: over two halves of a block a sum adds up, a mean does not."""
        self.is_loss_checked = True
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            return
        num_samples = len(outputs)
        if num_samples != self.worker_minibatch_size:
            msg = f"a block has {num_samples} samples, but worker_minibatch_size is {self.worker_minibatch_size}"
            raise InputError(msg)
        half = num_samples // 2
        if losses.ndim > 0 or half == 0:
            return
        parts = self.loss_function(outputs[:half], targets[:half]) + self.loss_function(outputs[half:], targets[half:])
        if not torch.isclose(parts, losses, rtol=1e-2):
            msg = (
                f"the loss is no sum over its samples ({losses.item():.4g} for a block, {parts.item():.4g} for its "
                'halves); return one loss a sample (reduction="none"), which is divided by the minibatch size '
                "(arXiv 1706.02677, section 3)"
            )
            raise InputError(msg)

    def _check_counters(self, start: list[Tensor]) -> None:
        for name, buffer, before in zip(self.counter_names, self.counters, start, strict=True):
            if not name.endswith(STEP_COUNTERS) and not torch.equal(buffer, before):
                msg = f"the model's buffer '{name}' is no float and changes in a step: it would depend on the processes"
                raise InputError(msg)


def broadcast_model(model: nn.Module, processes: Processes) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if processes.world_size == 1:
        return
    with communicating(), torch.no_grad():
        for tensor in model.state_dict().values():
            source = tensor.contiguous()
            dist.broadcast(source, group=processes.group, group_src=0)
            tensor.copy_(source)
