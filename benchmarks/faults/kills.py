"""kill -9: of a rank, of the launcher, inside a save."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import torch
from trial import EPOCHS, TINY, Row, Trial, is_alive, stale, undisturbed_sha256

from bigbatch.checkpoint.loading import load_last_good
from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.saving import Snapshot, remove_leftovers, save_checkpoint
from bigbatch.recipe.file import to_toml
from bigbatch.recipe.presets import digits

START_UP = "import torch, bigbatch.training.trainer, torch._dynamo; torch.use_deterministic_algorithms(True)"


def kill_ranks(
    times: int, *, kills_a_run: int = 5, epochs: int = 100, processes: int = 2, seed: int = 0, limit: float = 10
) -> Row:
    """Kill a random rank at a random moment: while it starts, steps, evaluates or saves."""
    chance = random.Random(seed)
    recipe = (*TINY, "--epochs", epochs)
    seconds, num_same, num_runs = [], 0, -(-times // kills_a_run)
    with TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        options = ("--save-every-iterations", 5, "--max-restarts", kills_a_run, "--processes", processes)
        for number in range(num_runs):
            trial = Trial(Path(name) / str(number), *recipe, *options).start()
            seconds += [kill_one(trial, chance) for _ in range(kills_a_run)]
            num_same += trial.wait() == 0 and trial.summary()["weights_sha256"] == expected
            assert not trial.stale_files()
    start_up = start_up_seconds(processes)
    late = (quantiles(seconds, n=20, method="inclusive")[-1] if times > 1 else seconds[0]) - start_up
    return Row(
        f"kill -9 of a random rank at a random moment, {len(seconds)} times in {num_runs} runs",
        "all recover; the undisturbed run's weights; training again "
        f"within {limit:g} s (95th percentile) besides start-up",
        f"{num_same} of {num_runs} runs end with the undisturbed weights; {late:.1f} s + {start_up:.1f} s of start-up",
        num_same == num_runs and late <= limit,
    )


def kill_one(trial: Trial, chance: random.Random) -> float:
    """Kill a rank after a random time, and return the seconds until metrics come again."""
    trial.wait_for(trial.workers)
    time.sleep(chance.uniform(0, 7))  # the random moment: start-up takes about half of it
    trial.wait_for(trial.workers)
    pid = chance.choice(list(trial.workers().values()))
    attempts = trial.num_attempts()
    assert trial.kill(pid)
    seconds = trial.wait_for(lambda: trial.num_attempts() > attempts)
    before = trial.num_metrics()
    return seconds + trial.wait_for(lambda: trial.num_metrics() > before)


@cache
def start_up_seconds(processes: int) -> float:
    """Return how long so many processes need to import what a training needs; the median of three."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        together = [subprocess.Popen([sys.executable, "-c", START_UP]) for _ in range(processes)]
        assert not any(process.wait() for process in together)
        times.append(time.monotonic() - start)
    return median(times)


def kill_launcher(*, processes: int = 3) -> Row:
    """Kill the launcher; look for its workers; start again, twice at once."""
    recipe = (*TINY, "--epochs", EPOCHS)
    with TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        trial = Trial(Path(name) / "run", *recipe, "--processes", processes).start()
        trial.wait_for(lambda: len(trial.iterations()) > 60)  # noqa: PLR2004 - somewhere in the training
        workers = list(trial.workers().values())
        trial.kill(trial.launcher())
        trial.wait()
        start = time.monotonic()
        while any(map(is_alive, workers)) and time.monotonic() - start < 30:  # noqa: PLR2004
            time.sleep(0.01)
        gone = time.monotonic() - start
        trial.start("--resume")
        trial.wait_for(lambda: (trial.folder / ".lock").exists() and "goes on from" in trial.printed())
        second = Trial(trial.folder, *recipe, "--resume", "--processes", processes)
        second.log = Path(name) / "second.log"
        refused = second.run()
        is_same = trial.wait() == 0 and trial.summary()["weights_sha256"] == expected
        is_refused = refused == 2 and "another process is writing the run" in second.printed()  # noqa: PLR2004
    return Row(
        "launcher killed",
        "no worker alive after 5 s; a second writer refused, a restart resumes",
        f"gone after {gone:.2f} s; second writer {'refused' if is_refused else f'NOT refused ({refused})'}; "
        f"the restart ends with {'the undisturbed' if is_same else 'OTHER'} weights",
        gone <= 5 and is_refused and is_same,  # noqa: PLR2004
    )


def kill_in_save(times: int, *, megabytes: int = 4, seed: int = 0) -> Row:
    """Kill a process that saves, again and again; each time look at what it has left."""
    torch.set_num_threads(1)  # a forked process has none of the others
    chance, recipe = random.Random(seed), digits()
    rest = {"buffers": {}, "optimizer": {}, "results": []}
    rest |= {"epoch_loss": 0.0, "epoch_updates": 0, "course": {}, "seconds": 0.0}
    state = {"model": {"w": torch.randn(megabytes << 18)}, **rest}
    like, num_lost, num_stale, iteration = state["model"], 0, 0, 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        save_checkpoint(folder, Snapshot.of(state, Position(1, 16, 0, None, "lower"), to_toml(recipe)), keep=2)
        longest = 5 * (time.monotonic() - start)
        for _ in range(times):
            child = os.fork()
            if child == 0:
                _save_forever(folder, state, to_toml(recipe), first=iteration + 1)
            time.sleep(chance.uniform(0, longest))  # the random moment
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            remove_leftovers(folder)
            found, refused = load_last_good(folder, recipe=recipe, like=like)
            assert found is None or torch.equal(found[1]["model"]["w"], like["w"])
            num_lost += found is None or found[0].iteration < iteration or bool(refused)
            iteration = found[0].iteration if found else 1
            num_stale += bool(stale([path.name for path in folder.iterdir()]))
    assert iteration > times / 4, "they must have come so far as to save"
    return Row(
        f"kill -9 inside the save, {times} times ({iteration - 1} saves were completed)",
        "0 runs that cannot resume, 0 stale files after the next start",
        f"{num_lost} that cannot resume, {num_stale} with stale files",
        num_lost == num_stale == 0,
    )


def _save_forever(folder: Path, state: dict[str, dict[str, torch.Tensor]], recipe: str, *, first: int) -> None:
    try:
        for iteration in range(first, first + 100_000):
            snapshot = Snapshot.of(state, Position(iteration, 16 * iteration, 0, None, "lower"), recipe)
            save_checkpoint(folder, snapshot, keep=2)
    finally:
        os._exit(1)


def kill_every_minute(minutes: float, *, processes: int = 2, seconds_between: float = 60.0) -> Row:
    """Kill a rank every minute, and compare the iterations that count with those of the same time without faults."""
    recipe = ("train", "digits", "--minibatch-size", 256, "--epochs", 100_000, "--set", "schedule.kind=constant")
    options = ("--processes", processes, "--max-restarts", 1000, "--save-every-seconds", 1, "--save-every-epochs", 100)
    chance = random.Random(0)
    with TemporaryDirectory() as name:
        trial = Trial(Path(name) / "run", *recipe, *options).start()
        trial.wait_for(lambda: len(trial.iterations()) > 100)  # noqa: PLR2004 - it is under way
        begin, first = time.monotonic(), max(trial.iterations())
        time.sleep(30)
        rate = (max(trial.iterations()) - first) / (time.monotonic() - begin)  # undisturbed
        begin, first, num_kills = time.monotonic(), max(trial.iterations()), 0
        while time.monotonic() - begin < 60 * minutes:
            time.sleep(seconds_between)
            trial.wait_for(trial.workers)
            num_kills += trial.kill(chance.choice(list(trial.workers().values())))
        seconds = time.monotonic() - begin
        done = max(trial.iterations()) - first
        trial.kill(trial.launcher(), signal.SIGTERM)
        trial.wait()
    share = done / (rate * seconds)
    return Row(
        f"a kill every {seconds_between:.0f} s for {minutes:g} minutes ({num_kills} kills)",
        "at least 90 % of the time is spent on progress that counts",
        f"{share:.1%}",
        share >= 0.9,  # noqa: PLR2004
    )
