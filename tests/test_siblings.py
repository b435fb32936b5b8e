"""A process that is killed while the group forms ends all of them at once, and is named."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bigbatch.processes import siblings
from bigbatch.processes.siblings import cannot_go_on, lost_siblings, note_that_all_have_met

SOURCE = str(Path(__file__).parents[1] / "src")
# Kills rank 1 where it calls or leaves a function, and writes when.
HOOK = """
import os, signal, sys, time
def kill(frame, event, _):
    if [frame.f_code.co_name, event] == os.environ["KILLED_AT"].split():
        with open("killed", "w") as file:
            file.write(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
if os.environ.get("RANK") == "1":
    sys.setprofile(kill)
"""
TRAIN = ("bigbatch", "train", "digits", "--minibatch-size", "256", "--epochs", "1", "--output", "run")
OURS = (sys.executable, "-m", *TRAIN, "--processes", "2")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *TRAIN)


@pytest.mark.parametrize(
    ("command", "place"),
    [(OURS, "notice_signals_early return"), (TORCHRUN, "agree_on_a_word return")],
)
def test_a_process_that_is_killed_while_the_others_wait_for_it_ends_all_and_is_named(tmp_path, command, place):
    """Before it imports torch, and while the first group connects."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}", "KILLED_AT": place}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert time.time() - float((tmp_path / "killed").read_text()) < 15, "torch's launcher kills after 30 s"
    assert done.returncode == 1
    if command == OURS:
        assert done.stderr == "bigbatch: rank 1 was killed by SIGKILL\n"
    assert "stops" not in done.stderr, "nobody has asked for a stop"


def environment_of(local_rank, *, attempt="0", run="this"):
    return {
        "TORCHELASTIC_RUN_ID": run,
        "TORCHELASTIC_RESTART_COUNT": attempt,
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": "3",
    }


@pytest.fixture
def launched():
    """Return a function that starts idle processes of these environments, as their launcher would."""
    started = []

    def launch(*environments):
        for environment in environments:
            command = [sys.executable, "-c", "print(flush=True); input()"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            started.append(subprocess.Popen(command, env={**os.environ, **environment}, **pipes))
            started[-1].stdout.readline()
        return started

    yield launch
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not siblings.PROC.exists(), reason="only Linux tells")
def test_a_sibling_is_lost_from_its_end_on_and_no_other_process_passes_for_it(launched):
    mine, launcher = environment_of(0), os.getpid()
    strangers = environment_of(2, attempt="1"), environment_of(2, run="other")
    _, second, *_ = launched(mine, environment_of(1), *strangers)
    assert lost_siblings(mine, launcher) == [2]
    launched(environment_of(2))
    assert lost_siblings(mine, launcher) == []
    second.kill()
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)  # a zombie, of which its launcher does not know yet
    assert lost_siblings(mine, launcher) == [1]
    second.wait()
    assert lost_siblings(mine, launcher) == [1]


def test_where_nothing_tells_nobody_is_lost(monkeypatch):
    mine = environment_of(0)
    assert lost_siblings({}, os.getpid()) == []
    assert lost_siblings({**mine, "LOCAL_RANK": "none"}, os.getpid()) == []
    assert lost_siblings(mine, os.getpid()) == [], "it is no child of this one, so the children tell nothing"
    monkeypatch.setattr(siblings, "PROC", Path("/nowhere"))
    assert lost_siblings(mine, os.getpid()) == []


def test_siblings_count_until_all_have_met(monkeypatch):
    monkeypatch.setattr(siblings, "lost_siblings", lambda _: [1])
    monkeypatch.setattr(siblings, "_has_met", siblings.threading.Event())
    assert cannot_go_on()
    note_that_all_have_met()
    assert not cannot_go_on(), "a process may end well before another"
