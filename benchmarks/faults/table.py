"""Every fault of docs/reliability.md, at full length, and the card of what came of it.

Run from the repository's root on a quiet machine, as root: benchmarks/faults/run. A row that is there is not repeated
(runs/faults.json); --only NAME runs one.
"""

import argparse
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import bad_input
import damage
import disagreements
import disks
import elastic
import kills
import overhead
import stops
from trial import Row

from card import COMMIT, write_card

DONE = Path("runs/faults.json")
TRIALS: dict[str, Callable[[], Row | list[Row]]] = {
    "kill-ranks": lambda: kills.kill_ranks(50),
    "kill-launcher": kills.kill_launcher,
    "kill-in-save": lambda: kills.kill_in_save(300),
    "damage": lambda: damage.flip_and_cut(200, 50),
    "payloads": damage.payloads,
    "full-disk": disks.full_disk,
    "read-only": disks.read_only_folder,
    "stop": lambda: stops.stop_by_signal(20),
    "resume": lambda: stops.resume_with_other_processes(10),
    "nan": disagreements.nan_on_one_worker,
    "mismatches": disagreements.refuse_mismatches,
    "bit": disagreements.flip_a_bit,
    "bad-input": lambda: Row("bad image files, recipes and command lines", *bad_input.run(), is_kept=True),
    "torchrun": elastic.kill_under_torchrun,
    "elastic": elastic.come_and_go,
    "listeners": stops.listeners_of_one_machine,
    "costs": lambda: overhead.costs(5),
    "kill-a-minute": lambda: kills.kill_every_minute(20),
}


def attempt(name: str) -> Row | list[Row]:
    """Run a trial; one that breaks down falls short."""
    try:
        return TRIALS[name]()
    except (AssertionError, TimeoutError, OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
        return Row(name, "(see docs/reliability.md)", f"the trial broke down: {str(error)[-500:]!r}", is_kept=False)


def main() -> None:
    """Run what has not been run, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TRIALS, action="append")
    parser.add_argument("--again", action="store_true", help="repeat rows that are there")
    options = parser.parse_args()
    DONE.parent.mkdir(exist_ok=True)
    done = json.loads(DONE.read_text()) if DONE.exists() else {}
    for name in options.only or TRIALS:
        if name not in done or options.again:
            rows = attempt(name)
            done[name] = [{**asdict(row), "commit": COMMIT} for row in (rows if isinstance(rows, list) else [rows])]
            DONE.write_text(json.dumps(done, indent=2))
            print(*done[name], sep="\n", flush=True)
    rows = [row for name in TRIALS for row in done.get(name, [])]
    lines = [
        f"| {r['fault']} | {r['promise']} | {r['measured']} | {'kept' if r['is_kept'] else '**falls short**'} |"
        for r in rows
    ]
    table = "| fault | promise | measured | |\n|---|---|---|---|\n" + "\n".join(lines)
    commits = sorted({row["commit"] for row in rows})
    table += f"\n\nMeasured at {', '.join(commits)}. Each trial is a function in `benchmarks/faults/`."
    write_card("faults", "Faults: what is promised, and what was measured", rows, table)


if __name__ == "__main__":
    main()
