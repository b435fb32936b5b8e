"""A launcher reports why its processes ended."""

import json
import os
from itertools import count

import pytest

from bigbatch.processes.launch import find_cause
from bigbatch.processes.outcome import (
    STORE,
    Outcome,
    failure_before,
    is_group_lost,
    mark_group_lost,
    note_failure,
    read_outcome,
    report_outcome,
)

TIMES = count(10**18)
LATE = "PeerLostError: rank 1 did not answer within the timeout (x)"
GONE = "PeerLostError: rank 1 has ended (x)"


def record(folder, rank, message, attempt=0):
    """Write an error's record as torch does."""
    path = folder / "run_x" / f"attempt_{attempt}" / str(rank) / "error.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"message": {"message": message, "extraInfo": {"py_callstack": f"Traceback {message}"}}})
    )
    os.utime(path, ns=(next(TIMES), next(TIMES)))  # the files' times tell which was first


@pytest.mark.parametrize(
    ("records", "failed", "cause"),
    [
        ([], (1, -9), "rank 1 was killed by SIGKILL"),
        ([], (0, 3), "rank 0 ended with exit code 3"),
        ([(0, GONE)], (1, -9), "rank 1 was killed by SIGKILL"),
        ([(0, GONE)], (0, 1), "rank 1 has ended (x)"),
        ([(0, LATE)], (1, -9), "rank 1 did not answer within the timeout (x)"),  # torch has killed it since
        ([(0, GONE), (1, "ValueError: mine")], (0, 1), "Traceback ValueError: mine"),
        ([(1, "ValueError: a"), (2, "KeyError: b")], (1, 1), "Traceback ValueError: a"),
        ([(2, "DisagreementError: rank 2 no longer"), (0, "DisagreementError: x")], (0, 1), "rank 2 no longer"),
    ],
)
def test_the_cause_is_that_of_who_failed_first_for_a_reason_of_its_own(tmp_path, records, failed, cause):
    for rank, message in records:
        record(tmp_path, rank, message)
    assert find_cause(tmp_path, *failed) == cause


def test_only_the_last_attempt_counts(tmp_path):
    record(tmp_path, 0, "ValueError: old", attempt=2)
    record(tmp_path, 0, "ValueError: new", attempt=10)
    assert find_cause(tmp_path, 0, 1) == "Traceback ValueError: new"


def test_a_half_written_record_is_none(tmp_path):
    record(tmp_path, 0, GONE)
    (tmp_path / "run_x" / "attempt_0" / "0" / "error.json").write_text('{"message": {"mess')
    assert find_cause(tmp_path, 0, -9) == "rank 0 was killed by SIGKILL"


def test_processes_tell_their_launcher_how_they_ended_and_the_first_counts(tmp_path, monkeypatch):
    monkeypatch.setenv(STORE, str(tmp_path / "store"))
    assert read_outcome(tmp_path) is None
    report_outcome(Outcome(2, "bad"))
    report_outcome(Outcome(75))
    assert read_outcome(tmp_path) == Outcome(2, "bad")
    assert failure_before() is None
    note_failure(tmp_path, "a")
    note_failure(tmp_path, "b")
    assert failure_before() == "b"


def test_a_group_is_lost_for_its_attempt_alone(tmp_path, monkeypatch):
    assert not is_group_lost(), "without our launcher nobody says so"
    mark_group_lost()
    monkeypatch.setenv(STORE, str(tmp_path / "store"))
    assert not is_group_lost()
    mark_group_lost()
    assert is_group_lost()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not is_group_lost()
