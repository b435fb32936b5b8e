"""Train a preset once at its reference, and write the card of the run.

Run from the repository's root, on a quiet machine: python benchmarks/reference_run.py fashion-mnist.
"""

import subprocess
import sys
import time
from pathlib import Path

from bigbatch.runs.folder import RunFolder
from card import write_card


def main() -> None:
    """Train, and write benchmarks/results/PRESET_reference.{json,md}."""
    name = sys.argv[1]
    folder = RunFolder(Path(f"runs/{name}-reference-{time.strftime('%Y%m%d-%H%M%S')}"))
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "bigbatch", "train", name, "--output", str(folder.path)], check=True)
    seconds = time.monotonic() - start
    summary, recipe = folder.read_summary(), folder.recipe
    errors = [epoch.result for epoch in folder.read_epochs() if epoch.result is not None]
    rows = {
        "minibatch, rate": f"{recipe.minibatch_size}, {recipe.base_learning_rate:g}",
        "epochs": recipe.epochs,
        "processes": summary.attempt.processes,
        "validation error (median of the last 5 epochs)": f"**{summary.result:.2f} %**",
        "final validation error": f"{summary.final_result:.2f} %",
        "seconds, start-up included": f"**{seconds:.0f}**",
        "weights_sha256": summary.weights_sha256,
        "each epoch's error, %": ", ".join(f"{error:.2f}" for error in errors),
    }
    table = "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    result = {"seconds_in_all": seconds, "validation_errors": errors, **summary.to_json()}
    del result["argv"], result["host"], result["git"], result["attempts"]  # of the machine; the card says what matters
    write_card(f"{name.replace('-', '_')}_reference", f"{name} at its reference, one seed", result, table)


if __name__ == "__main__":
    main()
