"""A recipe as TOML for people: every field with its meaning; what has its default stands behind a `#`."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from textwrap import wrap
from typing import Any, Final

import tomli_w

from bigbatch.recipe.descriptions import descriptions_of, summary_of
from bigbatch.recipe.recipe import Recipe

WIDTH: Final = 100  # of a line, in characters
NOT_SET: Final = "(not set)"
HOW_TO_EDIT: Final = "A field behind a # has its default. To change it, remove the # and write another value."
ALL_DEFAULTS: Final = "From here on, everything has its default."


def to_commented_toml(recipe: Recipe, heading: str = "") -> str:
    """Return the recipe as TOML that says what each field means. Reading it gives the same recipe.

    Fields that differ from their defaults are set, and their sections come first. The other fields are commented out.
    Each can be set alone, for the header of its section is not commented out.

    Args:
        recipe: any.
        heading: a comment at the top; empty lines separate its paragraphs.
    """
    table = recipe.to_dict()
    names = [item.name for item in fields(recipe) if is_dataclass(getattr(recipe, item.name))]
    sections = {name: "\n".join(_section(name, getattr(recipe, name), table[name])) for name in names}
    changed = [text for name, text in sections.items() if _differs(getattr(recipe, name))]
    unchanged = [text for text in sections.values() if text not in changed]
    top = "\n".join([*_comment(f"{heading}\n\n{HOW_TO_EDIT}".strip()), *_fields(recipe, table)])
    rest = ["\n".join(["", "", *_comment(ALL_DEFAULTS)]), *unchanged] if unchanged else []
    return "\n".join([top, *changed, *rest]) + "\n"


def inline(value: object) -> str:
    r"""Return a value as TOML in one line. What a terminal would obey, or nobody would see, is escaped.

    >>> inline({"depth": 3, "names": ["a\n", "b"], "wide": True})
    '{depth = 3, names = ["a\\n", "b"], wide = true}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {inline(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    return _visible(tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n"))


def default_of(item: "Field[Any]") -> object:
    """Return the default of a dataclass's field; MISSING if it must be given."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def _section(name: str, section: Any, table: Mapping[str, object]) -> Iterator[str]:  # noqa: ANN401 - a dataclass
    yield from ("", "", f"[{name}]")
    yield from _comment(summary_of(type(section)))
    yield from _fields(section, table)


def _fields(part: Any, table: Mapping[str, object]) -> Iterator[str]:  # noqa: ANN401 - a recipe or a section
    """Yield the fields that are no sections: the meaning of each as a comment, and its value."""
    meanings = descriptions_of(type(part))
    for item in fields(part):
        if is_dataclass(getattr(part, item.name)):
            continue
        yield ""
        yield from _comment(meanings.get(item.name, ""))
        lines = _setting(item.name, table[item.name]) if item.name in table else [f"{item.name} = {NOT_SET}"]
        yield from (lines if _is_set(part, item) else (f"#{line}" for line in lines))


def _setting(name: str, value: object) -> Iterator[str]:
    """Yield the lines that set a field. A long table becomes several settings, and a long list has a line an item."""
    line = f"{name} = {inline(value)}"
    if isinstance(value, Mapping) and value and len(line) > WIDTH:
        for key, inner in value.items():
            yield from _setting(f"{name}.{_key(key)}", inner)
    elif isinstance(value, list | tuple) and len(line) > WIDTH:
        yield from (f"{name} = [", *(f"    {inline(item)}," for item in value), "]")
    else:
        yield line


def _differs(section: Any) -> bool:  # noqa: ANN401 - a dataclass
    return any(_is_set(section, item) for item in fields(section))


def _is_set(part: Any, item: "Field[Any]") -> bool:  # noqa: ANN401 - a recipe or a section
    return bool(getattr(part, item.name) != default_of(item))


def _comment(text: str) -> list[str]:
    """Return the lines of a comment; empty lines separate its paragraphs."""
    lines = [line for paragraph in text.split("\n\n") for line in ("", *wrap(paragraph, WIDTH, break_on_hyphens=False))]
    return [f"# {line}".rstrip() for line in lines[1:]]


def _key(key: str) -> str:
    return _visible(tomli_w.dumps({key: 0}).removesuffix(" = 0\n"))


def _visible(text: str) -> str:
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 1 << 16 else f"\\U{ord(c):08x}" for c in text
    )
