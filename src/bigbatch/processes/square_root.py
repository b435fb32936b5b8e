"""torch's square root of CPU tensors, rounded as IEEE 754 says, and so with the same bits on every processor.

torch's own calls MKL's vector library. That starts from the processor's approximation of 1/sqrt(x), which every maker
chooses, and often ends an ulp beside the right number. Adam divides by it. numpy's is exact, and no slower.
"""

import warnings
from typing import Final

import numpy as np
import torch
from torch import Tensor

SHORT: Final = (torch.bfloat16, torch.float16)
_LIBRARY: list[torch.library.Library] = []  # torch forgets the kernels with it


def replace_square_root() -> None:
    """Replace torch's square root for the rest of this process, where it has not been replaced yet."""
    if _LIBRARY:
        return
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
        library.impl("sqrt", square_root, "CPU")  # type: ignore[no-untyped-call]
        library.impl("sqrt.out", _square_root_into, "CPU")  # type: ignore[no-untyped-call]
        library.impl("sqrt_", _square_root_in_place, "CPU")  # type: ignore[no-untyped-call]
    _LIBRARY.append(library)


def square_root(x: Tensor) -> Tensor:
    """Return the square root of each number, in the tensor's dtype; of whole numbers, in the default dtype."""
    dtype = x.dtype if x.is_floating_point() or x.is_complex() else torch.get_default_dtype()
    numbers = x.detach().to(torch.float32 if dtype in SHORT else dtype).resolve_conj().resolve_neg()
    roots = torch.empty_like(numbers)
    with np.errstate(all="ignore"):  # of a negative number it is NaN, as in torch
        np.sqrt(numbers.numpy(), out=roots.numpy())
    return roots.to(dtype)


def _square_root_into(x: Tensor, *, out: Tensor) -> Tensor:
    roots = square_root(x)
    if out.shape != roots.shape:
        out.resize_(roots.shape)
    return out.copy_(roots)


def _square_root_in_place(x: Tensor) -> Tensor:
    return x.copy_(square_root(x))
