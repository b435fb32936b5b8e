"""run.json and the lines of metrics.jsonl as frozen values: reading loses nothing, from any version."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.metrics import EpochLine, IterationLine, TimingLine, parse_line, read_line
from bigbatch.runs.summary import Attempt, Summary

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
NAMES = [field.name for kind in (Summary, Attempt, IterationLine) for field in fields(kind)]
ATTEMPT = Attempt(
    started="2026-11-24T05:45:46+00:00",
    argv=["train", "digits"],
    versions={"torch": "2.8"},
    git=None,
    host={"cores": 2},
    processes=2,
    threads_per_process=1,
    device="cpu AVX2",
    default_dtype="torch.float32",
    memory_format="torch.channels_last",
    code={"bigbatch": "ab"},
    all_reduce={"algorithm": "auto"},
    from_sample=0,
    after=None,
)
STARTED = Summary(
    status="running",
    recipe={"name": "digits"},
    seed=0,
    reduction="exact",
    data_fingerprint="cd",
    metric=TOP_1_ERROR,
    attempt=ATTEMPT,
    attempts=(ATTEMPT,),
)
OF_ITS_START = ["status", "recipe", "seed", "reduction", "data_fingerprint", "metric"]
OF_THE_ATTEMPT = [
    *("started", "argv", "versions", "git", "host", "processes", "threads_per_process", "device", "default_dtype"),
    *("memory_format", "code", "all_reduce", "from_sample", "after", "engine"),
]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON))
def test_a_table_that_is_read_and_written_is_the_same_whatever_it_holds(table):
    for kind in (Summary, Attempt):
        assert repr(kind.read(table).to_json()) == repr(table)
    numbered = table | {"iteration": 3}
    assert repr(IterationLine.read(numbered).to_json()) == repr(numbered)


def test_run_json_says_first_what_was_run_and_last_what_came_of_it():
    assert list(STARTED.to_json()) == [*OF_ITS_START, *OF_THE_ATTEMPT, "attempts"]
    assert list(STARTED.to_json()["attempts"][0]) == OF_THE_ATTEMPT
    ended = replace(STARTED, status="stopped", seconds=1.5, iterations=2, weights_sha256="ef", stopped_by="SIGTERM")
    assert list(ended.to_json()) == [*STARTED.to_json(), "stopped_by", "iterations", "seconds", "weights_sha256"]
    again = Summary.read(json.loads(json.dumps(ended.to_json())))
    assert replace(again, raw=None, attempt=ATTEMPT, attempts=(ATTEMPT,)) == ended


def test_what_is_replaced_is_written_and_nothing_else_changes():
    table = {"newer": [1], "seconds": "long", "attempts": [{"newer": 2}], "validation_error": 2.0, "git": None}
    summary = Summary.read(table)
    assert (summary.seconds, summary.result, summary.attempts[0].processes) == (None, 2.0, None)
    assert replace(summary, result=None).to_json() == {**table, "result": None, "validation_error": None}
    assert replace(summary, variant="recipe").to_json() == {**table, "variant": "recipe"}
    assert replace(summary, attempts=(*summary.attempts, ATTEMPT)).to_json()["attempts"] == [
        {"newer": 2},
        ATTEMPT.to_json(),
    ]


def test_a_line_says_what_holds_for_it_and_no_more():
    update = IterationLine(iteration=0, loss=None, learning_rate=0.1, skipped=True)
    assert update.to_json() == {"iteration": 0, "loss": None, "learning_rate": 0.1, "skipped": True}
    epoch = EpochLine(epoch=1, iteration=5, loss=0.5, validation={"top-1-error": 9.0}, seconds=1.0)
    assert list(epoch.to_json()) == ["epoch", "iteration", "loss", "validation", "seconds", "validation_error"]
    timing = TimingLine(until_iteration=100, compute_seconds=[1.0], wait_seconds=[0.0], straggler=None)
    for line in (update, epoch, timing):
        read = parse_line(json.dumps(line.to_json()).encode())
        assert (type(read), replace(read, raw=None)) == (type(line), line)


@pytest.mark.parametrize("table", [{}, {"loss": 1.0}, {"iteration": None}, {"epoch": 1.5}, {"until_iteration": "1"}])
def test_a_line_without_its_number_is_none(table):
    assert parse_line(json.dumps(table).encode()) is None
    with pytest.raises(ValueError, match="a counter is missing"):
        read_line(table)
