"""How fast is the exact step beside a plain DDP loop? `bigbatch bench step` for several recipes, on a quiet machine.

Run from the repository's root: python benchmarks/step_speed.py [NAME [OPTION ...]], with the card's name, and
options for `bench step`.
"""

import json
import subprocess
import sys

from card import write_card

CASES = [
    ("digits", "256", "1"),
    ("digits", "256", "2"),
    ("fashion-mnist", "256", "1"),
    ("fashion-mnist", "256", "2"),
    ("cifar10", "256", "1"),
    ("cifar10", "256", "2"),
]


def bench(recipe: str, minibatch_size: str, processes: str) -> dict[str, float | int | str]:
    """Run one case."""
    command = [sys.executable, "-m", "bigbatch", "bench", "step", recipe, "--json", "--rounds", "9"]
    command += ["--minibatch-size", minibatch_size, "--processes", processes, *sys.argv[2:]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float | int | str] = json.loads(done.stdout)
    return result


def main() -> None:
    """Run every case and write the card."""
    results = [bench(*case) for case in CASES]
    rows = [
        f"| {r['recipe']}, {r['model']} | {r['minibatch_size']} / {r['worker_minibatch_size']} | {r['processes']} | "
        f"{r['images_per_second']:,.0f} | {r['plain_images_per_second']:,.0f} | **{r['ratio']:.3f}** "
        f"({r['ratio_least']:.3f} to {r['ratio_largest']:.3f}) |"
        for r in results
    ]
    header = (
        "Medians over 9 pairs of turns of about 2 s each, in turn within one run. The ratio is taken pair by pair. The "
        "plain loop runs in our processes, and so keeps freed memory too (allocator.md); the race has loops of their "
        "own processes.\n\n"
        "| recipe, model | minibatch / worker | processes | exact, images/s | plain DDP, images/s | ratio |\n"
        "|---|---|---|---|---|---|\n"
    )
    name = sys.argv[1] if len(sys.argv) > 1 else "step_speed"
    write_card(name, "Exact step against a plain DDP loop", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
