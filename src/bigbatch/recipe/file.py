"""A recipe as TOML; an unknown key is an error that names the nearest known one."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import tomli_w

from bigbatch.errors import InputError, nearest
from bigbatch.recipe.recipe import Recipe
from bigbatch.recipe.sections.schedule import used_by
from bigbatch.rules.duration import EPOCHS, ITERATIONS, SAMPLES, UNITS

MAX_BYTES: Final = 100_000
MAX_DOTS: Final = 1_000  # in a line: tomllib's time and memory grow with the square of a dotted key's parts
MAX_DEPTH: Final = 32
SMALLEST, LARGEST = -(2**63), 2**63 - 1  # TOML's integers
TOO_LARGE: Final = "a whole number does not fit into 64 bits"
TOO_DEEP: Final = f"values are nested more than {MAX_DEPTH} deep"
WORDS: Final = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML with every field, so that later defaults do not change its meaning."""
    return tomli_w.dumps(recipe.to_dict())


def from_toml(text: str, *, source: str = "recipe") -> Recipe:
    """Read a recipe.

    Args:
        text: TOML.
        source: where the text comes from, for errors.

    Raises:
        InputError: malformed TOML, an unknown or missing key, a value of the wrong type or out of its range.
    """
    try:
        table = _parse(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{source} is not valid TOML: {error}"
        raise InputError(msg) from error
    except InputError as error:
        msg = f"{source}: {error}"
        raise InputError(msg) from error
    return from_table(table, source=source)


def from_table(table: object, *, source: str = "recipe") -> Recipe:
    """Build a recipe from a table of its fields, as TOML or JSON gives it.

    Args:
        table: the fields, and each section as a table.
        source: where the table comes from, for errors.

    Raises:
        InputError: no table, an unknown or missing key, a value of the wrong type or out of its range.
    """
    try:
        _check_length(table)
        recipe: Recipe = _build(Recipe, table, "")
    except InputError as error:
        msg = f"{source}: {error}"
        raise InputError(msg) from error
    return recipe


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        InputError: the file cannot be read, or `from_toml` refuses it.
    """
    try:
        text = _read_text(path)
    except UnicodeDecodeError as error:
        msg = f"cannot read the recipe {path}: it is not UTF-8 text"
        raise InputError(msg) from error
    except (OSError, ValueError) as error:  # a ValueError: the path holds a null character
        msg = f"cannot read the recipe {path}: {getattr(error, 'strerror', error)}"
        raise InputError(msg) from error
    return from_toml(text, source=str(path))


def _read_text(path: Path) -> str:
    if not S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise OSError(EINVAL, "it is no file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1).decode()


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Apply settings of the form `section.field=value`, the value in TOML (a bare word is a string).

    Raises:
        InputError: a setting has another form, an unknown field, or a value that the field cannot take.

    >>> from bigbatch.recipe.presets import digits
    >>> with_settings(digits(), ["warmup.epochs=2", "model.name=cifar-resnet14"]).model.name
    'cifar-resnet14'
    """
    table = recipe.to_dict()
    if recipe.optimizer.weight_decay is None:  # another optimizer may have another default
        table["optimizer"].pop("weight_decay", None)
    for setting in settings:
        key, equals, value = setting.partition("=")
        _clear_other_units(table, key.strip())
        if not equals or not key.strip():
            msg = f"--set {setting}: write section.field=value, for example --set warmup.epochs=3"
            raise InputError(msg)
        _forget_measured(table, key.strip())
        _assign(table, key.strip().split("."), _parse_value(value.strip(), key.strip()))
    result: Recipe = _build(Recipe, table, "")
    _check_places(recipe, result)
    return result


def _check_places(old: Recipe, new: Recipe) -> None:
    """Refuse to read a schedule's epochs as iterations, because a setting has changed the length's unit alone."""
    if old.length.unit == new.length.unit:
        return
    places = {"milestones": new.schedule.milestones, "period": new.schedule.period}
    for name in used_by(new.schedule.kind):
        if name in places and places[name] and getattr(old.schedule, name) == places[name]:
            msg = (
                f"schedule.{name} = {places[name]} is in {old.length.unit}, and the training's length now in "
                f"{new.length.unit}; set schedule.{name} in {new.length.unit} too"
            )
            raise InputError(msg)


def _parse(text: str) -> dict[str, Any]:
    """Parse TOML without letting it take much time or memory.

    Raises:
        TOMLDecodeError: malformed TOML.
        InputError: the text is larger, or nested deeper, than any recipe needs.
    """
    if len(text) > MAX_BYTES:
        msg = f"larger than {MAX_BYTES} bytes: that is no recipe"
        raise InputError(msg)
    if max(line.count(".") for line in text.split("\n")) > MAX_DOTS:
        msg = f"a line has more than {MAX_DOTS} dots: that is no recipe"
        raise InputError(msg)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        excess = TOO_DEEP
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python's own: thousands of digits
        excess = TOO_LARGE
    else:
        excess = _find_excess(table)
    if excess:
        raise InputError(excess)
    return table


def _find_excess(table: dict[str, Any]) -> str:
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, int) and not SMALLEST <= value <= LARGEST for value in level):
            return TOO_LARGE
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return ""
    return TOO_DEEP


def _parse_value(text: str, key: str) -> object:
    try:
        parsed = _parse(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except InputError as error:
        msg = f"{key}: {error}"
        raise InputError(msg) from error
    return parsed["value"] if parsed.keys() == {"value"} else text


def _assign(table: dict[str, Any], path: list[str], value: object) -> None:
    *sections, name = path
    for section in sections:
        inner = table.get(section)
        if not isinstance(inner, dict):
            msg = f"unknown section '{section}' in --set {'.'.join(path)}; {nearest(section, _tables(table))}"
            raise InputError(msg)
        table = inner
    table[name] = value


def _check_length(table: object) -> None:
    if isinstance(table, dict) and EPOCHS not in table and not any(table.get(unit) for unit in UNITS):
        msg = f"the key '{EPOCHS}' is missing (or '{ITERATIONS}', or '{SAMPLES}'): how long the training is"
        raise InputError(msg)


def _forget_measured(table: dict[str, Any], key: str) -> None:
    """What a preset knows of its data and its model is not known of another's."""
    if key in {"data.name", "model.name"}:
        table["reference"]["largest_matching"] = 0
    if key in {"data.name", "data.sequence_length", "data.tokenizer", "data.validation_share"}:
        table["data"]["num_train_samples"] = 0


def _clear_other_units(table: dict[str, Any], key: str) -> None:
    """A duration in one unit takes the place of the same duration in another."""
    section, _, name = key.rpartition(".")
    inner = table.get(section) if section else table
    stem, _, unit = name.rpartition("_")
    names = [f"{stem}_{other}" if stem else other for other in UNITS]
    if isinstance(inner, dict) and unit in UNITS and all(other in inner for other in names):
        inner |= {other: 0 for other in names if other != name}


def _tables(table: Mapping[str, object]) -> list[str]:
    return [key for key, value in table.items() if isinstance(value, dict)]


def _build(kind: type[Any], table: object, path: str) -> Any:  # noqa: ANN401 - an instance of `kind`
    """Build the dataclass `kind` from a TOML table; `path` names it in messages."""
    if not isinstance(table, dict):
        msg = f"{path or 'the recipe'} must be a table, not {table!r}"
        raise InputError(msg)
    known = {item.name: item for item in fields(kind)}
    for key in table:
        if key not in known:
            msg = f"unknown key '{_join(path, key)}'; {nearest(key, list(known))}"
            raise InputError(msg)
    required = [n for n, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    for name in required:
        if name not in table:
            msg = f"the key '{_join(path, name)}' is missing"
            raise InputError(msg)
    types_of = get_type_hints(kind)
    return kind(**{key: _value(types_of[key], value, _join(path, key)) for key, value in table.items()})


def _value(kind: Any, value: object, path: str) -> object:  # noqa: ANN401 - any annotation of a recipe's field
    if isinstance(kind, UnionType):
        kind = _kind_of(value, get_args(kind))
    if is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, path)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            msg = f"{path} must be a list, not {value!r}"
            raise InputError(msg)
        return tuple(_items(get_args(kind), value, path))
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            msg = f"{path} must be a table, not {value!r}"
            raise InputError(msg)
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        msg = f"{path} must be {WORDS[kind]}, not {value!r}"
        raise InputError(msg)
    return value


def _kind_of(value: object, kinds: Sequence[Any]) -> Any:  # noqa: ANN401 - one of the annotations
    """Return which of several kinds a value is to be; a table holds no nothing."""
    kinds = [kind for kind in kinds if kind is not NoneType]
    is_list = isinstance(value, list | tuple)
    return next((kind for kind in kinds if (get_origin(kind) is tuple) == is_list), kinds[0])


def _items(kinds: tuple[Any, ...], values: Sequence[object], path: str) -> Iterator[object]:
    """Yield the items of a list; its kinds are (kind, ...) for any number of items, or one kind per item."""
    is_open = kinds[-1] is Ellipsis
    if not is_open and len(values) != len(kinds):
        msg = f"{path} must be a list of {len(kinds)}, not {list(values)!r}"
        raise InputError(msg)
    for i, item in enumerate(values):
        yield _value(kinds[0 if is_open else i], item, f"{path}[{i}]")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
