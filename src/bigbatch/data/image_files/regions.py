"""Decode a part of a JPEG where nvImageCodec is installed: Pillow's pixels to the bit, without decoding all of them."""

import os
import sys
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.printable import silenced

Box = tuple[int, int, int, int]  # left, upper, right, lower

END_OF_JPEG: Final = b"\xff\xd9"
MARGIN: Final = 2  # pixels: a region that is one pixel wide would have other colours there than the whole image


def decode_region(content: bytes, box: Box, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return the RGB pixels (height, width, 3) of a box of a colour JPEG, or None if another decoder must see it.

    None means that there is no nvImageCodec, that the file does not end as a JPEG does, or that it cannot be decoded.

    Args:
        content: of the file, whose header has been looked at.
        box: of the pixels.
        size: (width, height) of the whole image.
    """
    if not content.endswith(END_OF_JPEG) or (codec := _codec(os.getpid())) is None:
        return None
    left, upper, right, lower = box
    start = max(0, upper - MARGIN), max(0, left - MARGIN)
    end = min(size[1], lower + MARGIN), min(size[0], right + MARGIN)
    pixels = codec.decode(content, start, end)
    return None if pixels is None else pixels[upper - start[0] : lower - start[0], left - start[1] : right - start[1]]


def region_decoder() -> str:
    """Return the name and version of what decodes regions here; "" if nothing does."""
    codec = _codec(os.getpid())
    return f"nvImageCodec {codec.module.__version__}" if codec else ""


class _Codec:
    """nvImageCodec on the CPU, in this thread. It has no types of its own."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - see above
        self.module = module
        backends = [module.Backend(module.BackendKind.CPU_ONLY)]
        cpu = module.NVIMGCODEC_DEVICE_CPU_ONLY
        self.decoder = module.Decoder(device_id=cpu, max_num_cpu_threads=1, backends=backends)
        self.params = module.DecodeParams(apply_exif_orientation=False)  # as Pillow has it

    def decode(self, content: bytes, start: tuple[int, int], end: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return the pixels from one (row, column) to another; None if it cannot."""
        region = self.module.Region(start=start, end=end)
        try:
            stream = self.module.CodeStream(content).get_sub_code_stream(region=region)
            image = self.decoder.decode(stream, params=self.params)
        except RuntimeError:  # as it names what is wrong with a file
            return None
        return None if image is None else np.asarray(image.cpu())


@cache
def _codec(_process: int) -> _Codec | None:
    """Return the decoder of a process: one that was forked makes its own."""
    with silenced(sys.__stderr__):  # it writes lines about its parts that need a GPU's libraries
        try:
            from nvidia import nvimgcodec
        except (ImportError, OSError):  # the latter where it does not fit the machine
            return None
        return _Codec(nvimgcodec)
