"""Two runs side by side."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.cli import main
from bigbatch.cli.output.comparison import comparison_lines, comparison_table
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.comparison import compare, find_parting
from bigbatch.runs.contract import Difference
from bigbatch.runs.metrics import read_line
from bigbatch.runs.record import read_record

LINES = [{"iteration": i, "loss": 2.0 - i / 10, "learning_rate": 0.1} for i in range(3)]
EPOCH = {"epoch": 1, "iteration": 3, "loss": 1.9, "validation_error": 20.0, "seconds": 1.0}
CODE = {"bigbatch": "1" * 64}
VERSIONS = {"torch": "2.8", "numpy": "2.0", "python": "3.11", "bigbatch": "0.1"}


@pytest.fixture
def pair(record_run):
    """Return a function that records two runs with the given differences, and compares them."""

    def compared(fields=None, lines=(*LINES, EPOCH), *, recipe=None, old=None, old_lines=(*LINES, EPOCH)):
        known = {"code": CODE, "versions": VERSIONS}
        runs = [
            record_run("old", **known | (old or {})),
            record_run("new", recipe or digits(), **known | (fields or {})),
        ]
        for run, metrics in zip(runs, (old_lines, lines), strict=True):
            run.append_metrics(*map(read_line, metrics))
        return compare(*(read_record(run.path) for run in runs))

    return compared


def text(comparison):
    return "\n".join(comparison_lines(comparison))


def names(differences):
    return [difference.name for difference in differences]


def changed(number, **values):
    return [
        {**line, **values} if line["iteration"] == number and "epoch" not in line else line for line in (*LINES, EPOCH)
    ]


def test_the_machine_is_inside_the_contract(pair):
    host = {"machine": "x86_64", "system": "Linux", "cores": 2}
    first = {"processes": 2, "host": host, "versions": VERSIONS, "device": "cpu AVX2", "threads_per_process": 1}
    attempts = [first, {**first, "processes": 4, "host": {**host, "cores": 8}, "after": "SIGKILL"}]
    moved = with_settings(digits(), ["data.path=/b", "launch.max_restarts=3", "checkpoints.keep=9", "name=other"])
    comparison = pair(
        {"attempts": attempts, "git": {"commit": "b" * 40}},
        [*LINES, {**EPOCH, "seconds": 9.0}],
        recipe=moved,
        old={"processes": 1, "host": host, "git": {"commit": "a" * 40}},
    )
    assert comparison.outside == []
    assert {"name", "data.path", "launch.max_restarts", "checkpoints.keep", "git.commit"} < set(
        names(comparison.inside)
    )
    found = {difference.name: (difference.old, difference.new) for difference in comparison.inside}
    assert found["processes"] == (1, "2, then 4")
    assert found["host.cores"] == (2, "2, then 8")
    assert found["attempts"] == ("1", "2 (SIGKILL)")
    assert comparison.is_identical
    assert "identical: weights_sha256 abababababab, 3 iterations and 1 epoch line by line" in text(comparison)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"versions": {**VERSIONS, "torch": "2.9"}}, "torch"),
        ({"versions": {**VERSIONS, "numpy": "2.1"}}, "numpy"),
        ({"versions": {**VERSIONS, "python": "3.12"}}, "python"),
        ({"device": "cpu AVX512"}, "device"),
        ({"host": {"machine": "aarch64"}}, "host.machine"),
        ({"threads_per_process": 2}, "threads_per_process"),
        ({"data_fingerprint": "f" * 64}, "data_fingerprint"),
        ({"code": {"bigbatch": "2" * 64}}, "code.bigbatch"),
        ({"code": {**CODE, "mine": "3" * 64}}, "code.mine"),
        ({"code": None, "git": {"commit": "b" * 40}}, "git.commit"),
        ({"attempts": [{"versions": VERSIONS}, {"versions": {**VERSIONS, "torch": "2.9"}}]}, "torch"),
    ],
)
def test_what_can_change_bits_is_outside_and_explains_where_runs_part(pair, fields, name):
    comparison = pair(fields, changed(1, loss=1.5))
    assert name in names(comparison.outside)
    assert name not in names(comparison.inside)
    assert name in names(comparison.explanation)
    assert f"{name}: " in text(comparison).partition("can explain it")[2]


def test_a_native_sum_puts_the_processes_outside(pair):
    comparison = pair({"reduction": "native", "processes": 4}, changed(1, loss=1.5), old={"reduction": "native"})
    assert names(comparison.explanation) == ["processes"]


def test_what_to_do_about_a_loss_that_is_not_finite_counts_once_there_is_one(pair):
    skipping = with_settings(digits(), ["launch.on_nonfinite=skip"])
    assert names(pair(recipe=skipping).inside) == ["launch.on_nonfinite"]


def test_a_skipped_iteration_makes_that_choice_matter(pair):
    skipping = with_settings(digits(), ["launch.on_nonfinite=skip"])
    comparison = pair({}, changed(2, loss=None, skipped=True), recipe=skipping)
    assert names(comparison.explanation) == ["launch.on_nonfinite"]
    assert comparison.parting.number == 2


@given(st.lists(st.floats(), min_size=1, max_size=6), st.data())
def test_the_first_line_that_differs_by_a_bit_is_found(losses, data):
    """Law: without a change there is no parting; with one the parting is where it is, even for the smallest change."""
    lines = {i: {"iteration": i, "loss": loss} for i, loss in enumerate(losses)}
    copy = {i: json.loads(json.dumps(line)) for i, line in lines.items()}
    assert find_parting("iteration", lines, copy) is None
    number = data.draw(st.sampled_from(sorted(lines)))
    loss = losses[number]
    copy[number]["loss"] = math.nextafter(loss, math.inf if loss < math.inf else 0.0) if loss == loss else 0.0  # noqa: PLR0124
    parting = find_parting("iteration", lines, copy)
    assert (parting.unit, parting.number) == ("iteration", number)
    assert repr(parting.values) == repr((Difference("loss", loss, copy[number]["loss"]),))


def test_zero_and_minus_zero_differ_and_nan_is_nan():
    assert find_parting("iteration", {0: {"loss": 0.0}}, {0: {"loss": -0.0}})
    assert not find_parting("iteration", {0: {"loss": math.nan}}, {0: {"loss": math.nan}})


def test_a_line_that_is_missing_differs_and_what_comes_later_does_not():
    lines = {i: {"loss": 1.0} for i in range(5)}
    assert find_parting("iteration", lines, {0: lines[0], 1: lines[1]}) is None
    assert find_parting("iteration", lines, {0: lines[0], 2: lines[2]}).number == 1
    assert find_parting("iteration", lines, {}) is None


@pytest.mark.parametrize(
    ("settings", "lines", "explanation"),
    [
        (["model.width=4"], changed(0, loss=1.0), ["model.width"]),
        (["warmup.epochs=1", "model.width=4"], changed(0, loss=1.0), ["model.width"]),  # no update has been made
        (["warmup.epochs=1", "model.dropout=0.5"], changed(1, learning_rate=0.2), ["warmup.epochs"]),
        (["optimizer.momentum=0.8", "seed=1"], changed(1, loss=1.0), ["seed", "optimizer.momentum"]),
        (["optimizer.momentum=0.8"], changed(0, loss=1.0), []),
        (
            ["reference.learning_rate=0.2", "seed=1"],
            changed(0, loss=1, learning_rate=1),
            ["reference.learning_rate", "seed"],
        ),
    ],
)
def test_only_what_can_show_there_explains_where_runs_part(pair, settings, lines, explanation):
    assert names(pair({}, lines, recipe=with_settings(digits(), settings)).explanation) == explanation


def test_without_a_recorded_difference_it_says_so(pair):
    comparison = pair({"weights_sha256": "cd" * 32}, changed(1, loss=1.5))
    assert not comparison.is_identical
    assert "the runs part at iteration 1 (counted from 0): loss 1.9 -> 1.5" in text(comparison)
    assert "no recorded difference explains it" in text(comparison)


def test_other_weights_after_the_same_lines_are_not_identical(pair):
    comparison = pair({"weights_sha256": "cd" * 32})
    assert not comparison.is_identical
    assert "the weights differ, although 3 iterations and 1 epoch are the same" in text(comparison)


def test_an_evaluation_alone_may_differ(pair):
    comparison = pair({}, [*LINES, {**EPOCH, "validation_error": 21.0}])
    assert not comparison.is_identical
    assert "the evaluation after epoch 1 alone: validation_error 20.0 -> 21.0" in text(comparison)
    assert "yet their last weights are the same" in text(comparison)


def test_runs_of_different_length_are_compared_as_far_as_both_came(pair):
    comparison = pair({"iterations": 2, "status": "stopped", "weights_sha256": "cd" * 32}, LINES[:2])
    assert not comparison.is_identical
    assert comparison.has_same_weights is None
    assert "the same as far as both have come: 2 iterations and 0 epochs" in text(comparison)
    assert "/old took 3 iterations, " in text(comparison)


def test_a_run_that_finished_earlier_is_explained(pair):
    comparison = pair({"iterations": 2}, LINES[:2], recipe=replace(digits(), epochs=1))
    assert "  epochs: 30 -> 1" in text(comparison).partition("can explain it")[2]


def test_runs_without_metrics_are_compared_by_their_weights(pair):
    assert pair({}, []).is_identical


def test_with_nothing_recorded_nothing_is_identical(pair):
    comparison = pair({"status": "running"}, [], old={"status": "running"}, old_lines=[])
    assert not comparison.is_identical
    assert "nothing to compare" in text(comparison)


def test_interrupted_runs_are_identical_by_their_lines(pair):
    comparison = pair({"status": "running"}, LINES, old={"status": "running"}, old_lines=LINES)
    assert comparison.is_identical
    assert "identical: 3 iterations and 0 epochs line by line; no hash of weights to compare" in text(comparison)


def test_a_run_is_identical_to_itself(record_run):
    run = read_record(record_run("run").path)
    assert compare(run, run).is_identical
    assert "both are one folder" in text(compare(run, run))


def test_a_recipe_that_was_changed_by_hand_is_named(pair, tmp_path):
    pair()
    (tmp_path / "new" / "recipe.toml").write_text(
        (tmp_path / "new" / "recipe.toml").read_text().replace("epochs = 30", "epochs = 3")
    )
    comparison = compare(*(read_record(tmp_path / name) for name in ("old", "new")))
    (difference,) = comparison.outside
    assert difference.name.startswith("epochs in recipe.toml and run.json of ")
    assert (difference.old, difference.new) == (3, 30)


def test_recipes_that_this_bigbatch_refuses_are_compared_all_the_same(pair):
    fields = {"recipe": {**digits().to_dict(), "from_the_future": {"x": 1}}}
    assert names(pair(fields).outside) == ["from_the_future.x"]


RECORDED = ["recipe", "attempts", "code", "git", "host", "versions", "all_reduce", "reduction", "iterations", "started"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(RECORDED), JSON), min_size=2, max_size=2), JSON)
def test_whatever_two_folders_hold_can_be_compared(tmp_path_factory, summaries, value):
    runs = []
    for summary in summaries:
        path = tmp_path_factory.mktemp("run")
        (path / "run.json").write_text(json.dumps({**summary, "status": "finished"}))
        (path / "metrics.jsonl").write_text(json.dumps({"iteration": 0, "loss": value}))
        try:
            runs.append(read_record(path))
        except InputError:
            return
    assert all(printable(line).isprintable() for line in comparison_lines(compare(*runs)))
    json.dumps(comparison_table(compare(*runs)))


def test_as_json_it_says_the_same(pair):
    recipe = replace(digits(), seed=1)
    table = comparison_table(pair({"processes": 1}, changed(1, loss=math.nan), recipe=recipe))
    assert table["inside"] == {"processes": [2, 1]}
    assert table["outside"] == {"seed": [0, 1]}
    assert table["explanation"] == ["seed"]
    assert table["parting"]["iteration"] == 1
    assert not table["is_identical"]


def test_the_command_prints_it_or_gives_json(pair, capsys, tmp_path):
    pair({"processes": 1}, changed(1, loss=math.nan))
    folders = [str(tmp_path / "old"), str(tmp_path / "new")]
    assert main(["diff", *folders]) == 0
    assert "\n  processes  2 -> 1\n" in capsys.readouterr().out
    assert main(["diff", *folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parting"] == {"iteration": 1, "values": {"loss": [1.9, None]}}
    assert main(["diff", folders[0], str(tmp_path / "none")]) == 2


def test_a_hostile_run_forges_no_line(pair, capsys, tmp_path):
    def count_lines(value):
        fields = dict.fromkeys(("device", "host", "started", "weights_sha256", "seconds", "reduction"), value)
        attempts = [{"after": value, "processes": value}, {"after": value}]
        recipe = {**digits().to_dict(), value: {value: value}}
        pair({**fields, "attempts": attempts, "recipe": recipe, "code": {value: value}}, changed(1, loss=value))
        assert main(["diff", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
        output = capsys.readouterr().out
        assert all(line.isprintable() for line in output.split("\n"))
        for name in ("old", "new"):
            shutil.rmtree(tmp_path / name)
        return output.count("\n")

    assert count_lines("\n\x1b[1A[bold]\ridentical") == count_lines("plain")
