"""Write the reference of a recipe's fields into docs/recipe.md, from the recipe's dataclasses: `make reference`."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import wrap
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from bigbatch.recipe import Recipe
from bigbatch.recipe.commented import default_of, inline
from bigbatch.recipe.descriptions import descriptions_of, summary_of
from bigbatch.recipe.losses import LOSSES
from bigbatch.recipe.metrics import MEASURES, Measure

PAGE: Final = Path(__file__).with_name("recipe.md")
START, END = "<!-- make reference writes what follows -->\n", "<!-- up to here -->\n"
WIDTH: Final = 120
WORDS: Final = {int: "whole number", float: "number", str: "string", bool: "true or false", Mapping: "table"}


def updated(page: str) -> str:
    """Return the page with the reference of the code as it is now; what is written by hand stays."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{reference()}\n{END}{rest.partition(END)[2]}"


def reference() -> str:
    """Return the fields of the recipe and of each section, and the names of losses and metrics, as Markdown."""
    kinds = get_type_hints(Recipe)
    sections = [item.name for item in fields(Recipe) if is_dataclass(kinds[item.name])]
    parts = ["## Fields outside the sections", *_fields(Recipe)]
    for name in sections:
        parts += ["", f"## `[{name}]`", *_paragraph(summary_of(kinds[name])), "", *_fields(kinds[name])]
    parts += ["", "## Losses", *(line for item in LOSSES.items() for line in _item("`{}`: {}.".format(*item)))]
    parts += ["", "## Metrics", *(line for item in MEASURES.values() for line in _item(_metric(item)))]
    return "\n".join(parts) + "\n"


def _fields(kind: type[Any]) -> Iterator[str]:
    kinds, meanings = get_type_hints(kind), descriptions_of(kind)
    for item in fields(kind):
        if is_dataclass(kinds[item.name]):
            continue
        default = default_of(item)
        setting = item.name if default is MISSING or default is None else f"{item.name} = {inline(default)}"
        duty = ", must be set" if default is MISSING else ", not set" if default is None else ""
        yield from _item(f"`{setting}` ({_words(kinds[item.name])}{duty}): {meanings[item.name]}")


def _words(kind: Any) -> str:  # noqa: ANN401 - any annotation of a recipe's field
    """Say a type in words, such as "numbers" for `tuple[float, ...]`."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, UnionType):
        return ", or ".join(_words(each) for each in inner if each is not NoneType)
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"list of {count}{WORDS[inner[0]]}s"
    return WORDS[origin or kind]


def _metric(measure: Measure) -> str:
    unit = f" in {measure.unit}" if measure.unit else ""
    return f"`{measure.name}`{unit}: {measure.better} is better."


def _item(text: str) -> list[str]:
    return wrap(f"- {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _paragraph(text: str) -> list[str]:
    return wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
