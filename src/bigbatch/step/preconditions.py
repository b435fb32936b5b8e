"""What a step refuses, because it could not be exact or right with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, nearest
from bigbatch.processes.group import Processes, check_agreement, dense_parts
from bigbatch.step.running_state import ROLES
from bigbatch.step.worker_pass import PRECISIONS

WRAPPERS: Final = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")
DEVICES: Final = ("cpu", "cuda")
TRAINED: Final = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})
LAZY: Final = "is not initialised yet: run the model on one batch, before Step and the optimizer are made"
NO_EXTRA_STATE: Final = nn.Module.get_extra_state
SMALLEST: Final = 5e-324  # a denormal number


def _or_mixed(read: Callable[[], object]) -> object:
    try:
        return read()
    except RuntimeError:  # torch's older and newer way to set TF32 were mixed
        return "mixed"


# torch's public properties take ten times as long as what they read.
_READERS: Final = {
    "torch.backends.mkldnn.enabled": "_get_mkldnn_enabled",
    "torch.backends.cudnn.enabled": "_get_cudnn_enabled",
    "torch.backends.cudnn.benchmark": "_get_cudnn_benchmark",
    "torch.backends.cudnn.deterministic": "_get_cudnn_deterministic",
    "torch.backends.cuda.enable_flash_sdp": "_get_flash_sdp_enabled",
    "torch.backends.cuda.enable_mem_efficient_sdp": "_get_mem_efficient_sdp_enabled",
    "torch.backends.cudnn.allow_tf32": "_get_cudnn_allow_tf32",
}
_BY_BACKEND: Final[Any] = getattr(torch._C, "_get_fp32_precision_getter", None)  # noqa: SLF001 - torch 2.9 has it
# How each setting is read, by the name of what sets it.
SETTINGS: Final[dict[str, Callable[[], object]]] = {
    "torch.set_num_threads": torch.get_num_threads,
    "torch.set_default_dtype": torch.get_default_dtype,
    "torch.set_float32_matmul_precision": partial(_or_mixed, torch.get_float32_matmul_precision),
    "torch.use_deterministic_algorithms": torch.get_deterministic_debug_mode,
    "torch.set_flush_denormal": lambda: SMALLEST * 1.0 == 0.0,
    **{name: partial(_or_mixed, getattr(torch._C, reader)) for name, reader in _READERS.items()},  # noqa: SLF001
    **{
        f"torch.backends.{name}.fp32_precision": partial(_BY_BACKEND, *name.split("."))
        for name in (("mkldnn.matmul", "mkldnn.conv", "cuda.matmul", "cuda.conv") if _BY_BACKEND else ())
    },
}


@dataclass(frozen=True)
class Numerics:
    """What the bits of a step depend on besides its minibatch: settings of torch, as they were at one time.

    Attributes:
        values: of `SETTINGS`, in their order.
    """

    values: tuple[object, ...]

    @classmethod
    def current(cls) -> Self:
        """Return the settings of now."""
        return cls(tuple(read() for read in SETTINGS.values()))

    def describe(self) -> dict[str, str]:
        """Return each setting by the name of what changes it."""
        return {f"its {name}": str(value) for name, value in zip(SETTINGS, self.values, strict=True)}

    def check(self) -> None:
        """Refuse to go on with other settings, or without gradients. It takes a few microseconds.

        Raises:
            InputError: names what has changed.
        """
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            name = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad or set_grad_enabled(False)"
            msg = f"gradients are off: torch.{name} is around Step; leave it away, evaluation needs none of your own"
            raise InputError(msg)
        now = Numerics.current().values
        if now == self.values:
            return
        name, before, after = next(
            (name, a, b) for name, a, b in zip(SETTINGS, self.values, now, strict=True) if a != b
        )
        msg = f"{name} was {before} when Step was made and is {after} now: other bits; set it before Step is made"
        raise InputError(msg)


class Parameters:
    """The parameters of a model, which a worker's pass must not write to.

    Args:
        model: that trains.

    Attributes:
        trained: those that train.

    Raises:
        InputError: none trains.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._read()
        self.trained = self._trained()
        if not self.trained:
            msg = "the model has no parameter to train: requires_grad is off for all"
            raise InputError(msg)

    def check(self) -> None:
        """Refuse to go on if others train than before; a look takes some microseconds.

        Raises:
            InputError: says what to do.
        """
        if self._registered() != self.registered:
            self._read()
        if [*map(id, self._trained())] != [*map(id, self.trained)]:
            msg = "parameters were frozen, unfrozen or replaced after Step was made; make a new Step"
            raise InputError(msg)

    def writes(self) -> list[int]:
        """Return torch's count of writes to each parameter."""
        return [parameter._version for parameter in self.every]  # noqa: SLF001 - torch's documented way to see writes

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.every if parameter.requires_grad]

    def _read(self) -> None:
        self.every, self.modules = list(self.model.parameters()), list(self.model.modules())
        self.registered = self._registered()

    def _registered(self) -> list[int]:
        """Return what tells quickly whether a module has got other parameters or children."""
        return [id(part) for m in self.modules for part in (*m._parameters.values(), *m._modules.values())]  # noqa: SLF001 - as modules() does


def check_model(model: nn.Module) -> None:
    """Refuse a model that couples the workers, and parameters whose gradients cannot be summed.

    Raises:
        InputError: names it, and says what to do.
    """
    for name, module in model.named_modules():
        _check_module(name, module)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for name, parameter in model.named_parameters():
        if complaint := _complaint(parameter) or _device_complaint(parameter, trained):
            msg = f"the model's parameter '{name}' {complaint}"
            raise InputError(msg)
    for name, buffer in model.named_buffers():
        if complaint := _kind_complaint(buffer):
            msg = f"the model's buffer '{name}' {complaint}"
            raise InputError(msg)


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer of sparse gradients, and one with parameters that are not the model's.

    Raises:
        InputError: says what to do.
    """
    if isinstance(optimizer, torch.optim.SparseAdam):
        msg = "SparseAdam takes sparse gradients, and Step sums dense ones; use Adam, and sparse=False in the model"
        raise InputError(msg)
    known = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) not in known for group in optimizer.param_groups for parameter in group["params"]):
        msg = (
            "the optimizer has parameters that are not the model's; a loss with parameters must be a part of the model"
        )
        raise InputError(msg)


def _check_module(name: str, module: nn.Module) -> None:
    """Refuse a module that exchanges something with other processes, or keeps what is no tensor."""
    kind, what = type(module).__name__, f"the model's '{name}'" if name else "the model"
    if kind in WRAPPERS:
        msg = f"{what} is wrapped in {kind}; pass the module inside: Step does the exchange itself"
        raise InputError(msg)
    if isinstance(module, nn.SyncBatchNorm):
        msg = (
            f"{what} is SyncBatchNorm, which normalises over processes; use BatchNorm: "
            "its statistics are over the samples of one worker (arXiv 1706.02677, section 2.3)"
        )
        raise InputError(msg)
    if not isinstance(module, torch.jit.ScriptModule) and type(module).get_extra_state is not NO_EXTRA_STATE:
        msg = f"{what} keeps extra state that is no tensor; keep it in buffers"
        raise InputError(msg)
    if getattr(module, "sparse", False) is True and isinstance(module, nn.Embedding | nn.EmbeddingBag):
        msg = f"{what} has sparse gradients, and Step sums dense ones; make it with sparse=False"
        raise InputError(msg)


def _kind_complaint(tensor: Tensor) -> str | None:
    """Return what is wrong with the kind of a parameter or buffer."""
    if nn.parameter.is_lazy(tensor):
        return LAZY
    if type(tensor.data) is not Tensor:
        return f"is a {type(tensor.data).__name__}, not a plain tensor; pass the module before it is divided or wrapped"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype}); train the model before it is converted"
    if tensor.is_inference():
        return "was made under torch.inference_mode; make the model outside of it"
    return None


def _complaint(parameter: nn.Parameter) -> str | None:
    """Return what is wrong with a parameter."""
    if complaint := _kind_complaint(parameter):
        return complaint
    if parameter.is_meta:
        return "is on the meta device, without values; use model.to_empty(device=...) and initialise it"
    return _gradient_complaint(parameter) if parameter.requires_grad else None


def _gradient_complaint(parameter: nn.Parameter) -> str | None:
    """Return why the gradients of a parameter that trains could not be summed."""
    if parameter.layout != torch.strided:
        return f"is sparse ({parameter.layout}); keep a dense one"
    if parameter.is_complex():
        return f"is {parameter.dtype}; keep its real and imaginary part, and torch.view_as_complex(it) in forward"
    if parameter.dtype not in TRAINED:
        return f"is {parameter.dtype}, in which gradients cannot be summed; use bfloat16 or wider"
    if any(stride == 0 and size > 1 for stride, size in zip(parameter.stride(), parameter.shape, strict=True)):
        return "is expanded: several elements are one; expand it in forward"
    return None


def _device_complaint(parameter: nn.Parameter, trained: list[nn.Parameter]) -> str | None:
    if not trained or parameter.device == trained[0].device:
        return None
    return f"is on {parameter.device}, and others on {trained[0].device}; a process trains on one device"


def check_choices(device: torch.device, precision: str, buffers: Mapping[str, str]) -> None:
    """Refuse words that Step does not know, and a precision that this device does not have.

    Raises:
        InputError: lists those that it knows.
    """
    choices: list[tuple[str, tuple[str, ...], str]]
    choices = [("device", DEVICES, device.type), ("precision", PRECISIONS, precision)]
    choices += [(f"what becomes of the buffer '{pattern}',", ROLES, role) for pattern, role in buffers.items()]
    for name, known, value in choices:
        if value not in known:
            msg = f"{name} '{value}' is unknown; {nearest(str(value), list(known))}"
            raise InputError(msg)
    if precision == "tf32" and device.type != "cuda":
        msg = f'precision "tf32" is a GPU\'s, and the model is on {device}; say "float32"'
        raise InputError(msg)
    if precision == "tf32" and not torch.backends.cudnn.allow_tf32:
        msg = 'precision "tf32" is off here: make Step within bigbatch.joined(tf32=True)'
        raise InputError(msg)


def check_same(given: Mapping[str, str], model: nn.Module, processes: Processes) -> None:
    """Refuse to go on unless all processes were given the same, and a model of the same parameters and buffers.

    Raises:
        InputError: names the first rank that differs, and what differs.
    """
    tensors = [
        f"{name}: {tensor.dtype}, {list(tensor.shape)}{_values(tensor)}{'' if tensor.requires_grad else ', frozen'}"
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    ]
    facts = {name: [value] for name, value in given.items()} | {"its parameters": tensors}
    check_agreement(facts, processes, next(model.parameters()).device)


def _values(tensor: Tensor) -> str:
    return "" if tensor.layout == torch.strided else f", {dense_parts(tensor.detach())[-1].shape[0]} values"
