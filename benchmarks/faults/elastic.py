"""Plain torchrun: a rank that dies, and a machine that comes and one that goes, while the training runs."""

import signal
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from trial import EPOCHS, TINY, Row, Trial, undisturbed_sha256

# torch 2.13 keeps the address of its shared store from the first meeting on: a machine that joins later never hears it.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def kill_under_torchrun() -> Row:
    """Kill a rank of a group that torchrun has started with --max-restarts."""
    recipe = (*TINY, "--epochs", EPOCHS)
    options = ("--standalone", "--nproc-per-node", 2, "--max-restarts", 1)
    with TemporaryDirectory() as name:
        expected = undisturbed_sha256(*recipe)
        trial = Trial.under_torchrun(Path(name) / "run", options, *recipe).start()
        trial.wait_for(lambda: len(trial.iterations()) > 60)  # noqa: PLR2004 - somewhere in the training
        trial.kill(trial.workers()[1])
        is_same = trial.wait() == 0 and trial.summary()["weights_sha256"] == expected
        attempts = trial.num_attempts()
    return Row(
        "kill -9 of a rank under plain torchrun",
        "torchrun's restart goes on from the last checkpoint; the undisturbed run's weights",
        f"{attempts} attempts, {'the undisturbed' if is_same else 'OTHER'} weights",
        is_same and attempts == 2,  # noqa: PLR2004
    )


def come_and_go() -> Row:
    """Start one of 1 to 2 machines, let a second join, and kill the second with all that it runs."""
    recipe = (*TINY, "--epochs", 250, "--save-every-seconds", 1)
    with TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "elastic")
        quick = ("--rdzv-conf", "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3")
        options = ("--nnodes", "1:2", "--nproc-per-node", 1, "--max-restarts", 3, *meeting, *quick)
        expected = undisturbed_sha256(*recipe)
        first = Trial.under_torchrun(Path(name) / "run", options, *recipe)
        first.environment |= OWN_STORE
        first.start()
        first.wait_for(lambda: len(first.iterations()) > 60)  # noqa: PLR2004 - it trains alone
        second = Trial.under_torchrun(Path(name) / "run", options, *recipe)
        second.environment |= OWN_STORE
        second.log = Path(name) / "second.log"
        second.start()
        first.wait_for(lambda: first.summary().get("processes") == 2)  # noqa: PLR2004 - both
        before = first.num_metrics()
        first.wait_for(lambda: first.num_metrics() > before)
        second.kill(second.launcher(), signal.SIGKILL)
        second.wait()
        first.wait_for(lambda: first.summary().get("processes") == 1)
        is_same = first.wait() == 0 and first.summary()["weights_sha256"] == expected
        course = [attempt["processes"] for attempt in first.summary()["attempts"]]
    return Row(
        "torchrun --nnodes 1:2: a machine joins, and is killed",
        "the training goes on with 1, 2 and 1 processes; the undisturbed run's weights",
        f"processes {', '.join(map(str, course))}; {'the undisturbed' if is_same else 'OTHER'} weights",
        is_same and course[0] == 1 and 2 in course and course[-1] == 1,  # noqa: PLR2004
    )
