"""The card of a measurement: what was run, on which commit and machine, and what came of it."""

import json
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def write_card(name: str, title: str, result: Any, table: str) -> None:  # noqa: ANN401 - any JSON
    """Write benchmarks/results/NAME.json and NAME.md, and print the latter."""
    card = describe()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**card, "result": result}, indent=2) + "\n")
    write_text(name, title, table, card)


def describe() -> dict[str, str]:
    """Return command, commit, date and hardware."""
    return {
        "command": "python " + shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
        "commit": COMMIT,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}, {platform.system()}",
    }


def write_text(name: str, title: str, table: str, card: Mapping[str, str]) -> None:
    """Write benchmarks/results/NAME.md, and print it."""
    wrapper = textwrap.TextWrapper(118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    lines = "\n".join(wrapper.fill(f"- {key}: {value}") for key, value in card.items())
    text = f"# {title}\n\n{_wrapped(table)}\n\n{lines}\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def _wrapped(text: str) -> str:
    """Wrap all lines but the rows of tables."""
    wrapper = textwrap.TextWrapper(118, break_long_words=False, break_on_hyphens=False)
    lines = [[line] if line.startswith("|") else wrapper.wrap(line) or [""] for line in text.splitlines()]
    return "\n".join(line for part in lines for line in part)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


COMMIT = _commit()  # of what the measurement started with


def _processor() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return models[0].split(":")[1].strip() if models else platform.processor()
