"""A sweep judges by the first metric of its recipe, and refuses before it starts what cannot be compared."""

import json
import re
from dataclasses import replace

import pytest

from bigbatch.cli import main
from bigbatch.cli.output.sweep import print_results
from bigbatch.errors import InputError
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.metrics import MEAN_IOU, MEAN_LOSS, PERPLEXITY, TOP_1_ERROR, UNKNOWN, Measure
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.study.sweep.children import Ending
from bigbatch.study.sweep.display import in_words
from bigbatch.study.sweep.jobs import plan_sweep
from bigbatch.study.sweep.manifest import write_manifest
from bigbatch.study.sweep.results import gather, to_json
from bigbatch.study.sweep.runner import describe
from bigbatch.study.sweep.states import check_folders, is_to_run, read_states
from bigbatch.study.sweep.watching import Running, Watch
from bigbatch.study.variants import parse_variants
from studies import write_run

SPREAD = (0.998, 0.999, 1.001, 1.002)
FAILED = {"status": "failed", "exit_code": 3, "error": "the loss is NaN at iteration 1: worker 0"}


def planned(output, metric, **changes):
    """Return a sweep of the digits at 64 and 256 that is judged by a metric."""
    recipe = replace(digits(), metrics=(metric,), **changes)
    return plan_sweep(recipe, [64, 256], num_seeds=4, output=output)


def finish(sweep, means, measure):
    """Write the finished runs of a sweep, by their sizes' means."""
    for job in sweep.jobs:
        if mean := means.get(job.recipe.minibatch_size):
            write_run(job.folder.path, job.recipe, mean * SPREAD[job.recipe.seed], measure=measure)


@pytest.mark.parametrize(
    ("measure", "means", "lines"),
    [
        (
            PERPLEXITY,
            {16: 6.3, 64: 6.3, 256: 6.6},
            ("6.600 ± 0.012", "+0.300", "worse by 0.300", "0.023 in perplexity"),
        ),
        (MEAN_IOU, {16: 61.0, 64: 61.0, 256: 58.0}, ("58.00 ± 0.11", "-3.00", "worse by 3.00", "0.22 percentage po")),
    ],
)
def test_the_table_names_the_metric_and_judges_in_its_direction(measure, means, lines, tmp_path, capsys):
    sweep = planned(tmp_path, measure.name)
    finish(sweep, means, measure)
    print_results(sweep, read_states(sweep.jobs), [], margin=None, as_json=False)
    printed = capsys.readouterr().out
    noun = "perplexity" if measure == PERPLEXITY else "mean IoU"
    for line in (*lines, "matches: +0.0", f"elbow, where the {noun} leaves the reference's by more than the margin:"):
        assert line in printed
    assert ("mean IoU %" in printed) == (measure == MEAN_IOU)
    assert "error" not in printed


def test_the_table_for_programs_names_the_metric_and_errors_alone_have_their_old_names(tmp_path):
    for measure, mean in ((PERPLEXITY, 6.3), (TOP_1_ERROR, 2.0)):
        sweep = planned(tmp_path / measure.name, measure.name)
        finish(sweep, {16: mean}, measure)
        write_run(sweep.jobs[1].folder.path, sweep.jobs[1].recipe, mean, measure=measure, status="stopped")
        table = to_json(sweep, gather(sweep, read_states(sweep.jobs)))
        assert table["metric"] == {"name": measure.name, "unit": measure.unit, "better": measure.better}
        assert table["rows"][0]["results"]["1"] == pytest.approx(mean * SPREAD[1])
        assert ("errors" in table["rows"][0]) == ("error" in table["unfinished"][0]) == (measure == TOP_1_ERROR)
        assert table["unfinished"][0]["result"] == mean
        json.dumps(table)


def test_a_run_that_diverged_has_no_verdict_and_lies_beyond_the_elbow_of_any_metric(tmp_path):
    sweep = planned(tmp_path, "mean-iou")
    finish(sweep, {16: 61.0, 64: 61.0}, MEAN_IOU)
    lost = next(job for job in sweep.jobs if job.recipe.minibatch_size == 256)
    write_run(lost.folder.path, lost.recipe, 90.0, measure=MEAN_IOU, **FAILED)
    results = gather(sweep, read_states(sweep.jobs))
    assert (results.elbow.last_within, results.elbow.first_beyond) == (64, 256)
    assert results.rows[2].verdict is None
    assert str(results.elbow) == "between 64 and 256, where runs diverged"


def test_progress_is_put_in_the_metrics_words(tmp_path):
    job = planned(tmp_path, "perplexity").jobs[0]
    lines = ({"epoch": i, "iteration": i, "validation": {"perplexity": 8.0 - i, "mean-loss": 0.1}} for i in (1, 2))
    tmp_path.joinpath("metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert in_words(Running(job, Watch(tmp_path)), PERPLEXITY) == "recipe-16-seed0 epoch 2/30 perplexity 6.5"
    assert describe(Ending(job, "finished", result=61.234), MEAN_IOU) == "mean IoU 61.23 %"
    assert describe(Ending(job, "finished", result=2.5), TOP_1_ERROR) == "error 2.50 %"


# Refused before anything starts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "metrics=[]"), "metrics must name at least one metric"),
        (("--set", 'metrics=["perplexty"]'), "unknown metric 'perplexty'; did you mean 'perplexity'?"),
        (("--set", 'metrics=["user_models:nothing"]'), "module 'user_models' has no callable 'nothing'"),
        (("--set", 'metrics=["user_models:net"]'), "'user_models:net' is no metric but"),
        (("--variants", 'mine:metrics=["mean-loss"]'), "variant 'mine' cannot set metrics: what is measured must be"),
        (
            ("--variants", "mine:evaluation.predict=user_models:net"),
            "variant 'mine' cannot set evaluation.predict: what",
        ),
        (("--set", 'metrics=["mean-iou"]', "--margin", "150"), "a validation mean IoU lies between 0 and 100 %"),
        (("--margin", "150"), "margin 150 is no margin: a validation error lies between 0 and 100 %"),
        (
            ("--set", 'metrics=["mean-loss"]', "--variants", "smooth:loss=user_models:smooth"),
            "the mean loss of variant 'smooth' is that of user_models:smooth, and the reference's is that of cross-e",
        ),
        (
            ("--set", 'metrics=["perplexity"]', "--variants", "own:objective=user_models:tokens"),
            "the perplexity of variant 'own' is that of user_models:tokens, and the reference's is that of the outputs",
        ),
        (
            ("--set", 'metrics=["mean-iou"]', "--output", "old"),
            "old/recipe-16-seed0 cannot resume: the recipe differs in",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line_before_anything_starts(
    arguments, message, record_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    record_run("old/recipe-16-seed0")
    monkeypatch.setattr("bigbatch.study.sweep.runner.start", lambda *_, **__: pytest.fail("it has started"))
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", "digits", "--minibatch-sizes", "64", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_another_loss_is_compared_by_a_metric_that_does_not_follow_it(tmp_path):
    for metric in ("top-1-error", "perplexity"):
        recipe = with_settings(digits(), [f'metrics=["{metric}"]'])
        variants = parse_variants("recipe,smooth:loss=user_models:smooth")
        assert len(plan_sweep(recipe, [64], num_seeds=1, variants=variants, output=tmp_path).jobs) == 3


def test_runs_whose_metric_has_changed_its_meaning_are_refused(tmp_path):
    """The code of a user's metric is not in the recipe."""
    higher = Measure("f-score", "", "higher")
    recipe = replace(digits(), metrics=("user_models:f_score",))
    sweep = plan_sweep(recipe, [64], num_seeds=1, output=tmp_path, measure=higher)
    write_run(sweep.jobs[0].folder.path, sweep.jobs[0].recipe, 0.8, measure=replace(higher, better="lower"))
    refusal = "recipe-16-seed0 was judged by f score .lower is better., not by f score .higher is better."
    with pytest.raises(InputError, match=refusal):
        check_folders(sweep)
    with pytest.raises(InputError, match=refusal):
        gather(sweep, read_states(sweep.jobs))
    write_run(sweep.jobs[0].folder.path, sweep.jobs[0].recipe, 0.8, measure=UNKNOWN)
    check_folders(sweep)


def test_a_metric_of_ones_own_says_what_it_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = replace(digits(), metrics=("user_models:FScore",))
    higher = Measure("f-score", "", "higher")
    sweep = plan_sweep(recipe, [64], num_seeds=3, output=tmp_path / "s", measure=higher)
    for job in sweep.jobs:
        result = (0.9 if job.recipe.minibatch_size == 16 else 0.8) * SPREAD[job.recipe.seed]
        write_run(job.folder.path, job.recipe, result, measure=higher)
    arguments = ("--set", 'metrics=["user_models:FScore"]', "--seeds", "3", "--output", "s", "--show")
    assert main(["sweep", "digits", "--minibatch-sizes", "64", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "f score" in printed
    assert "worse by 0." in printed


# Older versions


def test_a_sweep_of_an_older_version_goes_on(tmp_path):
    """Its recipes name no metrics, and its runs record none: they are top-1 errors."""
    sweep = planned(tmp_path, "top-1-error")
    finish(sweep, {16: 2.0}, TOP_1_ERROR)
    write_manifest(sweep)
    for job in sweep.jobs:
        path = job.folder.path / "recipe.toml"
        if path.exists():
            path.write_text(re.sub(r"^metrics = \[.*?\]\n", "", path.read_text(), flags=re.DOTALL | re.MULTILINE))
            summary = json.loads((job.folder.path / "run.json").read_text())
            assert "metric" not in summary
            del summary["recipe"]["metrics"]
            (job.folder.path / "run.json").write_text(json.dumps(summary))
    again = planned(tmp_path, "top-1-error")
    check_folders(again)
    states = read_states(again.jobs)
    assert [is_to_run(states[job.name], retry_failed=True) for job in again.jobs] == [False, True, True] * 4
    assert states["recipe-16-seed0"].measure == TOP_1_ERROR
    assert list(gather(again, states).reference.results.values()) == pytest.approx([2.0 * one for one in SPREAD])
    assert RunFolder(again.jobs[0].folder.path).recipe == again.jobs[0].recipe


def test_an_interrupted_run_of_another_loss_metric_resumes_with_its_own_metric_only(tmp_path):
    sweep = planned(tmp_path, "mean-loss")
    write_run(sweep.jobs[0].folder.path, sweep.jobs[0].recipe, 0.3, measure=MEAN_LOSS, status="stopped")
    check_folders(sweep)
    with pytest.raises(InputError, match="cannot resume: the recipe differs in metrics"):
        check_folders(planned(tmp_path, "perplexity"))
