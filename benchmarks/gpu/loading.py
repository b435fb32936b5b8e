"""JPEG files end to end, and how long training waits for a checkpoint."""

import os
import time
from pathlib import Path

import numpy as np

import training
from bench import Bench
from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.saving import Snapshot
from bigbatch.checkpoint.staging import Staging
from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_folder import ImageFolder
from bigbatch.data.minibatches import Minibatches
from bigbatch.processes.numerics import reproducible_numerics
from training import LONG, SHORT, Task

WIDTH, HEIGHT = 500, 375


def run(bench: Bench) -> None:
    """Time both."""
    task = SHORT if bench.is_short else LONG
    with reproducible_numerics(1):
        bench.measure("JPEG files", lambda: read_and_train(bench, task), seconds=30)
        bench.measure("ms that training waits for a checkpoint", lambda: checkpoint_waits(bench, task), seconds=5)


def read_and_train(bench: Bench, task: Task) -> dict[str, float]:
    """Return images/s of reading alone, and of reading and training."""
    folder = write_images(bench.folder / "images", 16 if bench.is_short else 2048)
    readers = 0 if bench.is_short else min(16, len(os.sched_getaffinity(0)))
    dataset = ImageFolder(ClassFolders(folder).list(), task.image_size, ("random-resized-crop", "flip"))
    sizes = {"minibatch_size": task.minibatch_size, "worker_minibatch_size": task.worker_minibatch_size}
    minibatches = Minibatches(dataset, **sizes, device=bench.device, loader_workers=readers)
    model = training.build(task, bench.device)
    step = training.make_step(task, model, training.sgd(model))
    found: dict[str, float] = {"readers": readers}
    for name, take in (("reading", list), ("reading and training", step)):
        start, count = time.perf_counter(), 0
        for minibatch in minibatches.epochs(1):
            take(minibatch)
            count += task.minibatch_size
        bench.wait()
        found[f"images/s, {name}"] = count / (time.perf_counter() - start)
    return found


def write_images(folder: Path, count: int) -> Path:
    """Write smooth random JPEGs of two classes."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT)).save(folder / "ab"[number % 2] / f"{number}.jpg", quality=90)
    return folder


def checkpoint_waits(bench: Bench, task: Task) -> dict[str, float]:
    """Return the milliseconds of the copy, the first time and later."""
    model = training.build(task, bench.device)
    optimizer = training.sgd(model)
    training.make_step(task, model, optimizer)(training.batches(task, range(task.worker_count), 0, bench.device))
    found, staging = {}, Staging()
    for name in ("first", "second", "third"):
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        bench.wait()
        start = time.perf_counter()
        Snapshot.of(state, Position(1, 0, 0, None, "lower"), "", staging)
        found[name] = 1000 * (time.perf_counter() - start)
        bench.wait()  # as the writer does, before the next one
    return found
