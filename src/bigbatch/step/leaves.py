"""The leaves of the tree: each worker's total, and what it brings besides its gradients."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes, check_agreement
from bigbatch.step.objective import LossFunction, Objective, as_objective, check_parameters, checking
from bigbatch.step.running_state import RunningState
from bigbatch.step.trial import copied, try_out
from bigbatch.step.worker_pass import WorkerPass, seed_worker


class Leaves:
    """Run workers, each from the step's start, whichever ran before it in this process.

    Args:
        model: what is trained.
        objective: what a worker minimises.
        batch: the first worker's, which shows what a pass changes, and whether its weight is counted.
        processes: that take part.
        precision: of the forward pass.
        seed: of the workers' randomness.
        worker_minibatch_size: samples of one worker (n).
        minibatch_size: samples per update (kn).
        buffers: what becomes of those that the user has declared; see `RunningState`.
        is_compiled: run the model through `torch.compile`; its trial is not.

    Attributes:
        worker_pass: maps a batch to (total, weight).
        state: the running statistics.
        is_counted: whether the objective counts what the sum is divided by.

    Raises:
        InputError: the objective or the model cannot give the same bits for every number of processes, or a worker's
            batch does not fit into memory.
    """

    def __init__(  # noqa: PLR0913 - each is a part of the recipe
        self,
        model: nn.Module,
        objective: LossFunction | Objective,
        batch: Any,  # noqa: ANN401 - any batch
        processes: Processes,
        *,
        precision: str,
        seed: int,
        worker_minibatch_size: int,
        minibatch_size: int,
        buffers: Mapping[str, str],
        is_compiled: bool = False,
    ) -> None:
        self.model, self.seed = model, seed
        make_pass = partial(
            WorkerPass,
            model,
            precision=precision,
            worker_minibatch_size=worker_minibatch_size,
            minibatch_size=minibatch_size,
        )
        self.worker_pass = make_pass(as_objective(objective), is_compiled=is_compiled)
        trial = make_pass(as_objective(checking(objective, worker_minibatch_size)))
        self.device = trial.device
        self.is_counted = False
        run = partial(self._try, trial, batch)
        fits = True
        try:
            self.state = RunningState(
                model, lambda restore: try_out(model, objective, run, restore), processes, buffers
            )
        except (RuntimeError, MemoryError) as error:
            from bigbatch.step.memory import is_out_of_memory, out_of_memory

            if not is_out_of_memory(error):
                raise
            fits = False
        if not fits:  # the error, which held tensors, is gone
            own = as_objective(objective)
            raise out_of_memory(
                model,
                batch,
                worker_minibatch_size,
                lambda part, count: self._try(make_pass(own, worker_minibatch_size=count), part),
            )
        counted = "the sum of its weights" if self.is_counted else "the number of samples"
        check_agreement({"what its loss is divided by": [counted]}, processes, self.device)

    @torch.enable_grad()
    def _try(self, trial: WorkerPass, batch: Any) -> Tensor:  # noqa: ANN401 - any batch
        seed_worker(self.seed, 0, 0, self.device)
        total: Tensor
        total, weight = trial(copied(batch))
        check_parameters(total, self.model)
        self.is_counted = weight is not None
        return total

    def run(
        self,
        worker: int,
        batch: Any,  # noqa: ANN401 - any batch
        iteration: int,
        *,
        replica: nn.Module | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a worker: return the total to go backward from, and what is summed besides its gradients.

        Args:
            worker: its number among all of the minibatch.
            batch: its samples.
            iteration: the number of the update.
            replica: to run instead of `worker_pass`.

        Raises:
            InputError: the loss is neither one loss a sample nor a `Loss`, or not what it was in the first minibatch.
        """
        self.state.restore()
        seed_worker(self.seed, iteration, worker, self.device)
        total, weight = (replica or self.worker_pass)(batch)
        if (weight is not None) != self.is_counted:
            msg = "the objective returns a bigbatch.Loss for some batches, and one loss a sample for others; decide"
            raise InputError(msg)
        return total, [*self.state.changes(), total.detach(), *([] if weight is None else [weight])]

    def like(self) -> list[Tensor]:
        """Return tensors like those that a worker brings besides its gradients."""
        scalar = torch.zeros((), device=self.device)
        return [*self.state.changes(), scalar, *([scalar] if self.is_counted else [])]

    def finish(self, sums: list[Tensor], worker_count: int) -> tuple[Tensor, Tensor | None]:
        """Set the running statistics to the mean over the workers; return the loss, and the weight if it is counted.

        Args:
            sums: over all workers, of what `run` returned.
            worker_count: workers of the minibatch (k).
        """
        weight = sums.pop() if self.is_counted else None
        loss = sums.pop()
        self.state.finish(sums, worker_count)
        if weight is None:
            return loss.clone(), None
        weight = torch.where((weight == 0) & (loss == 0), 1, weight)  # no worker had anything to count
        return loss / weight, weight
