"""Every all-reduce over an emulated network, beside the backend's own: 2 to 16 hosts on one machine.

Run from the repository's root, as root: python benchmarks/network/all_reduce.py [--rate 1000] [--hosts 2,4,8,16].
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from emulation import Link, emulated_network, missing, run_group

from bigbatch.planning.communication_figures import draw_all_reduces, size_in_words
from card import RESULTS, write_card


def bench(num_hosts: int, link: Link, sizes: str, seconds: float) -> dict[str, Any]:
    """Run `bigbatch bench all-reduce` on every host."""
    command = [sys.executable, "-m", "bigbatch", "bench", "all-reduce", "--json"]
    command += ["--sizes", sizes, "--seconds", str(seconds), "--timeout", "600"]
    with emulated_network(num_hosts, link) as names:
        result: dict[str, Any] = json.loads(run_group(names, command, timeout_seconds=3600))
    return result


def table_of(result: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    rows = result["seconds_by_bytes"]
    names = list(next(iter(rows.values())))
    lines = [f"| {result['processes']} hosts | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for size, timings in rows.items():
        cells = [
            f"{1e3 * t['median']:.3g} ({1e3 * t['lower']:.3g} to {1e3 * t['upper']:.3g}) **{t['ratio']:.2f}**"
            for t in (timings[name] for name in names)
        ]
        lines.append(f"| {size_in_words(int(size))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all numbers of hosts and write the card and a figure for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="Mbit/s of each link (default 1000)")
    parser.add_argument("--delay", type=float, default=1.0, help="milliseconds one way (default 1)")
    parser.add_argument("--hosts", default="2,4,8,16", help="numbers of hosts (default 2,4,8,16)")
    parser.add_argument("--sizes", default="4KB,16KB,64KB,256KB,1MB,10MB,100MB", help="of the buffers")
    parser.add_argument("--seconds", type=float, default=30.0, help="about how long a size may take (default 30)")
    options = parser.parse_args()
    if lack := missing():
        sys.exit(f"no emulated network here: {lack}; nothing was run")
    link = Link(options.rate, options.delay)
    name = f"network_all_reduce_{options.rate:g}mbit"
    results = []
    for num_hosts in map(int, options.hosts.split(",")):
        results.append(bench(num_hosts, link, options.sizes, options.seconds))
        print(table_of(results[-1]), flush=True)
        RESULTS.mkdir(exist_ok=True)
        draw_all_reduces(results[-1], RESULTS / f"{name}_{num_hosts}.png")
    header = (
        f"The network is emulated: each host has a link of {options.rate:g} Mbit/s, {options.delay:g} ms one way. All "
        "hosts run on one machine of two cores. Cells: milliseconds, median (quartiles) over the rounds, and the "
        "**ratio** to the native all-reduce, taken round by round.\n\n"
    )
    write_card(name, "All-reduces over an emulated network", results, header + "\n\n".join(map(table_of, results)))


if __name__ == "__main__":
    main()
