"""What several tests need: run the command, run a program as a group of processes."""

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from bigbatch.data.fashion_mnist import FILES
from bigbatch.recipe import Recipe
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.summary import Summary
from bigbatch.study.report.page.files import Report, make_report
from bigbatch.study.report.reading.sources import read_runs
from bigbatch.study.sweep.jobs import Sweep, plan_sweep
from bigbatch.study.variants import parse_variants
from studies import write_study
from warm_command import WarmCommand

# A busy machine is no reason to fail, and what fails must fail again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="bigbatch-tests-")  # measurements of all-reduces are kept there
# Run as processes, imported by the command or by tests, not collected.
collect_ignore = [
    "programs",
    "annotated_data.py",
    "user_gpt.py",
    "user_detectors.py",
    "user_models.py",
    "user_tasks.py",
    "broken_data.py",
    "broken_loops.py",
    "broken_losses.py",
    "broken_models.py",
    "broken_optimizers.py",
    "bad_images.py",
    "mutations.py",
    "rate_absorbed.py",
    "studies.py",
    "warm_command.py",
    "simulations.py",
]
PROGRAMS = Path(__file__).parent / "programs"
OF_GPUS = "gpu"  # the mark of the tests that need one
TIMEOUT_SECONDS = 240

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from all but `make test-gpu`: the other tests are about processes, of which one GPU allows one."""
    if config.option.markexpr != OF_GPUS:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of each test that needs a GPU that it was not run, where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker(OF_GPUS):
                item.add_marker(pytest.mark.skip(reason="not run: no GPU (make test-gpu looks for one)"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests compute as the command does."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def warm_command() -> Iterator[WarmCommand]:
    """Have a process that starts the command at once."""
    command = WarmCommand()
    yield command
    command.close()


@pytest.fixture
def bigbatch(tmp_path: Path, warm_command: WarmCommand) -> Run:
    """Return a function that runs the command in a folder of the test's own."""

    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        given, environment = list(map(str, arguments)), {**os.environ, "COLUMNS": "100", **more}
        if warm_command.can_run(environment):
            return warm_command.run(given, folder=tmp_path, environment=environment, timeout=TIMEOUT_SECONDS)
        return subprocess.run(
            [sys.executable, "-m", "bigbatch", *given],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    return run


@pytest.fixture
def idx() -> Callable[[np.ndarray], bytes]:
    """Return a function that writes an array of bytes in the idx format, gzipped."""

    def encode(array: np.ndarray) -> bytes:
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        return gzip.compress(header + array.astype(np.uint8).tobytes())

    return encode


@pytest.fixture
def write_fashion(idx) -> Callable[..., Path]:
    """Return a function that writes a small Fashion-MNIST into a folder."""

    def write(folder: Path, num_train: int = 6) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, count in zip(FILES, (num_train, num_train, 4, 4), strict=True):
            content = np.arange(count) % 2 if "labels" in name else np.zeros((count, 28, 28))
            (folder / name).write_bytes(idx(content))
        return folder

    return write


@pytest.fixture
def record_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes the folder of a run that nobody trained; fields of run.json can be given."""

    def record(name: str, recipe: Recipe | None = None, /, **fields: object) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.create(recipe or digits())
        started = {"started": "2026-11-24T05:45:46+00:00", "processes": 2, "device": "cpu AVX2", "reduction": "exact"}
        ended = {"iterations": 3, "seconds": 1.5, "validation_error": 2.0, "weights_sha256": "ab" * 32}
        known = {"status": "finished", "recipe": folder.recipe.to_dict(), **started, **ended, "threads_per_process": 1}
        folder.write_summary(Summary.read(known | fields))
        return folder

    return record


@pytest.fixture
def group(tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs a program of tests/programs as a group of processes, none of which may fail."""

    def run(program: str, world_size: int, *arguments: object) -> None:
        store = tmp_path / f"store-{world_size}"
        common = {
            "WORLD_SIZE": world_size,
            "LOCAL_WORLD_SIZE": world_size,
            "BIGBATCH_STORE": store,
            "OMP_NUM_THREADS": 1,
        }
        processes = []
        for rank in range(world_size):
            places = {key: str(value) for key, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
            command = [sys.executable, "-W", "error", str(PROGRAMS / program), *map(str, arguments)]
            processes.append(
                subprocess.Popen(
                    command, env={**os.environ, **places}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
        outputs = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in processes]
        failed = [f"rank {rank}:\n{outputs[rank]}" for rank, process in enumerate(processes) if process.returncode]
        assert not failed, "\n".join(failed)

    return run


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs of several minibatch sizes and seeds; read only."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def report(study: Path) -> Report:
    """Return the report of the study."""
    return make_report(read_runs([study]), command="bigbatch report runs")


@pytest.fixture
def no_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulations count kinds, and planning the seeds of every "cannot tell" takes most of the time."""
    monkeypatch.setattr("bigbatch.study.statistics.equivalence.seeds_needed", lambda *_, **__: None)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Return a sweep of the digits at three seeds, in the folder `s`."""
    return plan_sweep(
        digits(), [64, 256], num_seeds=3, variants=parse_variants("recipe,unscaled"), output=tmp_path / "s"
    )


@pytest.fixture
def record(record_run: Callable[..., RunFolder], sweep: Sweep) -> Callable[..., None]:
    """Return a function that writes a run of the sweep that nobody trained."""

    def recorded(name: str, validation_error: float | None = None, **fields: object) -> None:
        job = next(job for job in sweep.jobs if job.name == name)
        fields |= {"validation_error": validation_error, "iterations": job.iterations}
        record_run(f"s/{name}", job.recipe, **fields)

    return recorded
