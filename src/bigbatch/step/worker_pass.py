"""A worker's pass: from its samples to the total that backpropagation starts from. The step and its checks share it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, first_line
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.step.objective import Loss

PRECISIONS: Final = ("float32", "tf32", "bfloat16")  # of a forward pass; a recipe has the same
# Where torch's allocators begin: 64 bytes on a CPU, 512 on a GPU, of which kernels ask for at most 256.
ALIGNMENT_BYTES: Final = {"cpu": 64, "cuda": 256}
HALF: Final = frozenset({torch.float16, torch.bfloat16})
NORMALISATIONS: Final = (
    "bigbatch.Loss(total, weight): by count the sum over tokens or pixels and their number, by worker its mean and 1"
)


class WorkerPass(nn.Module):
    """The model and the objective as one module, which maps a batch to (total, weight).

    DDP wraps all of it, so the objective has the user's own model in its hands, and may call any method of it.

    Args:
        model: what is trained.
        objective: maps (model, batch) to a `Loss`, or to one loss a sample.
        precision: "float32", "tf32", or "bfloat16" for autocast.
        worker_minibatch_size: samples of one worker (n).
        minibatch_size: samples per update (kn).
        is_compiled: run the model through `torch.compile`.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[nn.Module, Any], Tensor | Loss],
        *,
        precision: str,
        worker_minibatch_size: int,
        minibatch_size: int,
        is_compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.precision = model, (objective,), precision  # a tuple hides a loss's own parts
        self.compiled = (Compiled(model),) if is_compiled else ()  # and the names of a compiled model
        self.worker_minibatch_size, self.minibatch_size = worker_minibatch_size, minibatch_size
        self.device = next(model.parameters()).device

    def forward(self, batch: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401 - any batch
        """Return the total, and its weight where that is counted.

        Losses by samples have no weight: each is divided by kn here, before backpropagation.

        Raises:
            InputError: the loss is neither one loss a sample nor a `Loss`; the line offers the three normalisations.
        """
        with forward_precision(self.device, self.precision):
            loss = self.compiled[0](self.objective[0], batch) if self.compiled else self.objective[0](self.model, batch)
        if isinstance(loss, Loss):
            return in_full_precision(self._scalar("total", loss.total)), self._scalar("weight", loss.weight).detach()
        self._check_samples(loss)
        return in_full_precision(loss).sum() / self.minibatch_size, None

    def _scalar(self, name: str, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor) and value.numel() == 1:
            return value.reshape(()) if value.is_floating_point() else value.reshape(()).float()
        if isinstance(value, int | float):
            return torch.tensor(float(value), device=self.device)
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        msg = f"Loss.{name} must be one number for the worker's whole batch, not {shape}; sum it"
        raise InputError(msg)

    def _check_samples(self, losses: object) -> None:
        n = self.worker_minibatch_size
        if isinstance(losses, Tensor) and losses.ndim and losses.numel() == len(losses) == n:
            return
        if not isinstance(losses, Tensor):
            msg = f"the loss is a {type(losses).__name__}; return one loss a sample, shape ({n},), or {NORMALISATIONS}"
            raise InputError(msg)
        shape = f"the loss has shape {tuple(losses.shape)}"
        if losses.ndim == 1 and len(losses) > 1:
            shape = f"a batch has {len(losses)} samples, but worker_minibatch_size is {n}: {shape}"
        msg = f'{shape}; return one loss a sample, shape ({n},) (reduction="none"), or {NORMALISATIONS}'
        raise InputError(msg)


class Compiled:
    """A model through `torch.compile`: one piece of code for each shape of a batch, whatever was compiled before it.

    Torch would take a second shape for a sign of many, and compile code for all; after some more it would no longer
    compile at all. A worker's bits would then depend on the batches that this process has had before.

    Args:
        model: what is trained. It keeps its names.
    """

    def __init__(self, model: nn.Module) -> None:
        # The layout of convolutions stays the model's: in another one oneDNN may write beyond a buffer.
        options: dict[str, Any] = {"layout_optimization": False}
        self.model = cast("nn.Module", torch.compile(model, dynamic=False, options=options))

    def __call__(self, objective: Callable[[nn.Module, Any], Tensor | Loss], batch: Any) -> Tensor | Loss:  # noqa: ANN401 - any batch
        """Return the objective of the compiled model and a batch.

        Raises:
            InputError: torch cannot compile it here, or has compiled it for too many shapes.
        """
        from torch._dynamo import config, exc

        try:
            with config.patch(fail_on_recompile_limit_hit=True):
                return objective(self.model, batch)
        except exc.FailOnRecompileLimitHit as error:
            msg = "the batches have too many shapes to compile the model for each; leave model.compile out"
            raise InputError(msg) from error
        except exc.TorchDynamoException as error:
            msg = f"torch cannot compile the model here ({first_line(error)}); leave model.compile out"
            raise InputError(msg) from error


def seed_worker(seed: int, iteration: int, worker: int, device: torch.device) -> None:
    """Seed every generator that a worker's pass may draw from. The seed does not depend on the process."""
    seed_generators(random_key("worker", seed, iteration, worker), device)


def forward_precision(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context of a forward pass: autocast for "bfloat16", nothing for the others.

    It begins without casts of old weights. torch keeps them where an outer autocast is left, also of another device or
    one that is off; then one within the model would find them.

    Raises:
        InputError: the user's own autocast is on already.
    """
    if torch.is_autocast_enabled(device.type):
        msg = (
            "torch.autocast is on around the loop: its cache keeps the casts of old weights; leave it away and say "
            'precision="bfloat16"'
        )
        raise InputError(msg)
    torch.clear_autocast_cache()
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def in_full_precision(losses: Tensor) -> Tensor:
    """Return losses as they are summed: those of 16 bits as float32."""
    return losses.float() if losses.dtype in HALF else losses


def aligned(batch: Any) -> Any:  # noqa: ANN401 - any batch
    """Return a batch whose tensors begin where torch's allocator lets one begin; those that do not are copied.

    A part of a larger tensor, as `split` gives, begins at an address that may depend on the number of processes. cuDNN
    chooses its kernel by the alignment of its input, and so does MKL for a matrix product. A copy has the same strides.
    A tensor that takes a gradient stays, as do batches of other types than tensors, lists, tuples and dictionaries.
    """
    if type(batch) is Tensor:
        return _aligned(batch)
    if type(batch) is dict:
        return {key: aligned(part) for key, part in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [aligned(part) for part in batch]
        if all(new is old for new, old in zip(parts, batch, strict=True)):
            return batch
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _aligned(tensor: Tensor) -> Tensor:
    bytes_ = ALIGNMENT_BYTES.get(tensor.device.type)
    if bytes_ is None or tensor.layout != torch.strided or tensor.requires_grad or tensor.data_ptr() % bytes_ == 0:
        return tensor
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((extent,), (1,)).clone().as_strided(tensor.shape, tensor.stride())
