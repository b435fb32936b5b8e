"""Text made safe to print: text from a file must not move the cursor, forge a line or reverse the writing.

And what a library prints, left out.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def printable(text: str) -> str:
    r"""Return the text with every character spelled out that a terminal would obey, or that a reader would not see.

    Those are control characters (ESC, newlines, 8-bit controls), marks of direction and of width zero, and spaces other
    than " ". So are half characters, which cannot be written at all. rich's markup stays: print it as plain text.

    >>> printable("digits\n\x1b[2Jfinished")
    'digits\\n\\x1b[2Jfinished'
    >>> printable("Übung \u202e1")
    'Übung \\u202e1'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


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
