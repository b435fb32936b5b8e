"""Observers and hooks: good ones, and ones that must not touch a training."""

import json
import os
import time
from pathlib import Path

import torch


def notes(record):
    """Keep each line, and where the run is."""
    folder = Path(os.environ["BIGBATCH_RUN_FOLDER"])
    with (folder / "noted.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def fails(record):
    """Fail with the first line."""
    msg = f"boom at {record['iteration']}"
    raise ValueError(msg)


def hangs(_record):
    """Draw random numbers, and never return."""
    torch.rand(3)
    time.sleep(1e6)


def dies(_record):
    """End without a word."""
    os._exit(9)


class SeesTheEnd:
    """Notes, when the training has ended, what run.json says."""

    def __call__(self, _record):
        """Take no notice of a line."""

    def close(self):
        """Read run.json."""
        folder = Path(os.environ["BIGBATCH_RUN_FOLDER"])
        (folder / "seen.txt").write_text(json.loads((folder / "run.json").read_text())["status"])


sees_the_end = SeesTheEnd()


def looks(moment):
    """Note the moments, and draw random numbers."""
    torch.rand(3)
    with Path(f"moments-{moment.rank}.txt").open("a") as file:
        file.write(f"{moment.when} {moment.epoch} {moment.iteration}\n")


@torch.no_grad()
def touches(moment):
    """Change a weight."""
    if moment.when == "after step":
        next(moment.model.parameters()).add_(1e-3)


def raises(moment):
    """Fail in the second step."""
    if moment.when == "before step" and moment.iteration == 1:
        msg = "no more"
        raise RuntimeError(msg)
