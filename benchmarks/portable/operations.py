"""The operations whose bits are compared, each as a function of its numbers that returns tensors.

As a program (`--portable` or `--native`), it prints as JSON a digest of what each gives here, forward and backward.
"""

import hashlib
import json
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

if "--portable" in sys.argv:
    import bigbatch

    bigbatch.portable()

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Compute = Callable[..., Any]
FEW: Final = 7  # numbers of a vector, and a rest
MANY: Final = 4_206_631 if "--portable" in sys.argv else 65_537  # of every magnitude, in float32
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
DIGITS: Final = 12
ONE: Final = ("float32",)
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Operation:
    """An operation and what it is given.

    Attributes:
        compute: takes the tensors.
        shapes: of the tensors; each gets a gradient.
        low, high: between which their values lie.
        formats: of images in memory.
        dtypes: in which it is computed.
        is_spread: whether it has no shapes, but many numbers of every magnitude, and only goes forward.
        kills: whether it can kill its process, where QEMU emulates the gathering of numbers from memory wrongly.
    """

    compute: Compute
    shapes: tuple[tuple[int, ...], ...]
    low: float = -2.0
    high: float = 2.0
    formats: tuple[torch.memory_format, ...] = (torch.contiguous_format,)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    is_spread: bool = False
    kills: bool = False


def numbers(key: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Return numbers that are drawn with whole numbers and one product, which has the same bits everywhere."""
    drawn = np.random.default_rng(zlib.crc32(key.encode())).integers(0, 1 << 24, size=shape)
    return torch.from_numpy(np.asarray(low + (high - low) * drawn / (1 << 24), dtype=np.float32))


def every_magnitude(dtype: str) -> Tensor:
    """Return numbers of every magnitude, evenly spread over their bits: all of bfloat16's, many of the others'."""
    if dtype == "bfloat16":
        return torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    wide, kind, floats = (32, np.uint32, np.float32) if dtype == "float32" else (64, np.uint64, np.float64)
    count = MANY if dtype == "float32" else MANY // 16
    places = np.arange(count, dtype=np.uint64) * np.uint64((1 << wide) // count)
    return torch.from_numpy(places.astype(kind).view(floats))


def digest(tensors: list[Tensor]) -> str:
    """Return a digest of the bits, and how large the numbers are: what differs by more than rounding is no rounding."""
    sha, size = hashlib.sha256(), 0.0
    for tensor in tensors:
        plain = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        values = plain.numpy()
        if plain.is_floating_point():
            values = np.where(np.isnan(values), np.float32(np.nan), values)  # one NaN is as good as another
        sha.update(values.tobytes())
        size += float(np.abs(values[np.isfinite(values)].astype(np.float64)).sum())
    return f"{sha.hexdigest()[:DIGITS]} {size:.6g}"


def tensors_of(value: Any) -> list[Tensor]:  # noqa: ANN401 - what an operation returns
    """Return the tensors of a result in their order."""
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in tensors_of(part)]


def measure(name: str, operation: Operation, dtype: str) -> dict[str, str]:
    """Return the digests of an operation's results and of its gradients, for each format of images."""
    found: dict[str, str] = {}
    for memory_format in operation.formats:
        torch.manual_seed(1)
        given = []
        for place, shape in enumerate(operation.shapes):
            tensor = numbers(f"{name}{place}", shape, operation.low, operation.high).to(DTYPES[dtype])
            is_image = len(shape) == len("NCHW")
            given.append((tensor.contiguous(memory_format=memory_format) if is_image else tensor).requires_grad_())
        suffix = " channels_last" if memory_format == torch.channels_last else ""
        try:
            results = tensors_of(operation.compute(*([every_magnitude(dtype)] if operation.is_spread else given)))
        except (RuntimeError, NotImplementedError, TypeError) as error:
            return {REFUSED: str(error).splitlines()[0]}
        found[f"forward{suffix}"] = digest(results)
        if floats := [result for result in results if result.requires_grad]:
            outer = [
                numbers(f"{name} out {place}", tuple(result.shape), -1, 1).to(result.dtype)
                for place, result in enumerate(floats)
            ]
            gradients = torch.autograd.grad(floats, given, outer, allow_unused=True)
            found[f"backward{suffix}"] = digest([gradient for gradient in gradients if gradient is not None])
    return found


def measure_apart(name: str, operation: Operation, dtype: str) -> dict[str, str]:
    """Measure an operation in a process of its own, which may die of it."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(theirs, json.dumps(measure(name, operation, dtype)).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        text = file.read()
    os.waitpid(pid, 0)
    found: dict[str, str] = json.loads(text) if text else {REFUSED: "its process died"}
    return found


BOTH: Final = (torch.contiguous_format, torch.channels_last)


def convolutions() -> Iterator[tuple[str, Operation]]:
    """Yield convolutions of many shapes and strides."""
    shapes = {
        "1x1": ((4, 16, 9, 9), (24, 16, 1, 1), {}),
        "1x1 stride 2": ((4, 16, 9, 9), (24, 16, 1, 1), {"stride": 2}),
        "3x3": ((4, 16, 9, 9), (24, 16, 3, 3), {"padding": 1}),
        "3x3 stride 2": ((4, 16, 9, 9), (24, 16, 3, 3), {"padding": 1, "stride": 2}),
        "3x3 odd channels": ((3, 5, 7, 11), (9, 5, 3, 3), {"padding": 1}),
        "3x3 of an image": ((4, 3, 32, 32), (16, 3, 3, 3), {"padding": 1}),
        "7x7 stride 2 of an image": ((2, 3, 32, 32), (16, 3, 7, 7), {"padding": 3, "stride": 2}),
        "4x4 stride 4 (patches)": ((2, 3, 32, 32), (32, 3, 4, 4), {"stride": 4}),
        "5x5": ((4, 8, 12, 12), (8, 8, 5, 5), {"padding": 2}),
        "3x3 dilated": ((4, 8, 12, 12), (8, 8, 3, 3), {"padding": 2, "dilation": 2}),
        "3x3 in groups": ((4, 16, 9, 9), (16, 4, 3, 3), {"padding": 1, "groups": 4}),
        "3x3 depthwise": ((4, 16, 9, 9), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
        "3x3 wide": ((2, 64, 8, 8), (128, 64, 3, 3), {"padding": 1}),
        "1x1 wide": ((2, 256, 7, 7), (64, 256, 1, 1), {}),
    }
    for name, (image, weight, options) in shapes.items():
        yield (
            f"conv2d {name}",
            Operation(partial(functional.conv2d, **options), (image, weight, weight[:1]), formats=BOTH),
        )
    yield "conv1d 3", Operation(partial(functional.conv1d, padding=1), ((4, 8, 30), (12, 8, 3), (12,)))
    yield "conv3d 3x3x3", Operation(partial(functional.conv3d, padding=1), ((2, 4, 5, 6, 7), (8, 4, 3, 3, 3), (8,)))
    transposed = partial(functional.conv_transpose2d, stride=2)
    yield "conv_transpose2d 2x2 stride 2", Operation(transposed, ((2, 16, 7, 7), (16, 8, 2, 2), (8,)), formats=BOTH)


def products() -> Iterator[tuple[str, Operation]]:
    """Yield products of matrices."""
    for rows, wide, out in ((32, 64, 10), (1, 64, 10), (33, 65, 67), (128, 256, 512), (256, 128, 1000), (512, 384, 1)):
        yield f"linear {rows}x{wide} to {out}", Operation(functional.linear, ((rows, wide), (out, wide), (out,)))
    yield "linear of sequences", Operation(functional.linear, ((4, 32, 64), (192, 64), (192,)))
    yield "linear without bias", Operation(functional.linear, ((4, 32, 64), (192, 64)))
    yield "matmul", Operation(torch.matmul, ((65, 130), (130, 35)))
    yield "matmul transposed", Operation(lambda a, b: a.t() @ b.t(), ((130, 65), (35, 130)))
    yield "bmm", Operation(torch.bmm, ((8, 32, 16), (8, 16, 32)))
    yield "baddbmm", Operation(torch.baddbmm, ((8, 32, 32), (8, 32, 16), (8, 16, 32)))
    yield "matrix times vector", Operation(torch.mv, ((65, 130), (130,)))
    yield "dot", Operation(torch.dot, ((1003,), (1003,)))
    yield "outer", Operation(torch.outer, ((65,), (130,)))
    yield "einsum", Operation(partial(torch.einsum, "bhqd,bhkd->bhqk"), ((2, 3, 16, 8), (2, 3, 16, 8)))
    yield "bilinear", Operation(functional.bilinear, ((8, 5), (8, 6), (7, 5, 6)))


def normalisations() -> Iterator[tuple[str, Operation]]:
    """Yield normalisations and pools."""
    image = (8, 16, 9, 9)

    def batch_norm(x: Tensor, w: Tensor, b: Tensor, *, is_training: bool) -> tuple[Tensor, ...]:
        mean, variance = torch.full((16,), 0.25, dtype=x.dtype), torch.full((16,), 1.5, dtype=x.dtype)
        return functional.batch_norm(x, mean, variance, w, b, training=is_training), mean, variance

    for is_training in (True, False):
        name = "batch_norm" if is_training else "batch_norm of running statistics"
        yield name, Operation(partial(batch_norm, is_training=is_training), (image, (16,), (16,)), formats=BOTH)
    yield "batch_norm of vectors", Operation(partial(batch_norm, is_training=True), ((33, 16), (16,), (16,)))
    for wide in (16, 64, 771):
        yield (
            f"layer_norm {wide}",
            Operation(lambda x, w, b: functional.layer_norm(x, w.shape, w, b), ((6, 5, wide), (wide,), (wide,))),
        )
    yield "rms_norm", Operation(lambda x, w: functional.rms_norm(x, w.shape, w), ((6, 5, 64), (64,)))
    yield (
        "group_norm",
        Operation(lambda x, w, b: functional.group_norm(x, 4, w, b), (image, (16,), (16,)), formats=BOTH),
    )
    yield "instance_norm", Operation(functional.instance_norm, (image,), formats=BOTH)
    yield "local_response_norm", Operation(partial(functional.local_response_norm, size=3), (image,), formats=BOTH)
    yield "normalize", Operation(functional.normalize, ((33, 65),))
    yield (
        "max_pool2d",
        Operation(partial(functional.max_pool2d, kernel_size=3, stride=2, padding=1), (image,), formats=BOTH),
    )
    yield "avg_pool2d", Operation(partial(functional.avg_pool2d, kernel_size=2), (image,), formats=BOTH)
    yield (
        "adaptive_avg_pool2d 1",
        Operation(partial(functional.adaptive_avg_pool2d, output_size=1), (image,), formats=BOTH),
    )
    yield (
        "adaptive_avg_pool2d 4",
        Operation(partial(functional.adaptive_avg_pool2d, output_size=4), (image,), formats=BOTH),
    )
    for mode in ("nearest", "bilinear", "bicubic"):
        options: dict[str, Any] = {} if mode == "nearest" else {"align_corners": False}
        interpolate = partial(functional.interpolate, scale_factor=1.7, mode=mode, **options)
        yield f"interpolate {mode}", Operation(interpolate, (image,), formats=BOTH)
    smooth = partial(functional.interpolate, size=(5, 6), mode="bilinear", antialias=True)
    yield "interpolate bilinear antialias", Operation(smooth, (image,), formats=BOTH)
    yield (
        "grid_sample",
        Operation(
            partial(functional.grid_sample, align_corners=False), ((2, 4, 9, 9), (2, 5, 5, 2)), -0.9, 0.9, kills=True
        ),
    )
    yield "pixel_shuffle", Operation(partial(functional.pixel_shuffle, upscale_factor=2), (image,))
    yield "unfold", Operation(partial(functional.unfold, kernel_size=3), (image,))


def attention() -> Iterator[tuple[str, Operation]]:
    """Yield attention, embeddings and recurrent layers."""
    heads = ((2, 4, 33, 16),) * 3
    attend = functional.scaled_dot_product_attention
    yield "attention", Operation(attend, heads)
    yield "attention causal", Operation(partial(attend, is_causal=True), heads)
    mask = torch.arange(33).unsqueeze(0) % 5 != 3  # noqa: PLR2004
    yield "attention with a mask", Operation(partial(attend, attn_mask=mask.expand(33, 33)), heads)
    yield "attention with dropout", Operation(partial(attend, dropout_p=0.1), heads)
    yield "attention of long sequences", Operation(partial(attend, is_causal=True), ((1, 2, 600, 32),) * 3)
    places = torch.arange(40).reshape(4, 10) * 7 % 23
    yield "embedding", Operation(partial(functional.embedding, places), ((23, 17),))
    yield "embedding_bag", Operation(partial(functional.embedding_bag, places), ((23, 17),))

    def recurrent(kind: type[nn.RNNBase], x: Tensor, *weights: Tensor) -> Tensor:
        layer = kind(12, 8)
        return torch.func.functional_call(layer, dict(zip(dict(layer.named_parameters()), weights, strict=True)), (x,))[
            0
        ]

    for name, kind, gates in (("lstm", nn.LSTM, 4), ("gru", nn.GRU, 3), ("rnn", nn.RNN, 1)):
        wide = 8 * gates
        yield (
            name,
            Operation(
                partial(recurrent, kind), ((6, 3, 12), (wide, 12), (wide, 8), (wide,), (wide,)), -1, 1, kills=True
            ),
        )


def losses() -> Iterator[tuple[str, Operation]]:
    """Yield losses and what they are made of."""
    labels = torch.arange(33) * 5 % 10
    for wide in (10, 1000):
        yield f"softmax {wide}", Operation(partial(functional.softmax, dim=-1), ((33, wide),))
        yield f"log_softmax {wide}", Operation(partial(functional.log_softmax, dim=-1), ((33, wide),))
        yield (
            f"cross_entropy {wide}",
            Operation(partial(functional.cross_entropy, target=labels, reduction="none"), ((33, wide),)),
        )
    yield "softmax over channels", Operation(partial(functional.softmax, dim=1), ((4, 10, 7, 7),))
    yield (
        "cross_entropy of pixels",
        Operation(
            partial(functional.cross_entropy, target=torch.arange(196).reshape(4, 7, 7) % 10, reduction="none"),
            ((4, 10, 7, 7),),
        ),
    )
    smoothed = partial(functional.cross_entropy, target=labels, label_smoothing=0.1)
    yield "cross_entropy with smoothing", Operation(smoothed, ((33, 10),))
    yield "logsumexp", Operation(partial(torch.logsumexp, dim=-1), ((33, 65),))
    target = numbers("target", (33, 10), 0, 1)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        loss: Compute = getattr(functional, name)
        yield name, Operation(lambda x, loss=loss: loss(x, target.to(x.dtype)), ((33, 10),))
    yield (
        "kl_div",
        Operation(lambda x: functional.kl_div(functional.log_softmax(x, -1), target.to(x.dtype)), ((33, 10),)),
    )
    yield (
        "binary_cross_entropy",
        Operation(lambda x: functional.binary_cross_entropy(x, target.to(x.dtype)), ((33, 10),), 0.1, 0.9),
    )
    yield "cosine_similarity", Operation(functional.cosine_similarity, ((33, 65), (33, 65)))
    yield (
        "ctc_loss",
        Operation(
            lambda x: functional.ctc_loss(
                x.log_softmax(-1), torch.arange(8).reshape(2, 4) + 1, torch.tensor([20, 20]), torch.tensor([4, 4])
            ),
            ((20, 2, 11),),
            dtypes=ONE,
        ),
    )


NUMBER_BY_NUMBER: Final[Mapping[str, tuple[Compute, float, float]]] = {
    **{
        name: (getattr(functional, name), -3.0, 3.0)
        for name in ("relu", "silu", "softplus", "elu", "selu", "mish", "hardswish", "leaky_relu", "logsigmoid", "gelu")
    },
    "gelu tanh": (partial(functional.gelu, approximate="tanh"), -3.0, 3.0),
    **{
        name: (getattr(torch, name), -3.0, 3.0)
        for name in (
            "sigmoid",
            "tanh",
            "exp",
            "expm1",
            "exp2",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "atan",
            "erf",
            "erfc",
        )
    },
    **{
        name: (getattr(torch, name), 0.1, 3.0)
        for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "lgamma", "digamma")
    },
    **{name: (getattr(torch, name), -0.9, 0.9) for name in ("asin", "acos", "atanh", "erfinv", "logit")},
    "asinh": (torch.asinh, -3.0, 3.0),
    "pow 2": (lambda x: x**2, -3.0, 3.0),
    "pow 3": (lambda x: x**3, -3.0, 3.0),
    "pow 0.5": (lambda x: x**0.5, 0.1, 3.0),
    "pow -0.5": (lambda x: x**-0.5, 0.1, 3.0),
    "pow 1.7": (lambda x: x**1.7, 0.1, 3.0),
    "pow of a number": (lambda x: torch.pow(1.3, x), -3.0, 3.0),
}
REDUCTIONS: Final[Mapping[str, Compute]] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "var": torch.var,
    "std": torch.std,
    "norm": torch.linalg.vector_norm,
    "norm 1": partial(torch.linalg.vector_norm, ord=1),
    "norm 3": partial(torch.linalg.vector_norm, ord=3),
    "prod": lambda x: torch.prod(1 + x / 1000),
    "cumsum": partial(torch.cumsum, dim=-1),
    "cumprod": lambda x: torch.cumprod(1 + x / 100, dim=-1),
    "logcumsumexp": partial(torch.logcumsumexp, dim=-1),
    "max": torch.max,
    "sort": lambda x: torch.sort(x).values,
    "sum of rows": partial(torch.sum, dim=0),
    "mean of rows": partial(torch.mean, dim=0),
    "var of rows": partial(torch.var, dim=0),
}


def over_decades(compute: Compute, x: Tensor) -> Tensor:
    """Compute a function of numbers of several sizes: libraries have other code for the small and the large."""
    result: Tensor = compute(torch.cat([x, x * 10, x / 10]))
    return result


def pointwise() -> Iterator[tuple[str, Operation]]:
    """Yield what works number by number, and sums."""
    for name, (compute, low, high) in NUMBER_BY_NUMBER.items():
        yield f"{name} of few", Operation(compute, ((FEW,),), low, high, dtypes=tuple(DTYPES))
        of_many = compute if high < 1 else partial(over_decades, compute)
        yield f"{name} of many", Operation(of_many, ((200_003,),), low, high, dtypes=tuple(DTYPES))
        yield f"{name} of all magnitudes", Operation(compute, (), dtypes=tuple(DTYPES), is_spread=True)
    yield "pow of tensors", Operation(torch.pow, ((1003,), (1003,)), 0.1, 3.0)
    yield "atan2", Operation(torch.atan2, ((1003,), (1003,)), 0.1, 3.0)
    yield "divide", Operation(torch.div, ((1003,), (1003,)), 0.1, 3.0)
    yield "multiply and add", Operation(torch.addcmul, ((1003,), (1003,), (1003,)))
    yield "divide and add", Operation(torch.addcdiv, ((1003,), (1003,), (1003,)), 0.1, 3.0)
    yield "lerp", Operation(torch.lerp, ((1003,), (1003,), (1003,)))
    yield (
        "log of a complex number",
        Operation(lambda x: torch.view_as_real(torch.view_as_complex(x).log()), ((33, 2),), 0.1, 3.0, dtypes=ONE),
    )
    yield "sinh of a strided tensor", Operation(lambda x: torch.sinh(x[:, ::3]), ((33, 65),))
    yield "exp of a strided tensor", Operation(lambda x: torch.exp(x[:, ::3]), ((33, 65),))
    yield "exp of a transposed tensor", Operation(lambda x: torch.exp(x.t()), ((33, 65),))
    for name, reduce in REDUCTIONS.items():
        for shape in ((5, 7), (33, 1003)):
            yield f"{name} of {shape[0]}x{shape[1]}", Operation(reduce, (shape,))
    places = torch.arange(33) * 7 % 11
    yield "index_add", Operation(lambda x, y: x.index_add(0, places, y), ((11, 17), (33, 17)))
    wide = places.unsqueeze(1).expand(33, 17)
    yield "scatter_add", Operation(lambda x, y: x.scatter_add(0, wide, y), ((11, 17), (33, 17)))
    yield "gather", Operation(lambda x: x.gather(0, wide), ((33, 17),))
    yield "cdist", Operation(torch.cdist, ((33, 5), (17, 5)), dtypes=ONE)
    yield "fft", Operation(lambda x: torch.view_as_real(torch.fft.rfft(x)), ((5, 60),), dtypes=ONE)


def linear_algebra() -> Iterator[tuple[str, Operation]]:
    """Yield what LAPACK computes."""
    square = ((24, 24),)

    def positive(x: Tensor) -> Tensor:
        return x @ x.t() + 24 * torch.eye(24)

    yield "qr", Operation(torch.linalg.qr, square, dtypes=ONE)
    yield "svd", Operation(torch.linalg.svdvals, square, dtypes=ONE)
    yield "cholesky", Operation(lambda x: torch.linalg.cholesky(positive(x)), square, dtypes=ONE)
    yield "inverse", Operation(lambda x: torch.linalg.inv(positive(x)), square, dtypes=ONE)
    yield "solve", Operation(lambda x: torch.linalg.solve(positive(x), x), square, dtypes=ONE)
    yield "eigenvalues", Operation(lambda x: torch.linalg.eigvalsh(positive(x)), square, dtypes=ONE)
    yield "determinant", Operation(lambda x: torch.linalg.slogdet(positive(x)).logabsdet, square, dtypes=ONE)


def random() -> Iterator[tuple[str, Operation]]:
    """Yield what draws from torch's generator."""
    for size in (FEW, 20_011):
        yield f"rand of {size}", Operation(torch.rand_like, ((size,),))
        yield f"randn of {size}", Operation(torch.randn_like, ((size,),))
    yield "randperm", Operation(lambda x: torch.randperm(x.numel()), ((1003,),), dtypes=ONE)
    yield "dropout", Operation(partial(functional.dropout, p=0.1), ((33, 65),))
    yield "dropout2d", Operation(partial(functional.dropout2d, p=0.1), ((8, 16, 5, 5),))
    yield "multinomial", Operation(lambda x: torch.multinomial(x, 5), ((33, 65),), 0.1, 1.0, dtypes=ONE)
    yield "gumbel_softmax", Operation(functional.gumbel_softmax, ((33, 10),))
    yield "exponential_", Operation(lambda x: torch.empty_like(x).exponential_(), ((1003,),))
    for name in (
        "kaiming_uniform_",
        "kaiming_normal_",
        "xavier_uniform_",
        "xavier_normal_",
        "trunc_normal_",
        "orthogonal_",
    ):
        start: Compute = getattr(nn.init, name)
        yield name, Operation(lambda x, start=start: start(torch.empty(x.shape)), ((33, 65),), dtypes=ONE)
    for law in (torch.distributions.Beta(0.4, 0.4), torch.distributions.Gamma(2.0, 1.0)):
        yield (
            f"{type(law).__name__} distribution",
            Operation(lambda x, law=law: law.sample(x.shape), ((65,),), dtypes=ONE),
        )


def optimizers() -> Iterator[tuple[str, Operation]]:
    """Yield three updates of each optimizer."""
    from bigbatch import LAMB, LARS

    makers: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
        "SGD": partial(torch.optim.SGD, lr=0.1),
        "SGD momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-4),
        "SGD nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        "LARS": partial(LARS, lr=0.1, weight_decay=1e-4),
        "LAMB": partial(LAMB, lr=0.1, weight_decay=1e-4),
    }
    for name in (
        "Adam",
        "AdamW",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "NAdam",
        "RAdam",
        "Adamax",
        "Rprop",
        "Adafactor",
        "Muon",
    ):
        if hasattr(torch.optim, name):
            makers[name] = partial(getattr(torch.optim, name), lr=0.1)

    def update(make: Callable[[list[Tensor]], torch.optim.Optimizer], matrix: Tensor, start: Tensor) -> Tensor:
        parameter = nn.Parameter(start.detach().clone())
        optimizer = make([parameter])
        for factor in (1.0, 0.5, -0.75):
            parameter.grad = matrix.detach() * factor
            optimizer.step()
        return parameter.detach()

    for name, make in makers.items():
        yield f"optimizer {name}", Operation(partial(update, make), ((33, 65), (33, 65)), dtypes=ONE)

    def clip(matrix: Tensor) -> Tensor:
        parameter = nn.Parameter(matrix.detach().clone())
        parameter.grad = matrix.detach().clone()
        nn.utils.clip_grad_norm_([parameter], 0.5)
        return parameter.grad

    yield "clip_grad_norm_", Operation(clip, ((33, 65),), dtypes=ONE)


def outside_torch() -> Iterator[tuple[str, Operation]]:
    """Yield what data sets use besides torch."""
    functions: dict[str, Callable[[np.ndarray], Any]] = {
        name: getattr(np, name) for name in ("exp", "log1p", "sin", "tanh", "sqrt", "mean", "std", "sum")
    }
    functions["exp float64"] = lambda x: np.exp(x.astype(np.float64))
    functions["matmul"] = lambda x: x @ x.T
    functions["matmul float64"] = lambda x: x.astype(np.float64) @ x.T.astype(np.float64)
    functions["inverse"] = lambda x: np.linalg.inv(x[:, :33] + 9 * np.eye(33, dtype=np.float32))

    def of_numpy(compute: Callable[[np.ndarray], Any], x: Tensor) -> Tensor:
        return torch.from_numpy(np.atleast_1d(compute(x.detach().numpy())))

    def of_python(compute: Callable[[float], float], x: Tensor) -> Tensor:
        return torch.tensor([compute(value) for value in x.tolist()], dtype=torch.float64)

    for name, compute in functions.items():
        yield f"numpy {name}", Operation(partial(of_numpy, compute), ((33, 65),), 0.1, 2.0, dtypes=ONE)
    laws = {"exp": math.exp, "log": math.log, "sin": math.sin, "pow 1.7": lambda x: math.pow(x, 1.7)}
    for name, law in laws.items():
        yield f"python's math.{name}", Operation(partial(of_python, law), ((1003,),), 0.1, 2.0, dtypes=ONE)


FAMILIES: Final[Mapping[str, Callable[[], Iterator[tuple[str, Operation]]]]] = {
    "convolutions": convolutions,
    "products": products,
    "normalisation, pools, interpolation": normalisations,
    "attention, embeddings, recurrence": attention,
    "losses": losses,
    "number by number, sums": pointwise,
    "linear algebra": linear_algebra,
    "random numbers": random,
    "optimizers": optimizers,
    "outside torch": outside_torch,
}


def main() -> None:
    """Print the digests as JSON: by family, operation and dtype."""
    torch.set_num_threads(1)
    digests = {
        family: {
            name: {dtype: (measure_apart if one.kills else measure)(name, one, dtype) for dtype in one.dtypes}
            for name, one in operations()
        }
        for family, operations in FAMILIES.items()
    }
    about = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    json.dump({**about, "digests": digests}, sys.stdout)


if __name__ == "__main__":
    main()
