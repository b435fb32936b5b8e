"""The contract between two runs: which of their recorded facts can change the bits, and which cannot.

A run's bits depend on its recipe, the data, the code, the packages and the device. They do not depend on the number of
processes, the machine or restarts, as long as the sum over the processes is exact.
"""

import re
from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe import NOT_OF_THE_RESULT, flat_fields
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.json_table import as_table, as_text
from bigbatch.runs.record import RunRecord

PACKAGES: Final = ("torch", "numpy", "python", "bigbatch")
FOR_PEOPLE: Final = ("name", "reference.largest_matching")  # fields of a recipe that training does not use
MEMORY_FORMAT_BEFORE: Final = "torch.channels_last"  # of older runs, which do not record it
ON_NONFINITE: Final = "launch.on_nonfinite"
HASH: Final = re.compile(r"[0-9a-f]{40,}")
HASH_DIGITS: Final = 12
LONGEST: Final = 200  # characters of a value that are shown


@dataclass(frozen=True)
class Difference:
    """A fact that differs between two runs; None where a run does not record it."""

    name: str
    old: object
    new: object


def differences_by_contract(old: RunRecord, new: RunRecord) -> tuple[list[Difference], list[Difference]]:
    """Return two lists: differences inside the contract, which cannot change the bits, and those outside, which can."""
    before, after = facts_of(old), facts_of(new)
    differing = [
        Difference(name, before.get(name), after.get(name))
        for name in before | after
        if repr(before.get(name)) != repr(after.get(name))
    ]
    inside = [difference for difference in differing if is_inside(difference.name, old, new)]
    outside = [difference for difference in differing if not is_inside(difference.name, old, new)]
    return inside, [*outside, *_contradictions(old), *_contradictions(new)]


def facts_of(run: RunRecord) -> dict[str, object]:
    """Return every recorded fact that a run was made from, the recipe first; None for what is not recorded.

    A value that changed between the attempts of the run reads "1, then 2".
    """
    code = run.summary.attempt.code
    return {
        **run.recipe_fields,
        "data_fingerprint": run.summary.data_fingerprint,
        "initial_weights": (run.summary.initial_weights or {}).get("sha256"),
        **{f"code.{module}": _history(run, "code", module) or sha256 for module, sha256 in code.items()},
        **{f"git.{key}": _history(run, "git", key) for key in ("commit", "dirty")},
        **{package: _history(run, "versions", package) for package in PACKAGES},
        "device": _history(run, "device"),
        **{f"engine.{name}": _history(run, "engine", name) for name in run.summary.attempt.engine},
        "host.machine": _history(run, "host", "machine"),
        "threads_per_process": _history(run, "threads_per_process"),
        "default_dtype": _history(run, "default_dtype"),
        "memory_format": _history(run, "memory_format") or MEMORY_FORMAT_BEFORE,
        "reduction": run.summary.reduction,
        "processes": _history(run, "processes"),
        "all_reduce": _all_reduce(run),
        **{f"host.{key}": _history(run, "host", key) for key in ("system", "cores")},
        "attempts": _attempts(run),
    }


def _contradictions(run: RunRecord) -> list[Difference]:
    """Return the fields in which a run's recipe.toml and run.json differ: one of the files was changed afterwards."""
    try:
        written, recorded = flat_fields(RunFolder(run.path).recipe.to_dict()), flat_fields(run.recipe.to_dict())
    except InputError:
        return []
    return [
        Difference(f"{name} in recipe.toml and run.json of {run.path}", written.get(name), recorded.get(name))
        for name in written | recorded
        if repr(written.get(name)) != repr(recorded.get(name)) and not name.startswith(NOT_OF_THE_RESULT)
    ]


def _history(run: RunRecord, *path: str) -> object:
    values = run.each_attempt(*path)
    return values[0] if len(values) == 1 else ", then ".join(map(str, values)) or None


def _all_reduce(run: RunRecord) -> str | None:
    """Return the algorithm that was asked for, and those that it chose."""
    described = run.summary.attempt.all_reduce
    chosen = dict.fromkeys(map(str, as_table(described.get("chosen_by_bytes")).values()))
    asked = as_text(described.get("algorithm"))
    return f"{asked} ({', '.join(chosen)})" if asked and chosen else asked


def _attempts(run: RunRecord) -> str:
    """Return how often the run was started, and why it was started again."""
    reasons = [reason for attempt in run.attempts if (reason := attempt.after)]
    return f"{len(run.attempts)} ({'; '.join(reasons)})" if reasons else str(len(run.attempts))


def is_inside(name: str, old: RunRecord, new: RunRecord) -> bool:
    """Tell whether a difference in this fact cannot change the bits of these two runs."""
    if name == ON_NONFINITE:  # it has no effect unless something is not finite
        return not any(line.skipped for run in (old, new) for line in run.iterations)
    if name in {"processes", "all_reduce"}:  # the backend's own sum depends on the processes
        return not any(run.summary.reduction == NATIVE for run in (old, new))
    if name == "model.weights":  # where the file lies, if both have started from the same
        return all(run.summary.initial_weights for run in (old, new)) and _starts_alike(old, new)
    if name.startswith("git."):  # a user's module may import other source, which is not hashed
        return all(run.summary.attempt.code.keys() == {"bigbatch"} for run in (old, new))
    return name in {"host.system", "host.cores", "attempts", *FOR_PEOPLE} or name.startswith(NOT_OF_THE_RESULT)


def _starts_alike(old: RunRecord, new: RunRecord) -> bool:
    return facts_of(old)["initial_weights"] == facts_of(new)["initial_weights"]


def in_words(value: object) -> str:
    """Return a recorded value as text: floats to the last bit, hashes by their first digits.

    >>> in_words(None), in_words(0.1 + 0.2), in_words("ab" * 32), in_words(("crop", "flip"))
    ('not recorded', '0.30000000000000004', 'abababababab', 'crop, flip')
    """
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "none"
    text = str(value)
    if HASH.fullmatch(text):
        return text[:HASH_DIGITS]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
