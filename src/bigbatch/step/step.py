"""One exact step: a function of its minibatch, never of the processes that compute it."""

import time
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.optim.absorbed_rate import correct_momentum
from bigbatch.processes.group import Processes, broadcast
from bigbatch.reduction.aggregation import Aggregation
from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.options import AggregationOptions
from bigbatch.reduction.overlap import Overlap
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.rules.sampling import Sizes, check_minibatch_size, process_workers
from bigbatch.step.leaves import Leaves
from bigbatch.step.objective import LossFunction, Objective
from bigbatch.step.preconditions import Numerics, Parameters, check_choices, check_model, check_optimizer, check_same
from bigbatch.step.result import REQUESTS, StepResult, Sums
from bigbatch.step.trial import copied
from bigbatch.step.worker_pass import aligned


class Step:
    """Compute the update of a minibatch worker by worker, and sum along the canonical tree.

    Each worker of this process takes four steps. It seeds torch's, numpy's and Python's generators from (seed,
    iteration, worker). It puts the running statistics back to the step's start. It runs the model on its samples, and
    divides their summed loss by the minibatch size. It goes backward. Then gradients, running statistics and losses are
    summed over all workers of all processes. The running statistics become the mean over the workers (arXiv 1706.02677,
    sections 2.3 and 3). An objective may count what the sum is divided by, such as tokens: see `Loss`.

    All processes start from the weights of rank 0. Make it within `bigbatch.joined()`, or after a
    `torch.distributed.init_process_group` of your own. `with Step(...) as step:` closes it at the end. After an error
    it is left open: closing waits for the other processes, and those may have failed.

    Args:
        model: on its device, in the mode that it shall train in (`train()`). A parameter that no worker has used gets
            no gradient, as in torch.
        objective: a loss function, which maps (model output, targets) to one loss a sample, shape (n,), or to a `Loss`.
            Or an `@bigbatch.objective`, which maps (model, batch) to the same. A mean over the batch is refused: it
            cannot be divided by the minibatch size.
        optimizer: any of torch's or your own that does not absorb the rate (see `momentum_correction`).
        minibatches: where the minibatches come from. Both sizes and the seed are taken from it, unless they are given.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: keys the randomness of the workers, such as dropout. It is 0 without `minibatches`.
        aggregation: how gradients are summed over the processes. Only "native" changes the bits.
        momentum_correction: correct an optimizer that absorbs the rate, instead of refusing it.
        precision: "float32"; "tf32" on a GPU, within `joined(tf32=True)`; or "bfloat16" for autocast of forward passes.
        buffers: what becomes of buffers in which the workers differ after a forward pass, by patterns of their names:
            "mean" adds the mean of the workers' changes, "sum" their sum, "start" puts a cache back, and "same" is for
            what changes alike, but in some steps only. Batch normalisation's need no word.
        is_compiled: run the model through `torch.compile`, for each shape of a batch anew. It has bits of its own, for
            any number of processes.
        group: torch's process group; None for the default one, or this process alone if there is none.

    Attributes:
        iteration: the number of the next update, counted from 0. Every step adds 1. To resume, set it to the number
            of updates that were taken before.
        workers: those of this process.

    Raises:
        InputError: sizes that are missing or do not divide, more processes than workers, an optimizer that absorbs the
            rate, or processes that were given different things.

    >>> model = nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> step = Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=8, worker_minibatch_size=4)
    >>> minibatch = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)) for worker in step.workers]
    >>> loss = step(minibatch)
    >>> step.iteration
    1
    """

    def __init__(  # noqa: PLR0913 - each is a part of the recipe
        self,
        model: nn.Module,
        objective: LossFunction | Objective,
        optimizer: torch.optim.Optimizer,
        minibatches: Sizes | None = None,
        *,
        minibatch_size: int | None = None,
        worker_minibatch_size: int | None = None,
        seed: int | None = None,
        aggregation: AggregationOptions | None = None,
        momentum_correction: bool = False,
        precision: str = "float32",
        buffers: Mapping[str, str] | None = None,
        is_compiled: bool = False,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        if minibatches is not None:
            minibatch_size = minibatches.minibatch_size if minibatch_size is None else minibatch_size
            if worker_minibatch_size is None:
                worker_minibatch_size = minibatches.worker_minibatch_size
            seed = minibatches.augmentation_seed if seed is None else seed
        if minibatch_size is None or worker_minibatch_size is None:
            msg = "Step needs the sizes: give it the Minibatches, or minibatch_size and worker_minibatch_size"
            raise InputError(msg)
        check_minibatch_size(minibatch_size, worker_minibatch_size)
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.minibatch_size, self.worker_minibatch_size, self.seed = minibatch_size, worker_minibatch_size, seed or 0
        self.precision, self.buffers, self.iteration = precision, dict(buffers or {}), 0
        self.is_compiled = is_compiled
        # Torch would cut what is compiled within DDP at DDP's buckets: other code with p = 1, where there is no DDP.
        torch._dynamo.config.optimize_ddp = False  # noqa: SLF001 - torch's documented way
        self.numerics = Numerics.current()
        check_model(model)
        check_optimizer(optimizer, model)
        correct_momentum(optimizer, is_requested=momentum_correction)
        self.processes = Processes.current(group)
        self.every_parameter = Parameters(model)
        self.parameters = self.every_parameter.trained
        self.device = self.parameters[0].device
        self.options = aggregation or AggregationOptions()
        self.no_requests = torch.zeros(len(REQUESTS), device=self.device)
        self.is_closed = False
        self.is_summing = False  # from the last worker's forward pass until all has arrived
        # These are made with the first minibatch, which shows what a worker's pass brings.
        self.leaves: Leaves | None = None
        self.overlap: Overlap | None = None
        self.aggregation: Aggregation | None = None
        check_choices(self.device, precision, self.buffers)
        sizes = f"minibatch_size {minibatch_size}, worker_minibatch_size {worker_minibatch_size}"
        given = {
            "its sizes": f"{sizes}, seed {self.seed}",
            "its numbers": f"{self.device.type}, {precision} forward pass{', compiled' * is_compiled}",
            "its way to sum": str(self.options),
            "its buffers": str(self.buffers),
            **self.numerics.describe(),
        }
        check_same(given, model, self.processes)
        broadcast((*model.parameters(), *model.buffers()), self.processes)
        self._divide(minibatch_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def __call__(self, minibatch: Iterable[Any], *, iteration: int | None = None) -> Tensor:
        """Take the step: `backward`, then the optimizer's update.

        Args:
            minibatch: this process's part, one batch for each of `workers`, in their order. A batch is (inputs,
                targets) for a loss function, and anything for an objective.
            iteration: the number of the update, counted from 0, which keys the randomness; by default
                `self.iteration`. The next update then has the next number.

        Returns:
            The mean loss over the whole minibatch, a scalar on the model's device.

        Raises:
            InputError: the minibatch has another number of workers, or the model, the loss or a batch cannot give the
                same bits for every number of processes. The line says what to change.
            PeerLostError: another process ended, or did not answer in time.
        """
        result = self.backward(minibatch, iteration=iteration)
        self.optimizer.step()
        return result.loss

    def backward(
        self,
        minibatch: Iterable[Any],
        *,
        iteration: int | None = None,
        requests: Collection[str] = (),
        measures_noise: bool = False,
    ) -> StepResult:
        """Set every parameter's gradient, and the running statistics, to those of the whole minibatch.

        For loops that do more before the update, such as clipping.

        Args:
            minibatch: as for `__call__`, as are `iteration` and the errors.
            iteration: the number of the update.
            requests: what this process asks of all processes, of `result.REQUESTS`.
            measures_noise: whether to measure the gradient's noise; the same on every process.
        """
        start = time.perf_counter()
        self._check_open()
        iteration = self.iteration if iteration is None else iteration
        self.every_parameter.check()
        writes = self.every_parameter.writes()
        batches = iter(minibatch)
        is_made = isinstance(minibatch, list | tuple)  # nobody draws while its batches are read
        for worker in self.workers:
            if not is_made:
                # What is drawn between reading and stepping, as in map(mixup, minibatch), is a function of the worker.
                seed_generators(random_key("batch", self.seed, iteration, worker), self.device)
            batch = next(batches, batches)
            if batch is batches:
                raise InputError(self._wrong_number("fewer"))
            batch = aligned(batch)
            is_first = worker == self.workers.start
            if is_first or worker == self.workers[-1]:
                self.numerics.check()
            if is_first:
                self._begin(batch, measures_noise=measures_noise)
            self._add_worker(worker, batch, iteration, requests if is_first else ())
        if next(batches, batches) is not batches:
            raise InputError(self._wrong_number("more"))
        if self.every_parameter.writes() != writes:
            msg = "a worker's pass writes to the model's parameters: that would depend on the processes; use buffers"
            raise InputError(msg)
        # Every process leaves the step with its generators in the same state, whichever workers it ran.
        seed_generators(random_key("after the step", self.seed, iteration), self.device)
        result = self._finish(start)
        self.iteration = iteration + 1
        return result

    def resize(self, minibatch_size: int) -> None:
        """Go on with another minibatch size, all processes together, between two steps.

        Args:
            minibatch_size: samples per update, over all workers (kn).

        Raises:
            InputError: it does not divide into workers, or there are more processes than those.
        """
        check_minibatch_size(minibatch_size, self.worker_minibatch_size)
        count = minibatch_size // self.worker_minibatch_size
        process_workers(count, rank=self.processes.rank, world_size=self.processes.world_size)
        self.close()
        self._divide(minibatch_size)
        self.aggregation = None

    def undo(self) -> None:
        """Put the running statistics back to what they were before the last `backward`, whose update is left out."""
        self.started().state.restore()

    def started(self) -> Leaves:
        """Return what runs the workers, after the first `backward`."""
        assert self.leaves
        return self.leaves

    def describe_all_reduce(self) -> dict[str, Any]:
        """Return the algorithm of the sum over the processes, and what it was chosen by."""
        return self.communicator.describe() if self.communicator else {"algorithm": self.options.all_reduce}

    def close(self) -> None:
        """End the thread and the group that the processes talk over. All processes call it, between two steps."""
        if self.communicator and not self.is_closed:
            self.communicator.close()
        self.is_closed = True

    def _divide(self, minibatch_size: int) -> None:
        """Divide the minibatch among the processes, and prepare them to sum over it."""
        self.minibatch_size, self.worker_count = minibatch_size, minibatch_size // self.worker_minibatch_size
        if self.leaves:
            self.leaves.worker_pass.minibatch_size = minibatch_size
        rank, world_size = self.processes.rank, self.processes.world_size
        self.workers = process_workers(self.worker_count, rank=rank, world_size=world_size)
        self.communicator = (
            Communicator(self.processes, self.worker_count, self.device, self.options.all_reduce)
            if world_size > 1
            else None
        )
        self.is_closed = False

    def _check_open(self) -> None:
        if self.is_closed:
            msg = "the step is closed; make a new Step"
            raise InputError(msg)
        if self.is_summing:
            msg = "a step failed after its sums had begun, and other processes may wait for the rest; make a new Step"
            raise InputError(msg)

    def _begin(self, batch: Any, *, measures_noise: bool) -> None:  # noqa: ANN401 - any batch
        """Remember where the step starts, and prepare the sums."""
        leaves, aggregation = self._prepare(batch)
        leaves.state.begin()
        aggregation.begin(measures_norms=measures_noise)

    def _prepare(self, batch: Any) -> tuple[Leaves, Aggregation]:  # noqa: ANN401 - any batch
        """See what a worker brings and lay out the sums, once, with the first batch."""
        if self.leaves is None:
            self.leaves = Leaves(
                self.model,
                self.objective,
                batch,
                self.processes,
                precision=self.precision,
                seed=self.seed,
                worker_minibatch_size=self.worker_minibatch_size,
                minibatch_size=self.minibatch_size,
                buffers=self.buffers,
                is_compiled=self.is_compiled,
            )
            if self.communicator and self.options.overlap:
                self.overlap = Overlap(
                    self.leaves.worker_pass,
                    group=self.processes.group,
                    bucket_mb=self.options.bucket_mb,
                    trial=lambda replica: replica(copied(batch))[0],
                )
                self.leaves.state.restore()
        if self.aggregation is None:
            self.aggregation = Aggregation(
                self.parameters,
                [*self.leaves.like(), self.no_requests],
                worker_count=self.worker_count,
                workers=self.workers,
                communicator=self.communicator,
                overlap=self.overlap,
                is_compressed=self.options.compression != "none",
            )
        return self.leaves, self.aggregation

    def _add_worker(self, worker: int, batch: Any, iteration: int, requests: Collection[str]) -> None:  # noqa: ANN401
        """Run one worker, and add its leaf to the sum."""
        assert self.leaves
        assert self.aggregation
        self.is_summing = self.communicator is not None and worker == self.workers[-1]
        replica = self.overlap.replica if self.overlap and worker == self.workers[-1] else None
        total, statistics = self.leaves.run(worker, batch, iteration, replica=replica)
        asked = self.no_requests
        if requests:
            asked = asked.new_tensor([name in requests for name in REQUESTS])
        self.aggregation.backward(worker, total, [*statistics, asked])

    def _finish(self, start: float) -> StepResult:
        """Wait for the sums, and put them where they belong."""
        assert self.leaves
        assert self.aggregation
        *statistics, asked = self.aggregation.finish()
        submitted, now = self.aggregation.submitted_at, time.perf_counter()
        self.is_summing = False
        self.loss, weight = self.leaves.finish(statistics, self.worker_count)
        if weight is not None:
            self.aggregation.divide(weight)
        self._check_reach(weight)
        sums = Sums(
            wait=self.communicator.wait if self.communicator else None,
            is_finite=self.aggregation.is_finite,
            is_each_finite=self._is_each_finite,
            asked=asked,
            norms=self.aggregation.norms,
            worker_count=self.worker_count,
            worker_minibatch_size=self.worker_minibatch_size,
        )
        return StepResult(self.loss, sums, compute_seconds=submitted - start, wait_seconds=now - submitted)

    def _is_each_finite(self) -> bool:
        assert self.leaves
        tensors = (self.loss, *(p.grad for p in self.parameters if p.grad is not None))
        return self.leaves.state.is_finite() and all(bool(tensor.isfinite().all()) for tensor in tensors)

    def _check_reach(self, weight: Tensor | None) -> None:
        """Refuse a minibatch whose loss depends on no parameter, unless there was nothing to count."""
        if all(parameter.grad is None for parameter in self.parameters) and (weight is None or self.loss != 0):
            msg = "the loss depends on no parameter that trains: return it undetached, computed from the model's output"
            raise InputError(msg)

    def _wrong_number(self, fewer_or_more: str) -> str:
        return f"the minibatch has {fewer_or_more} batches than this process has workers: {len(self.workers)}"
