"""One process of a group, or alone: trainings of several tasks; rank 0 writes what must not depend on the processes.

Usage: task_law.py FOLDER
"""

import json
import os
import sys
from pathlib import Path

import bigbatch
from bigbatch.recipe.file import from_table

sys.path.insert(0, str(Path(__file__).parent.parent))
TASKS = {
    "regression": {"loss": "mean-squared-error", "metrics": ["mean-loss", "user_tasks:LargestError"]},
    "multi-label": {"loss": "binary-cross-entropy", "metrics": ["user_tasks:LabelAccuracy", "mean-loss"]},
    "segmentation": {"loss": "user_tasks:masked_pixels", "metrics": ["mean-iou", "mean-loss"]},
    "language": {"objective": "user_tasks:following_token", "metrics": ["perplexity", "mean-loss"]},
}


def recipe_of(kind, **changes):
    """Return a short recipe of a task."""
    table = {
        "name": kind,
        "minibatch_size": 16,
        "worker_minibatch_size": 4,
        "epochs": 2,
        "reference": {"minibatch_size": 16, "learning_rate": 0.1},
        "model": {"name": "user_tasks:model", "arguments": {"kind": kind}},
        "data": {"name": "user_tasks:data", "arguments": {"kind": kind}},
        "evaluation": {"part_size": 8},
    }
    return from_table({**table, **TASKS.get(kind, {}), **changes})


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with bigbatch.joined() as machine:
        found = {}
        for kind in TASKS:
            folder = bigbatch.RunFolder(target / kind)
            summary = bigbatch.train(recipe_of(kind), folder, machine)
            lines = [line.validation for line in folder.read_epochs()] if machine.processes.rank == 0 else []
            found[kind] = [summary.weights_sha256, summary.metric.to_json(), summary.result, lines]
        if machine.processes.rank == 0:
            (target / "found.json").write_text(json.dumps(found))
    os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
