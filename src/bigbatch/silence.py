"""Leave out what a library prints by itself: what is printed is for the user's own words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def silenced(stream: TextIO | None) -> Iterator[None]:
    """Drop what is written to a standard stream meanwhile, also from C++.

    Args:
        stream: `sys.__stdout__` or `sys.__stderr__`; where it is closed, nothing is done.
    """
    if stream is None or stream.closed:  # what has its number may be a file or a connection
        yield
        return
    stream.flush()
    number = stream.fileno()
    ours, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        os.dup2(ours, number)
        os.close(nowhere)
        os.close(ours)
