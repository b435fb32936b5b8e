"""The digests of operations on several processors, compared, as a table."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

SAME, REFUSED, WRONG = "same", "refused", "emulated wrongly"
LARGEST: Final = 1e-3  # share by which numbers may differ for rounding's sake

Digests = Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]]  # by family, operation, dtype, direction
Cells = dict[str, dict[str, dict[str, str]]]  # by family, operation, processor


def compared(by_cpu: Mapping[str, Digests]) -> Cells:
    """Compare each processor with the first one.

    Returns:
        For each operation and processor: "same", what differs, or "emulated wrongly" where a difference is larger than
        rounding's, so that the emulator says nothing.
    """
    first, *others = by_cpu
    return {
        family: {
            operation: {cpu: _cell(dtypes, by_cpu[cpu][family][operation]) for cpu in others}
            for operation, dtypes in operations.items()
        }
        for family, operations in by_cpu[first].items()
    }


def _cell(here: Mapping[str, Mapping[str, str]], there: Mapping[str, Mapping[str, str]]) -> str:
    differing: dict[str, list[str]] = {}
    for dtype, directions in here.items():
        for direction, digest in directions.items():
            other = there[dtype].get(direction, REFUSED)
            if digest == other or direction == REFUSED:
                continue
            if other == REFUSED or _size(digest, other) > LARGEST:
                return WRONG
            differing.setdefault(dtype, []).append(direction)
    return "; ".join(f"{dtype} {', '.join(directions)}" for dtype, directions in differing.items()) or SAME


def _size(digest: str, other: str) -> float:
    """Return by what share the sums of the numbers differ."""
    a, b = float(digest.split()[1]), float(other.split()[1])
    return abs(a - b) / max(abs(a), abs(b), 1e-30)


def operations_table(found: Mapping[str, Any]) -> str:
    """Return how many operations are the same by family, and each one that is not, by processor."""
    cpus = next(iter(next(iter(found["portable"].values())).values()))
    lines = [facts_of(found), ""]
    for numerics in ("portable", "native"):
        lines += [f"## {numerics.capitalize()} numerics", "", f"| operations | {' | '.join(cpus)} |"]
        lines.append("|---" * (len(cpus) + 1) + "|")
        for family, operations in found[numerics].items():
            counts = (sum(cells[cpu] == SAME for cells in operations.values()) for cpu in cpus)
            lines.append(f"| {family} | {' | '.join(f'{count} of {len(operations)}' for count in counts)} |")
        lines.append("")
    lines += ["## What differs with portable numerics", "", f"| operation | {' | '.join(cpus)} |"]
    lines.append("|---" * (len(cpus) + 1) + "|")
    lines += _differing(found["portable"])
    lines += ["", "## What is the same everywhere with portable numerics", ""]
    for family, operations in found["portable"].items():
        same = [name for name, cells in operations.items() if set(cells.values()) == {SAME}]
        lines += [f"{family.capitalize()}: {', '.join(same)}.", ""]
    return "\n".join(lines).rstrip()


def facts_of(found: Mapping[str, Any]) -> str:
    """Say how the operations were compared."""
    capabilities = found["capabilities"]
    facts = (
        f"torch {found['torch']}; here it computes natively with {capabilities['native']['here']}, portably with "
        f"{capabilities['portable']['here']}."
    )
    if len(capabilities["portable"]) == 1:
        return f"Each operation was computed here. {facts}"
    return (
        f'Each operation was computed here and on emulated processors; "same" is the bits of here, forward and '
        f"backward, in float32 and, where that makes sense, in bfloat16 and float64. {facts}"
    )


def _differing(families: Cells) -> Iterator[str]:
    for operations in families.values():
        for name, cells in operations.items():
            if set(cells.values()) != {SAME}:
                yield f"| {name} | {' | '.join(cells.values())} |"


def bits_of(digests: Digests) -> dict[str, str]:
    """Return a digest for each operation, of all that it gave."""
    return {
        operation: hashlib.sha256(json.dumps(dtypes, sort_keys=True).encode()).hexdigest()[:12]
        for operations in digests.values()
        for operation, dtypes in operations.items()
    }


def condensed(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found without the operations that are the same everywhere, but for the bits that they gave."""
    differing = {
        numerics: {
            name: cells
            for operations in found[numerics].values()
            for name, cells in operations.items()
            if set(cells.values()) != {SAME}
        }
        for numerics in ("portable", "native")
    }
    return {**found, **differing}


def other_version(found: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Say which operations have other bits here with another version of torch, with portable numerics."""
    names = [name for name, bits in found["bits"].items() if other["bits"].get(name, bits) != bits]
    total = len(found["bits"].keys() & other["bits"].keys())
    same = f"{total - len(names)} of {total} operations have the bits of torch {other['torch']}"
    return f"\n\n## Beside torch {other['torch']}\n\n{same}" + (f"; others have {', '.join(names)}." if names else ".")
