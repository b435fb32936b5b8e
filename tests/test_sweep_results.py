"""The table of a sweep: only finished runs count in it, and the others are named."""

import json
from statistics import mean, stdev

from bigbatch.cli.output.sweep import print_results
from bigbatch.study.sweep.children import Ending
from bigbatch.study.sweep.results import gather, to_json
from bigbatch.study.sweep.states import is_to_run, read_states


def test_the_tables_numbers_are_those_of_the_finished_runs_alone(sweep, record):
    reference, larger = [1.0, 1.5, 1.25], [3.0, 3.5]
    for seed, error in enumerate(reference):
        record(f"recipe-16-seed{seed}", error)
    for seed, error in enumerate(larger):
        record(f"recipe-256-seed{seed}", error)
    record("recipe-256-seed2", 90.0, status="stopped")
    record("recipe-64-seed0", 2.0)
    record("recipe-64-seed1", status="failed", exit_code=3, error="the loss is NaN at iteration 1: worker 0")
    record("unscaled-64-seed0", 50.0, status="failed", exit_code=1, error="no")
    states = read_states(sweep.jobs)
    results = gather(sweep, states, margin=0.5)
    rows = {(row["variant"], row["minibatch_size"]): row for row in to_json(sweep, results)["rows"]}
    assert list(rows) == [("recipe", 16), ("recipe", 64), ("recipe", 256), ("unscaled", 64), ("unscaled", 256)]
    assert (rows["recipe", 16]["mean"], rows["recipe", 16]["std"]) == (mean(reference), stdev(reference))
    row = rows["recipe", 256]
    assert (row["seeds_finished"], row["seeds_asked"], row["errors"]) == (2, 3, {"0": 3.0, "1": 3.5})
    assert (row["mean"], row["std"], row["difference"]) == (3.25, stdev(larger), 2.0)
    assert row["verdict"]["kind"] == "worse"
    assert (row["learning_rate"], row["iterations"]) == (0.8, 150)
    assert rows["recipe", 64]["seeds_diverged"] == 1
    assert rows["recipe", 64]["verdict"] is None, "those that are left are the lucky ones"
    assert rows["unscaled", 64]["mean"] is None
    kinds = {job.name: state.kind for job, state in results.unfinished}
    assert kinds["recipe-256-seed2"] == "interrupted"
    assert kinds["recipe-64-seed1"] == "diverged"
    assert kinds["unscaled-64-seed0"] == "failed"
    assert kinds["unscaled-64-seed1"] == "missing"
    to_run = {name for name, state in states.items() if is_to_run(state, retry_failed=False)}
    assert to_run == kinds.keys() - {"recipe-64-seed1"}
    assert is_to_run(states["recipe-64-seed1"], retry_failed=True)


def test_what_is_printed_names_what_is_not_in_the_table(sweep, record, capsys):
    for seed in range(3):
        record(f"recipe-16-seed{seed}", 1.0 + seed)
    record("recipe-64-seed1", status="failed", exit_code=3, error="the loss is NaN at iteration 1: worker 0; lower")
    failed = next(job for job in sweep.jobs if job.name == "recipe-64-seed0")
    print_results(sweep, read_states(sweep.jobs), [Ending(failed, "failed", reason="no room")], margin=1, as_json=False)
    printed = capsys.readouterr().out
    assert "2.00 ± 1.00" in printed
    assert "1 of 3 diverged" in printed
    assert "failed: recipe-64-seed0: no room (" in printed
    assert "diverged: recipe-64-seed1: the loss is NaN at iteration 1 (" in printed
    assert "runs not started: 10\n" in printed
    assert "4 of 15 runs are done; the same command goes on" in printed


def test_without_scipy_there_are_means_and_a_word_on_what_to_install(sweep, record, monkeypatch):
    for job in sweep.jobs:
        record(job.name, 1.0 + job.recipe.seed)
    monkeypatch.setattr("bigbatch.study.statistics.judgement.find_spec", lambda _: None)
    results = gather(sweep, read_states(sweep.jobs))
    assert "pip install 'bigbatch[stats]'" in results.remark
    assert {(row.verdict, len(row.results)) for row in results.rows} == {(None, 3)}


def test_a_dry_run_starts_nothing(bigbatch, record_run, tmp_path):
    record_run("s/recipe-16-seed0")
    done = bigbatch("sweep", "digits", "--minibatch-sizes", "64", "--seeds", 2, "--dry-run", "--output", "s", "--json")
    assert done.returncode == 0, done.stderr
    planned = {row["run"]: (row["iterations"], row["state"]) for row in json.loads(done.stdout)}
    assert planned == {
        "recipe-16-seed0": (2400, "finished"),
        "recipe-64-seed0": (600, "missing"),
        "recipe-16-seed1": (2400, "missing"),
        "recipe-64-seed1": (600, "missing"),
    }
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["recipe-16-seed0"]
