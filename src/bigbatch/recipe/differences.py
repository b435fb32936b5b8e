"""In which fields two recipes differ."""

from collections.abc import Mapping
from typing import Final

from bigbatch.recipe.recipe import Recipe

NOT_OF_THE_RESULT: Final = ("launch.", "checkpoints.", "data.path")  # these fields do not change the result


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Return one `section.field: old -> new` for each field in which the two recipes differ.

    Fields that do not change the result are left out: the path of the data (its fingerprint identifies it), and how
    the run is launched and saved.

    >>> from dataclasses import replace
    >>> from bigbatch.recipe.presets import digits
    >>> small = digits()
    >>> differences(small, replace(small, minibatch_size=32))
    ['minibatch_size: 16 -> 32']
    """
    before, after = flat_fields(old.to_dict()), flat_fields(new.to_dict())
    keys = sorted(key for key in before.keys() | after.keys() if not key.startswith(NOT_OF_THE_RESULT))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if not _is_same(before.get(key), after.get(key))
    ]


def _is_same(value: object, other: object) -> bool:
    """Tell whether two values of a field are the same; a file reads 500 as 500.0 where a field takes any number."""
    are_numbers = isinstance(value, int | float) and isinstance(other, int | float)
    return value == other if are_numbers else repr(value) == repr(other)


def is_longer(old: Recipe, new: Recipe) -> bool:
    """Tell whether the new recipe is the old one for longer, and else the same.

    >>> from dataclasses import replace
    >>> from bigbatch.recipe.presets import digits
    >>> is_longer(digits(), replace(digits(), epochs=40)), is_longer(digits(), replace(digits(), epochs=20))
    (True, False)
    """
    unit = new.length.unit
    if old.length.unit != unit or old.length.amount >= new.length.amount:
        return False
    return all(difference.startswith(f"{unit}: ") for difference in differences(old, new))


def flat_fields(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a table of tables as one table, whose keys are paths.

    >>> flat_fields({"seed": 0, "model": {"width": 16}})
    {'seed': 0, 'model.width': 16}
    """
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= flat_fields(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
