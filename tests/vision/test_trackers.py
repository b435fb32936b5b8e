"""What each tracker has written, opened by its own tool."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bigbatch.recipe.file import to_toml
from bigbatch.recipe.presets import digits

LINES = (
    {"iteration": 0, "loss": 2.5, "learning_rate": 0.1, "skipped": False},
    {"iteration": 1, "loss": 2.0, "learning_rate": 0.2, "skipped": False},
    {"epoch": 1, "iteration": 2, "loss": 2.25, "validation": {"top-1-error": 40.0}, "seconds": 1.0},
)
LOSSES = [(1, 2.5), (2, 2.0)]
ERRORS = [(2, 40.0)]


def tensorboard(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def wandb(folder, name):
    """Ask W&B which runs it would upload, and read its file: records of its own protocol, each after a header."""
    from wandb.proto.wandb_internal_pb2 import Record

    command = [sys.executable, "-m", "wandb", "sync", "--dry-run"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert path.stem.removeprefix("run-") in listed.stdout + listed.stderr
    data, at, found = path.read_bytes(), 7, []
    while at + 7 <= len(data):
        _, size, _ = struct.unpack_from("<IHB", data, at)
        record = Record.FromString(data[at + 7 : at + 7 + size])
        at += 7 + size
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        found += [(items["_step"], items[name])] if name in items else []
    return found


def mlflow(folder, name):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'bigbatch'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["minibatch_size"] == "16"
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def trackio(folder, name):
    with sqlite3.connect(folder / "trackio" / "bigbatch.db") as database:
        rows = database.execute("select step, metrics from metrics order by step").fetchall()
    tables = [(step, json.loads(text)) for step, text in rows]
    return [(step, table[name]) for step, table in tables if name in table]


@pytest.mark.filterwarnings("ignore:::sqlalchemy", "ignore:The ``noload``")
@pytest.mark.parametrize("read", [tensorboard, wandb, mlflow, trackio])
def test_a_trackers_own_tool_reads_what_it_was_told(read, tmp_path):
    name = read.__name__
    (tmp_path / "recipe.toml").write_text(to_toml(digits()))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    words = [sys.executable, "-m", "bigbatch.integrations.observer", str(tmp_path), name, "0"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert read(tmp_path, "train/loss") == LOSSES
    assert read(tmp_path, "validation/top-1-error") == ERRORS
    assert Path(tmp_path / name).is_dir()
