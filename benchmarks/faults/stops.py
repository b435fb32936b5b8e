"""Polite ends and resumptions: nothing is lost, and nothing changes, whatever the number of processes."""

import json
import random
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from trial import EPOCHS, TINY, TINY_STEPS_AN_EPOCH, Row, Trial, undisturbed_sha256

SECONDS_TO_LEAVE = 20
STOPPED = 75


def stop_by_signal(times: int, *, first: int = 1, seed: int = 0) -> Row:
    """Send SIGTERM at a random moment of a training in `first` to 4 processes, go on, and compare."""
    chance = random.Random(seed)
    recipe = (*TINY, "--epochs", EPOCHS)
    slowest, num_good, num_same, iterations = 0.0, 0, 0, []
    with TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        for number in range(times):
            processes = first + number % (5 - first)
            trial = Trial(Path(name) / str(number), *recipe, "--processes", processes).start()
            trial.wait_for(trial.iterations)
            time.sleep(chance.uniform(0, 2))  # the random moment
            start = time.monotonic()
            trial.kill(trial.launcher(), signal.SIGTERM)
            exit_code = trial.wait()
            slowest = max(slowest, time.monotonic() - start)
            at = trial.summary()["iterations"]
            iterations.append(at)
            is_whole = sorted(trial.iterations()) == list(range(at)) and not trial.stale_files()
            num_good += exit_code == STOPPED and trial.summary()["status"] == "stopped" and is_whole
            ended = trial.run("--resume")
            goes_on = trial.summary()["attempts"][-1]["from_sample"] == 64 * at
            num_same += ended == 0 and goes_on and trial.summary()["weights_sha256"] == expected
    return Row(
        f"SIGTERM at a random iteration ({min(iterations)} to {max(iterations)}), {times} times, {first}-4 processes",
        f"same iteration on all ranks, out within {SECONDS_TO_LEAVE} s, 0 iterations lost",
        f"{num_good} of {times} stopped with exit code {STOPPED}, the slowest in {slowest:.1f} s; {num_same} of "
        f"{times} went on at that very iteration and end with the undisturbed weights",
        num_good == num_same == times and slowest <= SECONDS_TO_LEAVE,
    )


def resume_with_other_processes(times: int, *, seed: int = 0) -> Row:
    """Stop at random iterations, and go on with another number of processes each time: 2, 1, 4, 3, 2, ..."""
    chance = random.Random(seed)
    epochs = 1 + 2 * times // TINY_STEPS_AN_EPOCH + 2
    recipe = (*TINY, "--epochs", epochs, "--set", "model.dropout=0.2", "--set", 'data.augmentation=["crop", "flip"]')
    stops = sorted(chance.sample(range(1, epochs * TINY_STEPS_AN_EPOCH), times))
    with TemporaryDirectory() as name:
        alone = Trial(Path(name) / "alone", *recipe, "--processes", 1)
        assert alone.run() == 0, alone.printed()
        trial = Trial(Path(name) / "parts", *recipe)
        order = [(2, 1, 4, 3)[number % 4] for number in range(times + 1)]
        for processes, stop in zip(order, (*stops, None), strict=True):
            until = ("--stop-after-iteration", str(stop)) if stop else ()
            assert trial.run("--resume", "--processes", str(processes), *until) == 0, trial.printed()
        last = f"checkpoints/iteration-{epochs * TINY_STEPS_AN_EPOCH:09d}-*.safetensors"
        ends = [_without_seconds(next(run.folder.glob(last))) for run in (alone, trial)]
        is_same_state = ends[0] == ends[1]
        is_same_course = alone.iterations() == trial.iterations()
    return Row(
        f"resumed at {times} random iterations with 2, 1, 4, 3, ... processes",
        "all state equal to the bit",
        f"model, optimizer and position {'equal' if is_same_state else 'DIFFER'}; loss and rate of every iteration "
        f"{'equal' if is_same_course else 'DIFFER'}",
        is_same_state and is_same_course,
    )


def _without_seconds(path: Path) -> bytes:
    """Return a checkpoint's bytes but for the seconds that the training took."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    structure = json.loads(header["__metadata__"].pop("structure"))
    structure["dict"] = [part for part in structure["dict"] if part[0] != "seconds"]
    return json.dumps([header, structure], sort_keys=True).encode() + content[8 + length :]


def listeners_of_one_machine(*, processes: int = 3) -> Row:
    """Look at what a training on one machine listens on."""
    with TemporaryDirectory() as name:
        trial = Trial(Path(name) / "run", *TINY, "--epochs", 400, "--processes", processes).start()
        trial.wait_for(trial.iterations)
        pids = [trial.launcher(), *trial.workers().values()]
        addresses = {address for pid in pids for address in _listening(pid)}
        trial.kill(trial.launcher(), signal.SIGTERM)
        trial.wait()
    outside = {address for address in addresses if not address.startswith("127.")}
    return Row(
        f"{processes} processes on one machine",
        "listen on the loopback interface only",
        f"{len(addresses)} listening addresses, {len(outside)} of them open to a network",
        bool(addresses) and not outside,
    )


def _listening(pid: int) -> list[str]:
    """Return the addresses of a process's listening TCP sockets."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(_address(fields[1].split(":")[0]))
    return found


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp as a person writes it."""
    parts = bytes.fromhex(text)
    if len(parts) == 4:  # noqa: PLR2004 - IPv4, little-endian
        return ".".join(map(str, reversed(parts)))
    return "127.0.0.1" if text.endswith("01000000") and not int(text[:24].replace("FFFF", "0"), 16) else f"[{text}]"
