"""`joined()` restores all that it has set when it is left, also after an error."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.processes.group import silent_meeting
from bigbatch.processes.join import joined

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "GLOO_SOCKET_IFNAME")


def state():
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        *map(os.environ.get, VARIABLES),
    )


def put(threads, is_deterministic, only_warns, fills, benchmark, *variables):
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(is_deterministic, warn_only=only_warns)
    torch.utils.deterministic.fill_uninitialized_memory = fills
    torch.backends.cudnn.benchmark = benchmark
    for name, value in zip(VARIABLES, variables, strict=True):
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(autouse=True, scope="module")
def _as_before():
    before = state()
    yield
    put(*before)


STATES = st.tuples(
    st.integers(1, 4),
    *[st.booleans()] * 4,
    *[st.sampled_from([None, ":16:8"])],
    *[st.sampled_from([None, "eth0"])],
)


@given(before=STATES, threads=st.integers(1, 3), fails=st.booleans())
def test_whatever_the_state_before_it_is_the_same_after(before, threads, fails):
    put(*before)
    before = state()
    with suppress(ZeroDivisionError), joined(threads=threads):
        assert state()[:5] == (threads, True, False, False, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == before[5] or before[5] is None
        if fails:
            raise ZeroDivisionError
    assert state() == before


PROGRAM = """
import os, sys, torch
sys.path.insert(0, sys.argv[1])
from bigbatch import joined
from test_join import state
before = state()
try:
    with joined(threads=1) as machine:
        assert machine.processes.world_size == 2
        assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
        if sys.argv[2] == "fails":
            raise ZeroDivisionError
except ZeroDivisionError:
    pass
assert state() == before
os._exit(0)
"""


@pytest.mark.parametrize("how", ["fails", "ends well"])
def test_a_process_of_several_puts_all_back_too(tmp_path, how):
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "BIGBATCH_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), how]
    places = [common | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    processes = [subprocess.Popen(command, env={**os.environ, **place}) for place in places]
    assert [process.wait(120) for process in processes] == [0, 0]


def test_what_a_meeting_prints_is_no_part_of_a_commands_output(capfd):
    """Gloo of torch 2.8 prints, from C++; a shell stands for it here. What goes wrong is still told."""
    os.write(1, b"before\n")
    with suppress(ZeroDivisionError), silent_meeting():
        subprocess.run(["/bin/sh", "-c", "echo connected; echo wrong >&2"], check=True)
        raise ZeroDivisionError
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "wrong\n")


def test_a_meeting_without_a_standard_output_leaves_its_number_alone(capfd, monkeypatch):
    """It is closed (`>&-`), so another file or a connection may have its number."""
    monkeypatch.setattr(sys, "__stdout__", None)
    with silent_meeting():
        os.write(1, b"sent\n")
    assert capfd.readouterr().out == "sent\n"
