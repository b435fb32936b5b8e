"""transformers: its Trainer, with a model, collator, schedule and callbacks of one's own, and exact steps.

    trainer = ExactTrainer(model, arguments, train_dataset=..., data_collator=..., minibatch_size=256)

Whatever Trainer takes besides, it takes too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bigbatch.errors import InputError, first_line
from bigbatch.integrations.loaders import Part, PartLoader, minibatches_of
from bigbatch.integrations.rates import ScaledUpdate, factor_of
from bigbatch.integrations.refusals import refuse
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.rules.learning_rate import LearningRate
from bigbatch.step.objective import Loss, Objective
from bigbatch.step.step import Step

try:
    from transformers import PreTrainedModel, Trainer
except (ImportError, RuntimeError) as error:  # torchvision of another torch raises a RuntimeError
    _reason = first_line(error)
    _msg = f"transformers cannot be imported ({_reason}): pip install 'bigbatch[transformers]'"
    raise InputError(_msg) from error

KINDS: Final = ("NO", "MULTI_CPU", "MULTI_GPU")
REFUSED: Final = {
    "fp16": "fp16; say bf16, or neither",
    "fsdp": "fsdp; the model must be whole in each process",
    "deepspeed": "deepspeed; the model must be whole in each process",
    "torch_compile": "torch_compile",
    "auto_find_batch_size": "auto_find_batch_size; find a worker's size by hand, its samples are summed apart",
    "include_num_input_tokens_seen": "include_num_input_tokens_seen",
}
COUNTS: Final[dict[str, Callable[[Mapping[str, Any]], Any]]] = {  # the labels of a batch that a loss may count
    "shifted outside": lambda inputs: _number(inputs.get("shift_labels")),
    "all": lambda inputs: _number(inputs.get("labels")),
    "all but the first": lambda inputs: _number(inputs.get("labels"), first=1),
}
CLOSE: Final = 1e-3  # relative; two ways to compute one loss differ by rounding


class ExactTrainer(Trainer):
    """A Trainer whose updates are the same bits for any number of processes.

    A batch of the trainer is a minibatch; `compute_loss` runs once for each worker, so a subclass may override it. If
    the loss follows `num_items_in_batch`, as of language models, the sum over all tokens is divided by their number;
    otherwise the mean over the workers is minimised. Logging, checkpoints and callbacks work as ever, and a checkpoint
    goes on with another number of processes. Each process evaluates all data, so the metrics are the same too.

    Args:
        arguments: as Trainer's, by position or name.
        minibatch_size: samples per update, over all processes (kn).
        worker_minibatch_size: samples of one worker (n); by default `per_device_train_batch_size`.
        reference: the minibatch size that `learning_rate` is trusted at; None leaves the rate as it is.
        warmup_epochs: epochs of gradual warmup from the trusted rate to the scaled one, besides the schedule's own.
        scaling: "linear" for SGD, "square-root" for Adam and its kind, or "none".
        threads: of each process on the CPU; the bits depend on them.
        buffers: as for `bigbatch.Step`.
        options: as Trainer's.

    Raises:
        InputError: what cannot be exact, when the trainer is made or the training begins: fp16, FSDP, DeepSpeed,
            accumulation, several GPUs in one process, streams, samplers that depend on the processes.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - Trainer's
        minibatch_size: int,
        worker_minibatch_size: int | None = None,
        reference: int | None = None,
        warmup_epochs: float = 0.0,
        scaling: str = "linear",
        threads: int = 1,
        buffers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - Trainer's
    ) -> None:
        super().__init__(*arguments, **options)
        self.args: Any = copy.copy(self.args)
        self.args.average_tokens_across_devices = False  # it multiplies the loss by the number of processes
        self.minibatch_size = minibatch_size
        self.worker_minibatch_size = worker_minibatch_size or self.args.per_device_train_batch_size
        self.reference, self.warmup_epochs, self.scaling = reference, warmup_epochs, scaling
        self.threads, self.buffers = threads, buffers
        self.step: Step | None = None
        self.counted: str | None = None
        self.factor: LearningRate | None = None
        self.flops = 0
        self.optimizer: Any
        _check(self)

    def create_accelerator_and_postprocess(self) -> None:
        """Keep the model as it is: Step does the exchange, and the precision."""
        super().create_accelerator_and_postprocess()
        self.accelerator.prepare_model = lambda model, **_: model.to(self.accelerator.device)
        # Each process evaluates all data: no sample comes twice, and none is in a batch that depends on the processes.
        self.accelerator.prepare_data_loader = lambda loader, **_: loader
        self.gather_function = lambda tensors, **_: tensors

    def train(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - Trainer's
        """Train, with what the bits depend on set for the time."""
        with reproducible_numerics(self.threads):
            result = super().train(*arguments, **options)
        if self.step:
            self.step.close()
        self.step = None
        return result

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401 - Trainer's
        """Load all weights of a checkpoint; see `load_what_is_missing`."""
        self.loading = resume_from_checkpoint
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """Load all weights of the best checkpoint."""
        self.loading = self.state.best_model_checkpoint
        super()._load_best_model()

    def _issue_warnings_after_load(self, load_result: Any) -> None:  # noqa: ANN401 - torch's
        """Load what Trainer leaves out with a warning."""
        if load_result.missing_keys:
            load_what_is_missing(self.model, self.loading, load_result.missing_keys)
            load_result.missing_keys.clear()
            load_result.unexpected_keys.clear()
        super()._issue_warnings_after_load(load_result)

    def get_train_dataloader(self) -> Any:  # noqa: ANN401 - Trainer's
        """Return a loader of the minibatches' numbers: each item is this process's part of the next minibatch."""
        loader = super().get_train_dataloader()
        loader.collate_fn = _Plain(loader.collate_fn)
        minibatches = minibatches_of(
            loader,
            minibatch_size=self.minibatch_size,
            worker_minibatch_size=self.worker_minibatch_size,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            device=self.args.device,
        )
        self.parts = PartLoader(minibatches, lambda: divmod(self.state.global_step, len(minibatches)))
        return DataLoader(range(len(minibatches)), 1, collate_fn=lambda _: self.parts.at(*self.parts.position()))  # type: ignore[arg-type]

    def get_batch_samples(self, epoch_iterator: Iterator[Part], num_batches: int, device: Any) -> Any:  # noqa: ANN401, ARG002 - Trainer's
        """Return the next minibatch, alone; its tokens are counted worker by worker."""
        return [part for part in (next(epoch_iterator, None),) if part is not None], None

    def training_step(self, model: Any, inputs: Part, num_items_in_batch: Any = None) -> Tensor:  # noqa: ANN401, ARG002
        """Set the gradients of the minibatch, and the rate of its update; return its loss."""
        model.train()
        if callable(train := getattr(self.optimizer, "train", None)):
            train()
        step = self._current_step(model)
        result = step.backward(inputs.batches, iteration=self.state.global_step)
        if self.factor:
            self.update.scale(self.factor(self.state.global_step))
        return result.loss.detach().to(self.args.device)

    def get_total_train_batch_size(self, args: Any) -> int:  # noqa: ANN401, ARG002 - Trainer's
        """Return the samples of an update."""
        return self.minibatch_size

    def num_examples(self, dataloader: Any) -> int:  # noqa: ANN401 - Trainer's
        """Return the samples of an epoch."""
        is_training = isinstance(dataloader.dataset, range)
        return len(self.train_dataset) if is_training else super().num_examples(dataloader)

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ANN401 - Trainer's
        """Return the operations of this process's workers."""
        flops, self.flops = self.flops, 0
        return flops if isinstance(inputs, Part) else int(super().floating_point_ops(inputs))

    def _get_learning_rate(self) -> float:
        """Return the rate that is logged: of the update that was taken."""
        rate: float = super()._get_learning_rate()
        return rate * self.factor(self.state.global_step) if self.factor else rate

    def _current_step(self, model: Any) -> Step:  # noqa: ANN401 - the user's
        if self.step is None:
            optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
            self.update = ScaledUpdate(optimizer)
            if self.reference is not None:
                self.factor = factor_of(
                    reference=self.reference,
                    minibatch_size=self.minibatch_size,
                    iterations_per_epoch=len(self.parts),
                    warmup_epochs=self.warmup_epochs,
                    scaling=self.scaling,
                )
            self.step = Step(
                model,
                Objective(self._worker),
                optimizer,
                self.parts.minibatches,
                precision="bfloat16" if self.args.bf16 else "float32",
                buffers=self.buffers,
            )
        return self.step

    def _worker(self, model: Any, batch: Mapping[str, Any]) -> Loss:  # noqa: ANN401 - the user's
        """Return the loss of one worker's batch, and what it counts."""
        inputs = self._prepare_inputs(dict(batch))
        if self.counted is None:
            self.counted = self._counted(model, inputs)
        if self.step and self.step.aggregation:  # no trial
            self.flops += int(super().floating_point_ops(inputs))
        if not self.counted:
            return Loss(self.compute_loss(model, inputs), 1)
        count = COUNTS[self.counted](inputs)
        return Loss(self.compute_loss(model, inputs, num_items_in_batch=torch.ones_like(count)), count)

    @torch.no_grad()
    def _counted(self, model: Any, inputs: Mapping[str, Any]) -> str:  # noqa: ANN401 - the user's
        """Return which labels the loss is a mean over, of `COUNTS`; "" if it does not follow a number of items.

        Models may take `num_items_in_batch` and leave it unused, and Trainer's own count includes, for some models, a
        first token that the loss leaves out. So the loss itself is asked.

        Raises:
            InputError: its sum is its mean times none of these counts.
        """
        counts = {name: count(inputs) for name, count in COUNTS.items() if count(inputs) is not None}
        if not counts:
            return ""
        losses = []
        for divisor in (torch.ones_like(next(iter(counts.values()))), None):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                losses.append(float(self.compute_loss(model, dict(inputs), num_items_in_batch=divisor)))
        total, mean = losses
        if abs(total - mean) <= CLOSE * abs(mean):
            return ""
        for name, count in counts.items():
            if abs(total - mean * int(count)) <= CLOSE * abs(total):
                return name
        known = ", ".join(str(int(count)) for count in counts.values())
        msg = (
            f"the loss is {mean:g}, and {total:g} for num_items_in_batch=1: not {known} times as much, as its labels "
            "are; override compute_loss to divide a sum by num_items_in_batch, or to leave it unused"
        )
        raise InputError(msg)


def load_what_is_missing(model: Any, checkpoint: str, missing: list[str]) -> None:  # noqa: ANN401 - the user's
    """Load a checkpoint into a model some of whose weights were not found in it.

    Some models save their weights by other names than they have them, which `from_pretrained` knows, and Trainer does
    not: it would go on with the weights of the start (seen with transformers 5.24 and a ViT).

    Args:
        model: to load into.
        checkpoint: its folder.
        missing: names that were not found.

    Raises:
        InputError: the checkpoint has no such weights.
    """
    state = model.state_dict()
    found = {state[name].data_ptr() for name in state.keys() - set(missing)}
    lacking = [name for name in missing if state[name].data_ptr() not in found]  # what is tied to others is there
    reason = "has no"
    if lacking and isinstance(model, PreTrainedModel):
        try:
            saved, info = type(model).from_pretrained(checkpoint, config=model.config, output_loading_info=True)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = f"cannot be read by from_pretrained ({first_line(error)}), and has no"
        else:
            lacking = sorted(info["missing_keys"])
            model.load_state_dict(saved.state_dict())
    if lacking:
        names = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")  # noqa: PLR2004
        msg = f"the checkpoint {checkpoint} {reason} {names}; go on with the model that wrote it, or begin anew"
        raise InputError(msg)


class _Plain:
    """A collate function whose batches are plain dictionaries; a class, so that processes that read can have it."""

    def __init__(self, collate: Any) -> None:  # noqa: ANN401 - the user's
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:  # noqa: ANN401 - the user's
        batch = self.collate(samples)
        return dict(batch) if isinstance(batch, Mapping) else batch


def _number(labels: Any, *, first: int = 0) -> Any:  # noqa: ANN401 - whatever a collator makes of them
    """Return how many labels count; None if they are no whole numbers."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.ndim <= first:
        return None
    return labels[..., first:].ne(-100).sum()


def _check(trainer: ExactTrainer) -> None:
    args = trainer.args
    refusals = {text: bool(getattr(args, name, None)) and getattr(args, name) != "no" for name, text in REFUSED.items()}
    kind = trainer.accelerator.distributed_type.name
    refusals |= {
        "gradient_accumulation_steps; a larger minibatch_size accumulates": args.gradient_accumulation_steps != 1,
        f"distributed type {kind}; the model must be whole in each process": kind not in KINDS,
        f"{args.n_gpu} GPUs in one process; start one process for each with torchrun": args.n_gpu > 1,
    }
    refuse("ExactTrainer", refusals)
