"""Growing the minibatch by doubling it between epochs."""


def largest_doubling(start: int, largest: int, *, limit: float) -> int:
    """Return the largest of start, 2 start, 4 start, ..., `largest` that is within the limit, but at least `start`.

    >>> [largest_doubling(64, 400, limit=limit) for limit in (1, 64, 127, 128, 399, 400, 1000)]
    [64, 64, 64, 128, 256, 400, 400]
    """
    if limit >= largest:
        return largest
    size = start
    while 2 * size <= limit:
        size *= 2
    return size
