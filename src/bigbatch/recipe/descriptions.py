"""What the fields of a recipe mean: read from the docstrings of its dataclasses, the one place that says it."""

import inspect
import re
from typing import Final

ENTRY: Final = re.compile(r" {4}(\w[\w, ]*): (.*)")


def summary_of(kind: type) -> str:
    """Return what a dataclass is: its docstring up to the fields, as one line.

    >>> from bigbatch.recipe import Reference
    >>> summary_of(Reference)
    'The small-minibatch recipe that is trusted.'
    """
    return " ".join((inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")[0].split())


def descriptions_of(kind: type) -> dict[str, str]:
    """Return what each field of a dataclass means, by its name: the entries of `Attributes:` in its docstring.

    >>> from bigbatch.recipe import Reference
    >>> descriptions_of(Reference)["minibatch_size"]
    'samples per update.'
    """
    _, _, after = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    descriptions: dict[str, str] = {}
    names: list[str] = []
    for line in after.partition("\n\n")[0].splitlines():
        if entry := ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            descriptions |= dict.fromkeys(names, entry[2])
        else:  # the entry goes on
            descriptions |= {name: f"{descriptions[name]} {line.strip()}" for name in names}
    return descriptions
