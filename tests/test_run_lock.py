"""One process writes a folder. The lock ends with that process, and readers of data do not inherit it."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from bigbatch.errors import InputError
from bigbatch.runs.lock import is_locked, locked

HOLD = """
import os, sys
from pathlib import Path
from bigbatch.runs.lock import locked
with locked(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.close(1)
        os.read(0, 1)  # until the test ends
        os._exit(0)
    print(child, flush=True)
    os.read(0, 1)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip().isdecimal()
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path, holder):
    assert is_locked(tmp_path / "run")
    with (
        pytest.raises(InputError, match=r"another process is writing the run .*run; wait for it, end it"),
        locked(tmp_path / "run"),
    ):
        pytest.fail("two writers")
    assert is_locked(tmp_path / "run"), "a refused writer does not take the lock away"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not is_locked(tmp_path / "run"), "the child that it has forked does not hold it"
    with locked(tmp_path / "run"):
        pass


def test_where_nobody_writes_nothing_is_locked(tmp_path):
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == [], "a look leaves nothing behind"
    with locked(tmp_path):
        pass
    assert not is_locked(tmp_path)


@pytest.mark.parametrize("path", ["/dev/null/run", "a\0b"])
def test_a_folder_that_cannot_be_is_one_line(path):
    from pathlib import Path

    with pytest.raises(InputError, match="cannot write the run to"), locked(Path(path)):
        pytest.fail("locked")


def test_a_file_system_without_locks_is_said_and_keeps_nobody_out(tmp_path, monkeypatch, capsys):
    def lockf(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", lockf)
    with locked(tmp_path):
        assert "warning: no lock on" in capsys.readouterr().err
