"""PyTorch Lightning: a LightningModule as it is, trained to the same bits by any number of processes.

    from bigbatch.integrations.lightning import ExactStrategy, ScaledRate

    strategy = ExactStrategy(minibatch_size=256, worker_minibatch_size=32)
    trainer = Trainer(devices=2, strategy=strategy, callbacks=[ScaledRate(reference=64)])

It serves `lightning` and `pytorch-lightning`: whichever has been imported before, or is installed.
"""

import os
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.errors import InputError, first_line
from bigbatch.integrations.lightning_logs import WorkerLogs, metrics_of, unnoticed
from bigbatch.integrations.loaders import Part, PartLoader, minibatches_of
from bigbatch.integrations.rates import ScaledUpdate, factor_of
from bigbatch.integrations.refusals import refuse
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.reduction.options import AggregationOptions
from bigbatch.rules.gradient_noise import RunningNoise
from bigbatch.step.objective import Loss, Objective
from bigbatch.step.result import StepResult
from bigbatch.step.step import Step


def _lightning() -> Any:  # noqa: ANN401 - a module of either package
    names = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules)
    for name in names:
        try:
            return import_module(name)
        except (ImportError, RuntimeError) as error:  # torchvision of another torch raises a RuntimeError
            reason = first_line(error)
    msg = f"Lightning cannot be imported ({reason}): pip install 'bigbatch[lightning]'"
    raise InputError(msg)


pl: Any = _lightning()
PRECISIONS: Final = {"32-true": "float32", "32": "float32", "bf16-mixed": "bfloat16"}
SEED: Final = "PL_GLOBAL_SEED"  # what Lightning's seed_everything leaves
ACCUMULATES: Final = "accumulate_grad_batches; a larger minibatch_size accumulates"
STATE: Final = "changes with every pass"
OWN_STEP: Final = ("backward", "on_before_batch_transfer")  # hooks that would have to see a worker's batch or graph


class ExactStrategy(pl.strategies.DDPStrategy):
    """Train with exact steps. One batch of the trainer is one minibatch; `training_step` runs once for each worker.

    The DataLoader's dataset, collate function, number of readers and order (shuffled or not) are used; its batch size
    is not. The mean over the workers of their losses is minimised. The trainer's clipping, schedulers, callbacks and
    checkpoints work as ever, and a checkpoint goes on with another number of processes. A number that `training_step`
    logs, also by a metric object, is the mean over all workers, or their `reduce_fx`. Each process evaluates all
    validation data, so no sample counts twice. Both are the same for every number of processes.

    Args:
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: keys order, augmentation and dropout; by default that of `seed_everything`, or 0.
        threads: of each process on the CPU; the bits depend on them.
        notes: attributes of the module that `training_step` only writes to, such as a list of outputs.
        buffers: as for `bigbatch.Step`.
        aggregation: as for `bigbatch.Step`.
        options: of Lightning's DDPStrategy, such as `timeout` and `process_group_backend`.

    Raises:
        InputError: what cannot be exact, when a training begins: other precisions than "32-true" and "bf16-mixed",
            manual optimization, accumulation (the minibatch is the accumulation), SyncBatchNorm, several DataLoaders,
            streams, or samplers of one's own.
    """

    def __init__(
        self,
        *,
        minibatch_size: int,
        worker_minibatch_size: int,
        seed: int | None = None,
        threads: int = 1,
        notes: Collection[str] = (),
        buffers: Mapping[str, str] | None = None,
        aggregation: AggregationOptions | None = None,
        **options: Any,  # noqa: ANN401 - Lightning's own
    ) -> None:
        super().__init__(**options)
        self.minibatch_size, self.worker_minibatch_size = minibatch_size, worker_minibatch_size
        self.seed = int(os.environ.get(SEED, "0")) if seed is None else seed
        self.threads, self.notes, self.buffers, self.summation = threads, notes, buffers, aggregation
        self.numerics = ExitStack()
        self.step: Step | None = None
        self.gradients: list[Tensor | None] = []
        self.measures_noise = False
        self.result: StepResult | None = None

    def setup_environment(self) -> None:
        """Set what the bits depend on, and join the processes."""
        self.numerics.enter_context(reproducible_numerics(self.threads))
        super().setup_environment()

    def setup(self, trainer: Any) -> None:  # noqa: ANN401 - Lightning's Trainer
        """Refuse what cannot be exact, and leave the data to this strategy."""
        self.trainer = trainer
        trainer._accelerator_connector.use_distributed_sampler = False  # noqa: SLF001 - the Trainer's own argument
        super().setup(trainer)
        # In an evaluation each process has seen all data: its metrics must not add those of the others.
        for metric in metrics_of(self.lightning_module):
            self.numerics.callback(setattr, metric, "distributed_available_fn", metric.distributed_available_fn)
            metric.distributed_available_fn = lambda: trainer.training and dist.is_initialized()
        if trainer.state.fn == pl.trainer.states.TrainerFn.FITTING:
            _check(trainer, self)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped: Step does the exchange."""

    def process_dataloader(self, dataloader: Any) -> Any:  # noqa: ANN401 - Lightning's own
        """Return the training's minibatches; data for evaluation stays whole."""
        if not self.trainer.training:
            return dataloader
        sizes = {"minibatch_size": self.minibatch_size, "worker_minibatch_size": self.worker_minibatch_size}
        device = torch.device("cpu")  # batch_to_device moves each worker's batch, by the module's own hooks
        return PartLoader(minibatches_of(dataloader, **sizes, seed=self.seed, device=device), self._position)

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:  # noqa: ANN401
        """Move a batch; those of a minibatch when they are read."""
        if not isinstance(batch, Part):
            return super().batch_to_device(batch, device, dataloader_idx)
        move = super().batch_to_device
        return Part(move(part, device, dataloader_idx) for part in batch.batches)

    def training_step(self, minibatch: Part, *numbers: int) -> Tensor:
        """Run `training_step` for each worker, go backward, and sum; return the minibatch's loss."""
        if not isinstance(minibatch, Part):
            msg = "the training has several DataLoaders; give ExactStrategy one training DataLoader"
            raise InputError(msg)
        accumulates = self.trainer.accumulate_grad_batches != 1  # a callback may have set it
        refuse("ExactStrategy", {ACCUMULATES: accumulates and not self.trainer.fit_loop._skip_backward})  # noqa: SLF001
        step = self._current_step()
        self.numbers = numbers
        iteration = self.trainer.global_step
        try:
            self.result = step.backward(minibatch.batches, iteration=iteration, measures_noise=self.measures_noise)
        except InputError as error:
            if STATE not in str(error):
                raise
            msg = f"{error}; if training_step only writes to it, name it: ExactStrategy(notes=['...'])"
            raise InputError(msg) from error
        self.logs.log(step.workers.start, step.device)
        # Lightning clears the gradients before it asks for `backward`.
        self.trained = step.parameters
        self.gradients = [parameter.grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.grad = None
        return self.result.loss

    def backward(self, closure_loss: Tensor, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401 - Lightning's own
        """Put the gradients, which are there already, where the optimizer looks for them."""
        closure_loss = self.precision_plugin.pre_backward(closure_loss, self.lightning_module)
        for parameter, gradient in zip(self.trained, self.gradients, strict=True):
            parameter.grad = gradient
        return self.precision_plugin.post_backward(closure_loss, self.lightning_module)  # type: ignore[no-any-return]

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:  # noqa: ANN401 - Lightning's own
        """Reduce over the processes; in an evaluation, all have the same."""
        if not self.trainer.training:
            return tensor
        return super().reduce(tensor, group, reduce_op)

    def on_exception(self, exception: BaseException) -> None:
        """Leave the step open: closing it would wait for processes that may have failed."""
        self.step = None
        super().on_exception(exception)

    def teardown(self) -> None:
        """Close the step, and give back what was set."""
        if self.step:
            self.step.close()
        self.step = None
        self.numerics.close()
        super().teardown()

    def _position(self) -> tuple[int, int]:
        """Return the epoch that the trainer is in, and the minibatches of it that it has taken."""
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _current_step(self) -> Step:
        """Return the step: a new one where a callback has frozen or unfrozen parameters."""
        module = self.lightning_module
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if self.step and [*map(id, trained)] != [*map(id, self.step.parameters)]:
            self.step.close()
            self.step = None
        if self.step is None:
            self.step = Step(
                module,
                Objective(self._worker),
                self.optimizers[0],
                minibatch_size=self.minibatch_size,
                worker_minibatch_size=self.worker_minibatch_size,
                seed=self.seed,
                precision=PRECISIONS[self.precision_plugin.precision],
                buffers=self.buffers,
                aggregation=self.summation,
            )
            sizes = {"worker_count": self.step.worker_count, "minibatch_size": self.minibatch_size}
            self.logs = WorkerLogs(module, **sizes)
        return self.step

    def _worker(self, module: Any, batch: Any) -> Loss:  # noqa: ANN401 - the user's module and batch
        """Return the module's own loss of one worker's batch."""
        self.trainer._results.batch, self.trainer._results.batch_size = batch, None  # noqa: SLF001 - what `log` averages by
        is_trial = self.step is None or self.step.aggregation is None
        with unnoticed(module, self.notes) if is_trial else self.logs.worker():
            output = module.training_step(batch, *self.numbers)
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if isinstance(loss, Loss):
            return loss
        if not isinstance(loss, Tensor):
            msg = f"training_step returned {type(loss).__name__} for a worker; return its loss, or a dict with 'loss'"
            raise InputError(msg)
        return Loss(loss, 1)


class ScaledRate(pl.Callback):
    """Scale the module's own learning rate by the rule, with gradual warmup, whatever its schedule; also with DDP.

    The rate of each update is the schedule's times a factor: from 1 at iteration 0, by a constant amount, to k after
    the warmup (arXiv 1706.02677, section 2.2). The scheduler and the checkpoints see the schedule's own rate.

    Args:
        reference: the minibatch size that the module's rate is trusted at.
        warmup_epochs: epochs until the whole factor is reached; none where the minibatch is not larger.
        scaling: "linear" for SGD, "square-root" for Adam and its kind, or "none".
        minibatch_size: samples per update; by default ExactStrategy's, or what devices, accumulation and the
            DataLoader's batch size come to.
    """

    def __init__(
        self,
        *,
        reference: int,
        warmup_epochs: float = 5.0,
        scaling: str = "linear",
        minibatch_size: int | None = None,
    ) -> None:
        self.reference, self.warmup_epochs, self.scaling = reference, warmup_epochs, scaling
        self.minibatch_size = minibatch_size

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ANN401, ARG002 - Lightning's own
        """Go before the callbacks that log the rate."""
        trainer.callbacks.sort(key=lambda callback: callback is not self)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002 - Lightning's own
        """Work out the factor."""
        self.factor = factor_of(
            reference=self.reference,
            minibatch_size=self.minibatch_size or _minibatch_size(trainer),
            iterations_per_epoch=max(1, int(trainer.num_training_batches) // trainer.accumulate_grad_batches),
            warmup_epochs=self.warmup_epochs,
            scaling=self.scaling,
        )
        self.updates = [ScaledUpdate(optimizer) for optimizer in trainer.optimizers]

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Scale the rates for this update."""
        for update in self.updates:
            update.scale(self.factor(trainer.global_step))

    def on_train_batch_end(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Put the rates back where the optimizer was not stepped."""
        for update in self.updates:
            update.restore()


class GradientNoise(pl.Callback):
    """Log the gradient noise scale: the minibatch size, in samples, up to which larger ones pay (arXiv 1812.06162).

    Args:
        name: under which it is logged.
        reference: the minibatch size whose updates the running average counts; by default the worker's.

    Raises:
        InputError: the strategy is not ExactStrategy, which alone sees each worker's gradient; or there is one worker.
    """

    def __init__(self, *, name: str = "gradient_noise_scale", reference: int | None = None) -> None:
        self.name, self.reference, self.noise = name, reference, RunningNoise()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002 - Lightning's own
        """Ask the strategy to measure."""
        strategy = trainer.strategy
        if not isinstance(strategy, ExactStrategy):
            msg = (
                f"GradientNoise needs the gradients of single workers: use ExactStrategy, not {type(strategy).__name__}"
            )
            raise InputError(msg)
        if strategy.minibatch_size == strategy.worker_minibatch_size:
            msg = "GradientNoise compares workers, and the minibatch has one; take a smaller worker_minibatch_size"
            raise InputError(msg)
        strategy.measures_noise = True
        self.scale = strategy.minibatch_size / (self.reference or strategy.worker_minibatch_size)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Log the running average, which is the same on every process."""
        result = trainer.strategy.result
        if result and (noise := result.noise):
            self.noise.add(noise, scale=self.scale)
        if (average := self.noise.average) and average.scale is not None:
            pl_module.log(self.name, average.scale, on_step=True, on_epoch=False)

    def state_dict(self) -> dict[str, float]:
        """Return the running average, for a checkpoint."""
        return asdict(self.noise)

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on with that of a checkpoint."""
        self.noise = RunningNoise(**state_dict)


def _check(trainer: Any, strategy: ExactStrategy) -> None:  # noqa: ANN401 - Lightning's Trainer
    """Refuse what cannot be exact, in one line."""
    module, precision = trainer.lightning_module, strategy.precision_plugin.precision
    refusals = {
        f"precision '{precision}'; say '32-true' or 'bf16-mixed'": precision not in PRECISIONS,
        "manual optimization; call bigbatch.Step in training_step yourself": not module.automatic_optimization,
        ACCUMULATES: trainer.accumulate_grad_batches != 1 or any(map(_will_accumulate, trainer.callbacks)),
        "sync_batchnorm; statistics are over the samples of one worker": bool(strategy._layer_sync),  # noqa: SLF001
    }
    refusals |= {
        f"the hook {hook} of the module": pl.utilities.model_helpers.is_overridden(hook, module) for hook in OWN_STEP
    }
    refuse("ExactStrategy", refusals)


def _will_accumulate(callback: Any) -> bool:  # noqa: ANN401 - Lightning's
    is_scheduler = isinstance(callback, pl.callbacks.GradientAccumulationScheduler)
    return is_scheduler and callback.going_to_accumulate_grad_batches()


def _minibatch_size(trainer: Any) -> int:  # noqa: ANN401 - Lightning's Trainer
    if isinstance(trainer.strategy, ExactStrategy):
        return trainer.strategy.minibatch_size
    size = getattr(trainer.train_dataloader, "batch_size", None)
    if not isinstance(size, int):
        msg = "ScaledRate cannot see the DataLoader's batch size; give it minibatch_size"
        raise InputError(msg)
    return size * int(trainer.world_size) * int(trainer.accumulate_grad_batches)
