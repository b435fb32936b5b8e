"""The ledger: all runs below some folders."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.recipe.metrics import MEAN_IOU, PERPLEXITY
from bigbatch.recipe.presets import digits, fashion_mnist
from bigbatch.runs.metrics import read_line
from bigbatch.runs.record import read_record
from bigbatch.study.ledger import find_runs, parse_condition, read_row, select
from bigbatch.study.sweep.jobs import plan_sweep
from bigbatch.study.sweep.manifest import write_manifest
from bigbatch.study.sweep.membership import Membership
from bigbatch.study.variants import parse_variants

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def names(rows):
    return [row["run"].rpartition("/")[2] for row in rows]


@pytest.fixture
def rows(tmp_path, record_run):
    record_run("small", validation_error=3.0, started="2026-11-02T00:00:00+00:00")
    large = replace(digits(), minibatch_size=256)
    record_run("large", large, validation_error=1.5, started="2026-11-03T00:00:00+00:00")
    fashion = record_run("sweep/fashion", fashion_mnist(), status="running")
    lines = {"iteration": 0, "loss": 2.0}, {"epoch": 1, "iteration": 1, "validation_error": 40.0}
    fashion.append_metrics(*map(read_line, lines))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    return [read_row(path, Membership()) for path in find_runs(tmp_path)]


def test_every_run_below_a_folder_has_a_row(rows):
    table = {row["run"].rpartition("/")[2]: row for row in rows}
    assert list(table) == ["damaged", "large", "small", "fashion"]
    shown = [[row[name] for name in ("recipe", "minibatch", "error", "state")] for row in table.values()]
    assert shown == [
        [None, None, None, "damaged"],
        ["digits", 256, 1.5, "finished"],
        ["digits", 16, 3.0, "finished"],
        ["fashion-mnist", 64, 40.0, "interrupted"],  # its error so far
    ]
    assert table["fashion"]["iterations"] == 1
    assert table["fashion"]["weights"] is None
    assert table["small"]["weights"] == "ab" * 32
    assert table["small"]["model.width"] == 16
    assert "run.json is damaged" in table["damaged"]["problem"]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["recipe=digits"], ["large", "small"]),
        (["recipe!=digits"], ["fashion", "damaged"]),
        (["state=finished", "minibatch<256"], ["small"]),
        (["minibatch>=64"], ["fashion", "large"]),
        (["error<2"], ["large"]),
        (["error = 1.50"], ["large"]),
        (["model.width<=16"], ["large", "small"]),
        (["optimizer.nesterov=true"], ["fashion", "large", "small"]),
        (["when>2026-11-02T12"], ["fashion", "large"]),
        (["state=failed"], []),
    ],
)
def test_conditions_choose_numbers_as_numbers_and_text_as_text(rows, where, found):
    assert names(select(rows, where=[parse_condition(text) for text in where])) == found


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-when", ["fashion", "large", "small", "damaged"]),
        ("when", ["small", "large", "fashion", "damaged"]),
        ("error", ["large", "small", "fashion", "damaged"]),
        ("-error", ["fashion", "small", "large", "damaged"]),
        ("state", ["damaged", "large", "small", "fashion"]),
    ],
)
def test_the_order_is_that_of_a_field_and_who_has_none_comes_last(rows, sort, order):
    assert names(select(rows, sort=sort)) == order


def test_what_is_no_number_comes_last_either_way():
    rows = [{"run": "a", "error": math.nan}, {"run": "b", "error": math.inf}, {"run": "c", "error": 1.0}]
    assert names(select(rows, sort="error")) == ["c", "b", "a"]
    assert names(select(rows, sort="-error")) == ["b", "c", "a"]


def test_unknown_fields_and_malformed_conditions_are_refused(rows):
    for where, message in [("statee=finished", "no run has a field 'statee'; did you mean 'state'?")]:
        with pytest.raises(InputError, match=message):
            select(rows, where=[parse_condition(where)])
    with pytest.raises(InputError, match="no run has a field 'eror'"):
        select(rows, sort="-eror")
    with pytest.raises(InputError, match="error is a number, 'good' is not"):
        select(rows, where=[parse_condition("error<good")])
    for text in ("", "state", "=finished", "a b=1"):
        with pytest.raises(InputError, match="write FIELD=VALUE"):
            parse_condition(text)
    assert select([], where=[parse_condition("anything=1")], sort="anything") == []


def test_a_run_that_says_it_runs_does_so_only_while_somebody_writes_it(record_run):
    folder = record_run("run", status="running")
    assert read_record(folder.path).state == "interrupted"
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(folder.path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        assert read_record(folder.path).state == "running"
        writer.communicate(b"\n")
    assert read_record(folder.path).state == "interrupted"


def test_links_that_go_round_and_folders_inside_runs_count_once(tmp_path, record_run):
    record_run("runs/a/b")
    record_run("runs/a/b/checkpoints/c")
    (tmp_path / "runs" / "a" / "round").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs" / "a" / "b")
    assert find_runs(tmp_path / "runs") == [tmp_path / "runs" / "a" / "b"]
    assert find_runs(tmp_path / "runs" / "a" / "b") == [tmp_path / "runs" / "a" / "b"]
    with pytest.raises(InputError, match="there is no folder"):
        find_runs(tmp_path / "none")


@settings(max_examples=50, deadline=None)
@given(JSON, st.dictionaries(st.sampled_from(["status", "recipe", "attempts", "iterations", "started"]), JSON))
def test_whatever_run_json_holds_is_a_row(tmp_path_factory, anything, fields):
    """A hostile or old folder gives a row, which may say that it is damaged, and never an error."""
    path = tmp_path_factory.mktemp("run")
    for content in (anything, {**fields, "status": "finished"}, {**fields, "status": "running"}):
        (path / "run.json").write_text(json.dumps(content))
        (path / "metrics.jsonl").write_text(
            f"{json.dumps(anything)}\n{json.dumps({'epoch': 1, 'validation_error': anything})}"
        )
        row = read_row(path, Membership())
        assert row["state"] in {"damaged", "interrupted", "finished"}
        assert select([row], sort="error") == [row]


def test_numbers_and_nesting_that_no_run_writes_are_damage(tmp_path):
    for hostile in (
        '{"status": "finished", "recipe": ' + "[" * 99 + "]" * 99 + "}",
        '{"status": "failed", "seed": 1' + "0" * 99 + "}",
    ):
        (tmp_path / "run.json").write_text(hostile)
        assert read_row(tmp_path, Membership())["state"] == "damaged"
    for text in (
        '{"status": "finished", "iterations": NaN, "validation_error": 1e999}',
        '{"status": "done"}',
        '{"status": []}',
    ):
        (tmp_path / "run.json").write_text(text)
        assert read_row(tmp_path, Membership())["iterations"] in {0, None}


def test_a_sweeps_runs_are_found_by_their_variant(tmp_path, record_run, capsys):
    """The sweep's folder says so; a run of another size in a sweep's place is not one of its runs."""
    write_manifest(plan_sweep(digits(), [16, 64], num_seeds=1, variants=parse_variants("no-warmup"), output=tmp_path))
    plain = record_run("recipe-16-seed0")
    other = record_run("no-warmup-64-seed0")
    larger = replace(digits(), minibatch_size=64)
    changed = record_run("elsewhere/no-warmup-64-seed0", larger)
    rows = [read_row(folder.path, Membership()) for folder in (plain, other, changed)]
    assert [row["variant"] for row in rows] == ["recipe", None, None]
    other.write_summary(changed.read_summary())
    found = json.loads(shown(capsys, tmp_path, "--where", "variant=no-warmup", "--json"))
    assert [row["run"] for row in found] == [str(other.path)]


def test_a_divergence_is_called_what_sweeps_and_reports_call_it(record_run):
    """A divergence is a result, the same in every repetition; another failure is not."""
    diverged = record_run("hot", status="failed", exit_code=3)
    failed = record_run("broken", status="failed", exit_code=1)
    assert [read_row(run.path, Membership())["state"] for run in (diverged, failed)] == ["diverged", "failed"]


def test_a_damaged_record_of_a_sweep_is_said_and_its_runs_are_listed(tmp_path, record_run, capsys):
    record_run("recipe-16-seed0")
    (tmp_path / "sweep.json").write_text("{\x1b")
    assert main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "recipe-16-seed0" in printed.out
    assert printed.err.startswith("bigbatch: warning: ")
    assert "sweep.json is damaged" in printed.err
    assert "\x1b" not in printed.err


def shown(capsys, *arguments):
    assert main(["runs", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_command_lists_filters_and_sorts(rows, capsys, tmp_path):
    lines = shown(capsys, tmp_path, "--where", "recipe=digits", "--sort", "-error").splitlines()
    table = [line.split() for line in lines if "/" in line]
    assert [[Path(row[0]).name, *row[1:]] for row in table] == [
        ["small", "digits", "16", "3.00", "finished", "2026-11-02", "00:00", "abababab"],
        ["large", "digits", "256", "1.50", "finished", "2026-11-03", "00:00", "abababab"],
    ]
    assert json.loads(shown(capsys, tmp_path, "--json", "--sort=run")) == sorted(rows, key=lambda row: row["run"])
    assert shown(capsys, tmp_path, tmp_path / "small").count("small") == 1


def test_off_a_terminal_a_row_is_a_line_however_long_its_name(record_run, capsys, tmp_path):
    record_run("/".join(["a" * 99] * 4))
    (line,) = (line for line in shown(capsys, tmp_path).splitlines() if "a" * 99 in line)
    assert line.rstrip().endswith("abababab")


def test_where_there_is_no_run_it_says_so(rows, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "damaged")
    assert shown(capsys) == "no runs in runs; bigbatch train makes one\n"
    assert shown(capsys, "--json") == "[]\n"
    assert shown(capsys, tmp_path, "--where", "error>99") == f"none of the {len(rows)} runs fulfils every --where\n"
    assert main(["runs", "none"]) == 2
    assert capsys.readouterr().err == "bigbatch: error: there is no folder none\n"


def test_a_hostile_run_forges_no_line(record_run, capsys, tmp_path):
    evil = "[red]a\nb\x1b[1A\x9b2K"
    record_run(f"good{evil}", recipe={"name": evil, "minibatch_size": evil}, weights_sha256=evil, started=evil)
    output = shown(capsys, tmp_path)
    assert all(line.isprintable() for line in output.split("\n"))
    assert r"[red]a\nb\x1b[1A\x9b2K" in output
    assert "\x1b" not in shown(capsys, tmp_path, "--json")


@pytest.fixture
def mixed(tmp_path, record_run):
    """Return the folder of runs that are judged by three metrics."""
    record_run("old", validation_error=2.5)
    for number, (measure, result) in enumerate(((PERPLEXITY, 6.3125), (MEAN_IOU, 61.234), (PERPLEXITY, 7.5))):
        record_run(f"{number}", metric=measure.to_json(), result=result, validation_error=None)
    return tmp_path


def test_a_row_names_its_metric_and_only_errors_are_called_so(mixed):
    rows = [read_row(path, Membership()) for path in find_runs(mixed)]
    shown = [[row[name] for name in ("error", "result", "metric", "unit", "better")] for row in rows]
    assert shown == [
        [None, 6.3125, "perplexity", "", "lower"],
        [None, 61.234, "mean-iou", "%", "higher"],
        [None, 7.5, "perplexity", "", "lower"],
        [2.5, 2.5, "top-1-error", "%", "lower"],
    ]
    assert names(select(rows, where=[parse_condition("error<99")], sort="error")) == ["old"]


@pytest.mark.parametrize("arguments", [("--sort", "result"), ("--sort=-result",), ("--where", "result<7")])
def test_results_of_several_metrics_are_not_ordered(mixed, arguments, capsys):
    assert main(["runs", str(mixed), *arguments]) == 2
    said = capsys.readouterr().err
    assert "results of mean-iou and perplexity and top-1-error cannot be compared; add --where metric=mean-iou" in said
    assert said.count("\n") == 1
    lines = shown(capsys, mixed, *arguments, "--where", "metric=perplexity").splitlines()
    assert " perplexity " in lines[1]
    assert any("6.312" in line for line in lines)


def test_the_table_says_what_each_result_is_where_they_differ(mixed, capsys):
    text = shown(capsys, mixed)
    assert "result" in text.splitlines()[1]
    for result in ("perplexity 6.312", "mean IoU 61.23 %", "error 2.50 %"):
        assert result in text
    assert "error %" in shown(capsys, mixed / "old").splitlines()[1]
    assert "mean IoU %" in shown(capsys, mixed / "1").splitlines()[1]
