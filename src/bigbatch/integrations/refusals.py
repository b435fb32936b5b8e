"""What a trainer offers and an exact step cannot take: refused in one line."""

from collections.abc import Mapping

from bigbatch.errors import InputError


def refuse(who: str, refusals: Mapping[str, bool]) -> None:
    """Refuse the first thing that is asked for.

    Args:
        who: does not take it.
        refusals: whether each thing is asked for, by its name and what to do instead.

    Raises:
        InputError: names it.

    >>> refuse("ExactTrainer", {"fp16; say bf16, or neither": False})
    """
    for what, is_asked in refusals.items():
        if is_asked:
            msg = f"{who} does not take {what}"
            raise InputError(msg)
