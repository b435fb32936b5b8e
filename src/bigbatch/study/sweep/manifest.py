"""A sweep's `sweep.json`: the configuration of each run, and the reference. Reports read it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bigbatch.atomic_file import write_atomically
from bigbatch.errors import InputError
from bigbatch.paths import is_file
from bigbatch.runs.json_table import as_table, as_text
from bigbatch.study.configuration import Configuration

if TYPE_CHECKING:
    from bigbatch.study.sweep.jobs import Sweep

NAME: Final = "sweep.json"
FORMAT: Final = "bigbatch sweep 1"
LONGEST: Final = 200  # characters of a variant's name
LARGEST_BYTES: Final = 1 << 26


@dataclass(frozen=True)
class Manifest:
    """The content of `sweep.json`.

    Attributes:
        reference: the configuration that all others are compared with.
        runs: the configuration of each run, by the run's name.
        settings: the settings of the user's own variants.
    """

    reference: Configuration
    runs: Mapping[str, Configuration]
    settings: Mapping[str, Sequence[str]]


def write_manifest(sweep: "Sweep") -> None:
    """Write the configurations of the runs, atomically; what an earlier sweep to this folder wrote stays.

    Raises:
        InputError: the file cannot be written, is damaged, or belongs to a sweep with another reference.
    """
    old = check_manifest(sweep)
    runs = {**(old.runs if old else {}), **{job.name: job.configuration for job in sweep.jobs}}
    table = {
        "format": FORMAT,
        "reference": _table_of(sweep.reference),
        "settings": {**(old.settings if old else {}), **sweep.settings},
        "runs": {name: _table_of(configuration) for name, configuration in runs.items()},
    }
    try:
        write_atomically(sweep.output / NAME, json.dumps(table, indent=1).encode() + b"\n")
    except OSError as error:
        msg = f"cannot write {sweep.output / NAME} ({error.strerror})"
        raise InputError(msg) from error


def check_manifest(sweep: "Sweep") -> Manifest | None:
    """Return what an earlier sweep wrote to the folder; None if there was none.

    Raises:
        InputError: it is damaged, has another reference, or another variant of the same name.
    """
    try:
        old = read_manifest(sweep.output)
    except InputError as error:
        msg = f"{error}; remove it, and it is written again"
        raise InputError(msg) from error
    if old and old.reference != sweep.reference:
        msg = (
            f"{sweep.output} holds a sweep whose reference is {old.reference}, not {sweep.reference}; "
            "choose another --output"
        )
        raise InputError(msg)
    for name, settings in sweep.settings.items():
        if old and list(old.settings.get(name, settings)) != list(settings):
            was = ",".join(old.settings[name])
            msg = f"the variant '{name}' of the runs in {sweep.output} is {was}; give this one another name"
            raise InputError(msg)
    return old


def read_manifest(folder: Path) -> Manifest | None:
    """Read the `sweep.json` of a folder; None if there is none.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    path = folder / NAME
    try:
        return _parse(path) if is_file(path) else None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        msg = f"{path} is damaged ({getattr(error, 'strerror', None) or error})"
        raise InputError(msg) from error


def _parse(path: Path) -> Manifest:
    if path.stat().st_size > LARGEST_BYTES:
        msg = f"it is larger than {LARGEST_BYTES:,} bytes"
        raise ValueError(msg)
    table = as_table(json.loads(path.read_bytes()))
    if table.get("format") != FORMAT:
        msg = f"its format is not '{FORMAT}'"
        raise ValueError(msg)
    runs = {name: _configuration_of(entry) for name, entry in as_table(table.get("runs")).items()}
    settings = {name: list(map(str, some)) for name, some in as_table(table.get("settings")).items()}
    return Manifest(_configuration_of(table.get("reference")), runs, settings)


def _table_of(configuration: Configuration) -> dict[str, Any]:
    return configuration._asdict()


def _configuration_of(value: object) -> Configuration:
    variant, size = as_text(as_table(value).get("variant")), as_table(value).get("minibatch_size")
    if not variant or len(variant) > LONGEST or not isinstance(size, int) or isinstance(size, bool):
        msg = "a variant or its minibatch size is missing"
        raise ValueError(msg)
    return Configuration(variant, size)
