"""One exact step: a function of its minibatch, never of the processes that compute it."""

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

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
from bigbatch.rules.gradient_noise import GradientNoise, estimate_noise
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.rules.sampling import Sizes, check_minibatch_size, process_workers
from bigbatch.step.preconditions import LossFunction, check_choices, check_loss, check_model, check_same
from bigbatch.step.running_state import RunningState
from bigbatch.step.worker_pass import forward_precision, in_full_precision, seed_worker

REQUESTS: Final = ("stop", "save", "give up")


@dataclass(frozen=True)
class StepOutcome:
    """What all processes know of a step.

    Attributes:
        requests: what any of them has asked for with this step, of `REQUESTS`.
        is_finite: whether loss, gradients and running statistics are.
        noise: of the gradient, estimated from this minibatch; None with a single worker, or if it is not measured.
    """

    requests: frozenset[str]
    is_finite: bool
    noise: GradientNoise | None = None


class Step:
    """Compute the update of a minibatch worker by worker, and sum along the canonical tree.

    Each worker of this process takes four steps. It seeds torch's, numpy's and Python's generators from (seed,
    iteration, worker). It puts the running statistics back to the step's start. It runs the model on its samples, and
    divides their summed loss by the minibatch size. It goes backward. Then gradients, running statistics and losses are
    summed over all workers of all processes. The running statistics become the mean over the workers (arXiv 1706.02677,
    sections 2.3 and 3).

    All processes start from the weights of rank 0. Make it within `bigbatch.joined()`, or after a
    `torch.distributed.init_process_group` of your own. `with Step(...) as step:` closes it at the end. After an error
    it is left open: closing waits for the other processes, and those may have failed.

    Args:
        model: on its device, in the mode that it shall train in (`train()`). A parameter that no worker has used gets
            a gradient of zeros.
        loss_function: maps (model output, targets) to one loss a sample (reduction="none"; any shape, summed), or to
            their sum. A mean is refused: it cannot be divided by the minibatch size.
        optimizer: any of torch's or your own that does not absorb the rate (see `momentum_correction`).
        minibatches: where the minibatches come from. Both sizes and the seed are taken from it, unless they are given.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: keys the randomness of the workers, such as dropout. It is 0 without `minibatches`.
        aggregation: how gradients are summed over the processes. Only "native" changes the bits.
        momentum_correction: correct an optimizer that absorbs the rate, instead of refusing it.
        precision: "float32", or "bfloat16" to run the forward pass under autocast.
        group: torch's process group; None for the default one, or this process alone if there is none.

    Attributes:
        iteration: the number of the next update, counted from 0. Every step adds 1. To resume, set it to the number
            of updates that were taken before.
        workers: those of this process.
        compute_seconds: time that this process has spent on its workers, with reading their samples.
        wait_seconds: time that it has then waited for the sums.

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
        loss_function: LossFunction,
        optimizer: torch.optim.Optimizer,
        minibatches: Sizes | None = None,
        *,
        minibatch_size: int | None = None,
        worker_minibatch_size: int | None = None,
        seed: int | None = None,
        aggregation: AggregationOptions | None = None,
        momentum_correction: bool = False,
        precision: str = "float32",
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
        self.model, self.loss_function, self.optimizer = model, loss_function, optimizer
        self.minibatch_size, self.worker_minibatch_size, self.seed = minibatch_size, worker_minibatch_size, seed or 0
        self.precision, self.iteration = precision, 0
        correct_momentum(optimizer, is_requested=momentum_correction)
        self.processes = Processes.current(group)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not self.parameters:
            msg = "the model has no parameter to train: requires_grad is off for all"
            raise InputError(msg)
        self.device = self.parameters[0].device
        self.options = aggregation or AggregationOptions()
        self.no_requests = torch.zeros(len(REQUESTS), device=self.device)
        self.compute_seconds = self.wait_seconds = 0.0
        self.is_closed = False
        self.is_summing = False  # from the last worker's forward pass until all has arrived
        # Both are made with the first minibatch, which shows what a forward pass changes.
        self.aggregation: Aggregation | None = None
        self.overlap: Overlap | None = None
        self.state: RunningState | None = None
        check_model(model, optimizer)
        check_choices(self.device, precision)
        sizes = f"minibatch_size {minibatch_size}, worker_minibatch_size {worker_minibatch_size}"
        given = {
            "its sizes": f"{sizes}, seed {self.seed}",
            "its numbers": f"{self.device.type}, {precision} forward pass",
            "its way to sum": str(self.options),
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

    def __call__(self, minibatch: Iterable[tuple[Any, Any]], *, iteration: int | None = None) -> Tensor:
        """Take the step: `backward`, then the optimizer's update.

        Args:
            minibatch: this process's part, one (inputs, targets) for each of `workers`, in their order.
            iteration: the number of the update, counted from 0, which keys the randomness; by default
                `self.iteration`. The next update then has the next number.

        Returns:
            The mean loss over the whole minibatch, a scalar on the model's device.

        Raises:
            InputError: the minibatch has another number of workers, or the model, the loss or a batch cannot give the
                same bits for every number of processes. The line says what to change.
            PeerLostError: another process ended, or did not answer in time.
        """
        loss = self.backward(minibatch, iteration=iteration)
        self.optimizer.step()
        return loss

    def backward(
        self,
        minibatch: Iterable[tuple[Any, Any]],
        *,
        iteration: int | None = None,
        requests: Collection[str] = (),
        measures_noise: bool = False,
    ) -> Tensor:
        """Set every parameter's gradient, and the running statistics, to those of the whole minibatch.

        For loops that do more before the update, such as clipping. `look` tells what came of it.

        Args:
            minibatch: as for `__call__`, as are `iteration`, the result and the errors.
            iteration: the number of the update.
            requests: what this process asks of all processes, of `REQUESTS`.
            measures_noise: whether to measure the gradient's noise; the same on every process.
        """
        if self.is_closed:
            msg = "the step is closed; make a new Step"
            raise InputError(msg)
        if self.is_summing:
            msg = "a step failed after its sums had begun, and other processes may wait for the rest; make a new Step"
            raise InputError(msg)
        start = time.perf_counter()
        iteration = self.iteration if iteration is None else iteration
        versions = self._parameter_versions()
        batches = iter(minibatch)
        for worker in self.workers:
            batch = next(batches, None)
            if batch is None:
                raise InputError(self._wrong_number("fewer"))
            self._check_batch(batch[0])
            if worker == self.workers.start:
                self._begin(batch, measures_noise=measures_noise)
            self._add_worker(worker, batch, iteration, requests if worker == self.workers.start else ())
        if next(batches, None) is not None:
            raise InputError(self._wrong_number("more"))
        if self._parameter_versions() != versions:
            msg = "a forward pass writes to the model's parameters: that would depend on the processes; use buffers"
            raise InputError(msg)
        # Every process leaves the step with its generators in the same state, whichever workers it ran.
        seed_generators(random_key("after the step", self.seed, iteration), self.device)
        self._finish(start)
        self.iteration = iteration + 1
        return self.loss

    def look(self) -> StepOutcome:
        """Return the outcome of the last `backward`, the same on every process. It waits for a GPU."""
        assert self.aggregation is not None
        assert self.state is not None
        norms = () if self.aggregation.norms is None else self.aggregation.norms
        values = torch.stack([*norms, self.aggregation.is_finite(), *self.asked]).tolist()
        *squares, finite, stop, save, give_up = values
        is_finite = bool(finite) or (  # a sum over large numbers may overflow
            self.state.is_finite()
            and all(bool(t.isfinite().all()) for t in (self.loss, *(p.grad for p in self.parameters)) if t is not None)
        )
        requests = frozenset(name for name, count in zip(REQUESTS, (stop, save, give_up), strict=True) if count)
        return StepOutcome(requests, is_finite, self._noise(*squares) if squares and is_finite else None)

    def _noise(self, sum_of_squares: float, square_of_sum: float) -> GradientNoise | None:
        if not math.isfinite(sum_of_squares + square_of_sum):  # the norms of finite gradients may overflow
            return None
        sizes = {"worker_count": self.worker_count, "worker_minibatch_size": self.worker_minibatch_size}
        return estimate_noise(sum_of_squares, square_of_sum, **sizes)

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
        assert self.state is not None
        self.state.restore()

    def changes(self) -> list[Tensor]:
        """Return what the last forward pass has added to each of the running statistics."""
        assert self.state is not None
        return self.state.changes()

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
        rank, world_size = self.processes.rank, self.processes.world_size
        self.workers = process_workers(self.worker_count, rank=rank, world_size=world_size)
        self.communicator = (
            Communicator(self.processes, self.worker_count, self.device, self.options.all_reduce)
            if world_size > 1
            else None
        )
        self.is_closed = False

    def _begin(self, batch: tuple[Any, Any], *, measures_noise: bool) -> None:
        """Remember where the step starts, and prepare the sums."""
        state, aggregation = self._prepare(*batch)
        state.begin()
        aggregation.begin(measures_norms=measures_noise)

    def _add_worker(self, worker: int, batch: tuple[Any, Any], iteration: int, requests: Collection[str]) -> None:
        """Run one worker, and add its leaf to the sum."""
        assert self.aggregation is not None
        assert self.state is not None
        inputs, targets = batch
        self.state.restore()
        seed_worker(self.seed, iteration, worker, self.device)
        self.is_summing = self.communicator is not None and worker == self.workers[-1]
        loss = self.worker_loss(self.aggregation.module_for(worker), inputs, targets)
        asked = self.no_requests
        if requests:
            asked = asked.new_tensor([name in requests for name in REQUESTS])
        self.aggregation.backward(worker, loss, [*self.state.changes(), loss.detach(), asked])

    def _prepare(self, inputs: Any, targets: Any) -> tuple[RunningState, Aggregation]:  # noqa: ANN401 - any batch
        """Check the loss, find the running statistics and lay out the leaves, once, with the first batch."""
        if self.state is None:
            outputs: list[Any] = []
            self.state = RunningState(self.model, lambda: outputs.append(self._forward(inputs)), self.processes)
            check_loss(self.loss_function, outputs[0], targets)
            if self.communicator and self.options.overlap:
                self.overlap = Overlap(
                    self.model,
                    group=self.processes.group,
                    bucket_mb=self.options.bucket_mb,
                    trial=lambda module: self.worker_loss(module, inputs, targets),
                )
                self.state.restore()
        if self.aggregation is None:
            self.aggregation = Aggregation(
                self.model,
                [*self.state.changes(), torch.zeros((), device=self.device), self.no_requests],
                worker_count=self.worker_count,
                workers=self.workers,
                communicator=self.communicator,
                overlap=self.overlap,
                is_compressed=self.options.compression != "none",
            )
        return self.state, self.aggregation

    def _forward(self, inputs: Any) -> Any:  # noqa: ANN401 - whatever the model takes and returns
        with forward_precision(self.device, self.precision):
            return self.model(inputs)

    def worker_loss(self, module: nn.Module, inputs: Any, targets: Any) -> Tensor:  # noqa: ANN401 - whatever it takes
        """Return a worker's part of the minibatch's mean loss."""
        with forward_precision(self.device, self.precision):
            losses = self.loss_function(module(inputs), targets)
        return in_full_precision(losses).sum() / self.minibatch_size

    def _finish(self, start: float) -> None:
        """Wait for the sums, and put them where they belong."""
        assert self.aggregation is not None
        assert self.state is not None
        *changes, loss, self.asked = self.aggregation.finish()
        self.compute_seconds += self.aggregation.submitted_at - start
        self.wait_seconds += time.perf_counter() - self.aggregation.submitted_at
        self.is_summing = False
        self.state.finish(changes, self.worker_count)
        self.loss = loss.clone()

    def _parameter_versions(self) -> list[int]:
        """Return torch's count of writes to each parameter; refuse if others train than when the step was made."""
        parameters = list(self.model.parameters())
        if [id(p) for p in parameters if p.requires_grad] != [id(p) for p in self.parameters]:
            msg = "parameters were frozen, unfrozen or replaced after Step was made; make a new Step"
            raise InputError(msg)
        return [parameter._version for parameter in parameters]  # noqa: SLF001 - torch's documented way to see writes

    def _check_batch(self, inputs: Any) -> None:  # noqa: ANN401 - whatever the model takes
        if isinstance(inputs, Tensor) and len(inputs) != self.worker_minibatch_size:
            msg = f"a batch has {len(inputs)} samples, but worker_minibatch_size is {self.worker_minibatch_size}"
            raise InputError(msg)

    def _wrong_number(self, fewer_or_more: str) -> str:
        return f"the minibatch has {fewer_or_more} batches than this process has workers: {len(self.workers)}"
