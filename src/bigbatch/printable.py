"""Text made safe to print: text from a file must not move the cursor, forge a line or reverse the writing."""


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
