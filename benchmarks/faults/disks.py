"""A disk that is full, or becomes read-only, while a training runs. Needs root, for a small file system of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from trial import EPOCHS, TINY, Row, Trial, undisturbed_sha256

NOT_SAVED = 74


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount a file system of that size."""
    with TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def full_disk() -> Row:
    """Fill the disk during a training, and empty it again before it has failed three times; then once for good."""
    recipe = (*TINY, "--epochs", EPOCHS)
    with small_disk(8) as disk, TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        trial = Trial(disk / "run", *recipe, "--processes", 2)
        trial.log = Path(name) / "log"
        exit_code, goes_on, is_warned = _fill(trial, disk)
        ballast = disk / "ballast"
        ballast.unlink()
        resumed = trial.run("--resume") == 0 and trial.summary()["weights_sha256"] == expected
        is_whole = not trial.stale_files()
    return _row("disk full", exit_code, goes_on=goes_on, is_warned=is_warned, resumed=resumed and is_whole)


def read_only_folder() -> Row:
    """Let the run's folder take no more files, and its files no more bytes, during a training."""
    recipe = (*TINY, "--epochs", EPOCHS)
    with TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        trial = Trial(Path(name) / "run", *recipe, "--processes", 2).start()
        trial.wait_for(lambda: len(trial.iterations()) > 60)  # noqa: PLR2004 - it has saved
        frozen = [trial.folder, trial.folder / "checkpoints", trial.folder / "metrics.jsonl", trial.folder / "run.json"]
        subprocess.run(["chattr", "+i", *frozen], check=True)
        try:
            exit_code = trial.wait()
        finally:
            subprocess.run(["chattr", "-i", *frozen], check=True)
        goes_on, is_warned = _told(trial)
        resumed = trial.run("--resume") == 0 and trial.summary()["weights_sha256"] == expected
        is_whole = not trial.stale_files()
    return _row("folder read-only", exit_code, goes_on=goes_on, is_warned=is_warned, resumed=resumed and is_whole)


def _fill(trial: Trial, disk: Path) -> tuple[int, bool, bool]:
    """Fill the disk for good once the training has saved; return exit code, whether it went on, whether it said so."""
    trial.start()
    trial.wait_for(lambda: len(trial.iterations()) > 60)  # noqa: PLR2004 - it has saved
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass
    return trial.wait(), *_told(trial)


def _told(trial: Trial) -> tuple[bool, bool]:
    """Return whether the training went on after a save that failed, and whether it said so plainly."""
    printed = trial.printed()
    return printed.count("could not be saved") > 1, "training goes on" in printed and "Traceback" not in printed


def _row(fault: str, exit_code: int, *, goes_on: bool, is_warned: bool, resumed: bool) -> Row:
    return Row(
        f"{fault} during the run",
        "training goes on, the last checkpoint stays whole, a plain warning; its own exit code after 3 failed saves",
        f"{'went on' if goes_on else 'did NOT go on'}, {'warned' if is_warned else 'did NOT warn plainly'}, exit code "
        f"{exit_code}, resumed {'to the undisturbed weights' if resumed else 'WRONGLY'} once there was room",
        exit_code == NOT_SAVED and goes_on and is_warned and resumed,
    )
