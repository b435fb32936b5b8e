"""Text that came from outside, made safe to print: no line of its own, no terminal command, no reversed order."""


def printable(text: str) -> str:
    r"""Return the text with visible escapes for every control, format and surrogate character, line ends included.

    >>> printable("a\x1b[31m\nb\u202ec é")
    'a\\x1b[31m\\nb\\u202ec é'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
