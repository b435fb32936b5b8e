"""The order in which a model's convolutions keep their numbers: channels_last where that is known to be sound.

channels_last is the faster layout. But oneDNN 3.12, which torch 2.13 and 2.14 carry, writes beyond a buffer in it on
CPUs whose best instruction set is AVX2: in the backward pass of a 1x1 convolution with a stride and few input
channels. The heap is then corrupt, and the training ends in a crash later, or goes on.
"""

from typing import Any, Final

import torch
from torch import nn

AVX2_FLOATS: Final = 8  # in a vector
KERNEL_DIMENSIONS: Final = 4
# What was measured.
LARGEST_KERNEL: Final = 7
LARGEST_STRIDE: Final = 4
LARGEST_DILATION: Final = 2


def sound_memory_format(model: nn.Module) -> torch.memory_format:
    """Return channels_last if every convolution of the model is known to be sound in it, otherwise contiguous.

    The answer depends on the model alone, not on the machine, as the bits depend on the layout. A four-dimensional
    tensor that belongs to no `nn.Conv2d` may be the kernel of a hidden convolution. So a model that has one is
    contiguous.
    """
    convolutions = [module for module in model.modules() if type(module) is nn.Conv2d]
    seen = {id(convolution.weight) for convolution in convolutions}
    tensors = (*model.parameters(), *model.buffers())
    is_visible = all(id(tensor) in seen for tensor in tensors if tensor.ndim >= KERNEL_DIMENSIONS)
    is_sound = all(map(is_sound_in_channels_last, convolutions))
    return torch.channels_last if is_visible and is_sound else torch.contiguous_format


def is_sound_in_channels_last(convolution: nn.Conv2d) -> bool:
    """Tell whether a convolution was run in channels_last, forward and backward, and wrote nothing beyond a buffer.

    It was measured in float32 between guard pages, on one CPU with AVX2, with about 4,500 random shapes. These had up
    to 64 channels, groups (depthwise ones too), kernels of 1 to 7, strides of 1 to 4, and dilations of 1 and 2. Only
    1x1 convolutions with stride 2 and up to 5 channels failed. The rule leaves out all that read an incomplete vector
    of channels there.

    >>> is_sound_in_channels_last(nn.Conv2d(4, 8, 1, stride=2)), is_sound_in_channels_last(nn.Conv2d(4, 8, 3, stride=2))
    (False, True)
    """
    is_pointwise = max(convolution.kernel_size) == 1
    is_strided = max(convolution.stride) > 1
    has_whole_vectors = convolution.in_channels // convolution.groups % AVX2_FLOATS == 0
    is_measured = (
        max(convolution.kernel_size) <= LARGEST_KERNEL
        and max(convolution.stride) <= LARGEST_STRIDE
        and max(convolution.dilation) <= LARGEST_DILATION
    )
    return is_measured and (has_whole_vectors or not (is_pointwise and is_strided))


def set_memory_format(model: nn.Module) -> nn.Module:
    """Give the model its sound layout, and return it.

    Images in channels_last would put a contiguous model's convolutions into channels_last too, so it gets copies.
    """
    memory_format = sound_memory_format(model)
    model.to(memory_format=memory_format)  # type: ignore[call-overload]
    if memory_format is torch.contiguous_format:
        model.register_forward_pre_hook(_make_contiguous)
    return model


def _make_contiguous(_model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not `contiguous()`: it leaves the strides of one channel as they are, and these can say channels_last.
    return tuple(item.reshape(-1).view(item.shape) if isinstance(item, torch.Tensor) else item for item in inputs)
