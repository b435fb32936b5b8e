"""How detectors resize images: to a length of the shorter side, unless the longer one becomes too long."""


def resized(width: int, height: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Return the new (width, height) of an image; its shape stays, to half a pixel (Lin et al. 2017, section 4).

    Args:
        width: in pixels.
        height: in pixels.
        short_side: what the shorter side becomes, in pixels.
        long_side: the most that the longer side becomes, in pixels.

    >>> resized(640, 480, short_side=800, long_side=1333), resized(1000, 200, short_side=800, long_side=1333)
    ((1067, 800), (1333, 267))
    """
    scale = min(short_side / min(width, height), long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
