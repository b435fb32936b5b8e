"""Decode a part of a JPEG where nvImageCodec is installed: Pillow's pixels to the bit, without decoding all of them."""

import os
import re
import sys
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.silence import silenced

Box = tuple[int, int, int, int]  # left, upper, right, lower

LEAST_VERSION: Final = (0, 9)
MARGIN: Final = 2  # pixels: a region that is one pixel wide would have other colours there than the whole image
VERBOSITY: Final = "PYNVIMGCODEC_VERBOSITY"
START_OF_IMAGE: Final = b"\xff\xd8"
START_OF_SCAN: Final = b"\xff\xda"
# Within a scan every 0xFF is followed by 0, or by the number of a restart.
MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def decode_region(content: bytes, box: Box, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return the RGB pixels (height, width, 3) of a box of a colour JPEG, or None if Pillow must decode it.

    That is so without nvImageCodec, and for files that are progressive, cut off or damaged.

    Args:
        content: of the file, whose header Pillow has read.
        box: of the pixels.
        size: (width, height) of the whole image.
    """
    if (codec := _codec(os.getpid())) is None or not _is_one_scan(content):
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


def _is_one_scan(content: bytes) -> bool:
    """Tell whether a JPEG is a header, one scan and the end, without another marker in the scan.

    Pillow stops at a marker there. Who decodes a region may not come to it.
    """
    place = len(START_OF_IMAGE)
    while (marker := content[place : place + 2]) != START_OF_SCAN:
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if marker[:1] != b"\xff" or length < 2:  # noqa: PLR2004 - the length counts its own bytes
            return False
        place += len(marker) + length
    end = MARKER.search(content, place + len(START_OF_SCAN))
    return end is not None and end.end() == len(content) and content.endswith(b"\xff\xd9")


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
        except (RuntimeError, ValueError, IndexError):  # what is wrong with a file, Pillow says
            return None
        return None if image is None else np.asarray(image.cpu())


@cache
def _codec(_process: int) -> _Codec | None:
    """Return the decoder of a process: one that was forked makes its own."""
    os.environ.setdefault(VERBOSITY, "0")  # of its own words about a file that Pillow then refuses
    with silenced(sys.__stderr__):  # it writes lines about its parts that need a GPU's libraries
        try:
            from nvidia import nvimgcodec

            version = tuple(map(int, nvimgcodec.__version__.split(".")[:2]))
            return _Codec(nvimgcodec) if version >= LEAST_VERSION else None
        except (ImportError, OSError, RuntimeError, AttributeError, ValueError):  # it does not fit this machine
            return None
