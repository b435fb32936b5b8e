"""Frozen values that are tables of JSON on disk. Every value is checked: a file may be old, damaged or foreign."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Self, get_args, get_origin, get_type_hints

from bigbatch.recipe.metrics import Measure

READ: Final = "read"  # in a field's metadata: its own way to be read from the whole table


@dataclass(frozen=True, kw_only=True)
class JsonTable:
    """A table of JSON. Its fields are the names in the file, in their order; their types say how they are read.

    Attributes:
        raw: the table that it was read from, with unknown names too; None if it was not read.
    """

    raw: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """Return the value of a table; what is missing or of the wrong type is None, or empty.

        Raises:
            ValueError: a whole number that may not be None is missing.
        """
        values: dict[str, Any] = {field.name: field.read(table) for field in _fields(cls)}
        return cls(**values, raw=table)

    def to_json(self) -> dict[str, Any]:
        """Return the table. What was read keeps its other names; what was not read leaves out default values."""
        table = dict(self.raw or {})
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            if value != (field.default if self.raw is None else field.read(self.raw)):
                table |= _written(field.name, value)
        return table


class _Field(NamedTuple):
    name: str
    read: Callable[[Mapping[str, Any]], object]
    default: object


def _fields(kind: type[JsonTable]) -> Sequence[_Field]:
    if kind not in FIELDS:
        types = get_type_hints(kind)
        FIELDS[kind] = [
            _Field(field.name, field.metadata.get(READ) or _reader(field.name, types[field.name]), field.default)
            for field in fields(kind)
            if field.name != "raw"
        ]
    return FIELDS[kind]


def _reader(name: str, kind: Any) -> Callable[[Mapping[str, Any]], object]:  # noqa: ANN401 - a type
    """Return the reader of a field. The fields of an inner table stand in the outer one; several tables are a list."""
    if isinstance(kind, type) and issubclass(kind, JsonTable):
        return kind.read
    if get_origin(kind) is tuple:
        inner: type[JsonTable] = get_args(kind)[0]
        return lambda table: tuple(inner.read(item) for item in as_list(table.get(name)) if isinstance(item, dict))
    reader = READERS[kind]
    return lambda table: reader(table.get(name))


def _written(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, JsonTable):
        return value.to_json()
    if isinstance(value, Measure):
        return {name: value.to_json()}
    return {name: [item.to_json() for item in value] if isinstance(value, tuple) else value}


def as_number(value: object) -> float | None:
    """Return a value that is a number, else None; True and False are no numbers."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_whole(value: object) -> int | None:
    """Return a value that is a whole number, else None; True and False are no numbers."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_text(value: object) -> str | None:
    """Return a value that is text, else None."""
    return value if isinstance(value, str) else None


def as_list(value: object) -> Sequence[Any]:
    """Return a value that is a list, or an empty one."""
    return value if isinstance(value, list) else []


def as_table(value: object) -> Mapping[str, Any]:
    """Return a value that is a table, or an empty one."""
    return value if isinstance(value, dict) else {}


def _as_counter(value: object) -> int:
    if not isinstance(value, int):
        msg = "a counter is missing"
        raise ValueError(msg)  # noqa: TRY004 - the file's fault, not a caller's
    return value


READERS: Final[Mapping[object, Callable[[object], object]]] = {
    int: _as_counter,
    bool: bool,
    object: lambda value: value,
    float | None: as_number,
    int | None: as_whole,
    str | None: as_text,
    bool | None: lambda value: value if isinstance(value, bool) else None,
    Sequence[Any]: as_list,
    Mapping[str, Any]: as_table,
    Mapping[str, Any] | None: lambda value: value if isinstance(value, dict) else None,
}
FIELDS: Final[dict[type[JsonTable], Sequence[_Field]]] = {}  # of each kind of table, after its first use
