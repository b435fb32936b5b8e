"""The card: what the sections have found, as Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import Record


def write_card(folder: Path, records: list[Record]) -> str:
    """Write card.md into the folder, and return it."""
    broken = [f"{r.section}: {name}" for r in records for name, is_held in r.promises.items() if not is_held]
    failed = [f"{r.section}: {r.error or r.status}" for r in records if r.status != "done"]
    verdict = "All promises held." if not broken + failed else "NOT all promises held:"
    lines = ["# One GPU", "", verdict, *(f"- {fault}" for fault in broken + failed)]
    for record in records:
        lines += ["", f"## {record.section}: {record.status}, {record.seconds} s", "", *_rows(record)]
    text = "\n".join(lines) + "\n"
    (folder / "card.md").write_text(text)
    return text


def _rows(record: Record) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, is_held in record.promises.items():
        yield f"| {name} | {'yes' if is_held else '**NO**'} |"
    for name, value in record.values.items():
        yield f"| {name} | {_text(value)} |"
    for name, reason in record.left_out.items():
        yield f"| {name} | left out: {_text(reason)} |"


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 - three digits are enough
    return " ".join(str(value).split()).replace("|", "/")
