"""A report on a sweep's folder says what the sweep's own table says."""

import json
from dataclasses import replace

import pytest

from bigbatch.errors import InputError
from bigbatch.recipe import Warmup
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.metrics import read_line
from bigbatch.study.report.grouping.studies import judge, split_into_studies
from bigbatch.study.report.page.tables import point_rows
from bigbatch.study.report.page.words import headline, notes
from bigbatch.study.report.reading.runs_file import runs_to_json
from bigbatch.study.report.reading.sources import read_runs
from bigbatch.study.sweep.jobs import plan_sweep
from bigbatch.study.sweep.manifest import NAME, read_manifest, write_manifest
from bigbatch.study.sweep.results import gather
from bigbatch.study.sweep.states import check_folders, is_to_run, read_states
from bigbatch.study.variants import parse_variants
from studies import recipe_of, write_run, write_sweep

DEEPER = "deeper:model.name=cifar-resnet14"
LABELS = {"recipe": "linear"}
ODD = '{"format": "bigbatch sweep 1", "settings": {"a": 1}, "reference": {"variant": "recipe", "minibatch_size": 16}}'
STUDIES = {
    "variants that also ran at the reference size": {
        ("recipe", 16): [2.0, 2.1, 1.9],
        ("recipe", 256): [2.9, 3.0, 2.8],
        ("halved-rate", 16): [2.3, 2.2, 2.4],
        ("halved-rate", 256): [2.5, 2.6, 2.4],
        ("zero-gamma-off", 16): [2.0, 2.2, 2.1],
        ("zero-gamma-off", 256): [3.5, 3.2, 3.1],
    },
    "settings that follow the size, and another model": {
        ("recipe", 16): [2.0, 2.1, 1.9],
        ("recipe", 64): [2.0, 2.0, 2.1],
        ("recipe", 256): [2.9, 3.0, 2.8],
        ("loss-mean-per-worker", 64): [3.0, 3.1, 3.2],
        ("loss-mean-per-worker", 256): [4.0, 4.1, 4.2],
        ("growing", 64): [2.1, 2.0, 2.2],
        ("growing", 256): [2.1, 2.0, 2.3],
        (DEEPER, 16): [1.5, 1.6, 1.4],
        (DEEPER, 64): [1.5, 1.8, 1.4],
        (DEEPER, 256): [2.1, 2.0, 2.3],
    },
    "a size that diverged": {
        ("recipe", 16): [2.0, 2.1, 1.9],
        ("recipe", 64): [2.0, 2.0, 2.1],
        ("recipe", 256): [2.0, None, 2.1],
        ("no-warmup", 64): [None, None, None],
    },
    "a reference that diverged": {("recipe", 16): [2.0, None, 1.9], ("recipe", 64): [2.0, 2.0, 2.1]},
    "one seed": {("recipe", 16): [2.0], ("recipe", 64): [2.0]},
    "no noise": {("recipe", 16): [2.0, 2.0], ("recipe", 64): [2.0, 3.0]},
}


def studies_of(*paths):
    return split_into_studies(read_runs(paths).records)[0]


@pytest.mark.parametrize("margin", [None, 0.5])
@pytest.mark.parametrize("name", STUDIES)
def test_every_verdict_the_elbow_and_the_reference_are_those_of_the_sweep(tmp_path, name, margin):
    sweep = write_sweep(tmp_path, STUDIES[name])
    told = gather(sweep, read_states(sweep.jobs), margin=margin)
    (study,) = studies_of(tmp_path)
    found = judge(study, margin)
    assert study.reference.configuration == ("linear", 16)
    assert {point.configuration: len(point.results) for point in study.points} == {
        (LABELS.get(row.variant, row.variant), row.minibatch_size): len(row.results)
        for row in told.rows
        if row.results or row.num_diverged
    }
    assert {key: str(verdict) for key, verdict in found.verdicts.items()} == {
        (LABELS.get(row.variant, row.variant), row.minibatch_size): str(row.verdict) for row in told.rows if row.verdict
    }
    assert found.elbow == told.elbow
    assert told.remark in {found.remark, f"no verdicts: {found.remark}"}


def test_a_recipe_that_was_measured_at_its_reference_alone_is_not_said_to_match_nowhere(tmp_path):
    write_sweep(tmp_path, {("recipe", 16): [2.0, 2.1, 1.9], ("longer:epochs=60", 16): [1.5, 1.6, 1.4]})
    (study,) = studies_of(tmp_path)
    told = "The recipe has not been measured at a minibatch size larger than the reference, 16."
    assert headline(study, judge(study)) == told


def test_a_diverged_size_lies_beyond_the_elbow_and_a_diverged_reference_is_said(tmp_path):
    sweep = write_sweep(tmp_path / "a", STUDIES["a size that diverged"])
    assert str(gather(sweep, read_states(sweep.jobs)).elbow) == "between 64 and 256, where runs diverged"
    sweep = write_sweep(tmp_path / "b", STUDIES["a reference that diverged"])
    assert gather(sweep, read_states(sweep.jobs)).remark == "no verdicts: a run of the reference diverged"
    (study,) = studies_of(tmp_path / "b")
    assert next(point_rows(study, judge(study)))["verdict"] == "1 of 3 diverged"
    assert headline(study, judge(study)).startswith("A run of the reference diverged (minibatch 16), so nothing can")


@pytest.mark.parametrize("name", STUDIES)
def test_the_file_of_a_report_keeps_what_the_sweep_recorded(tmp_path, name):
    write_sweep(tmp_path / "s", STUDIES[name])
    (tmp_path / "runs.json").write_text(runs_to_json(read_runs([tmp_path / "s"])))
    (tmp_path / "s" / NAME).unlink()
    (study,) = studies_of(tmp_path / "runs.json")
    assert study.series[0].label == "linear"
    assert {series.label for series in study.series} == {
        LABELS.get(word, word.partition(":")[0]) for word, _ in STUDIES[name]
    }


def test_without_the_record_the_plain_recipe_is_the_one_nearest_to_its_preset(tmp_path):
    write_sweep(tmp_path, STUDIES["variants that also ran at the reference size"])
    (tmp_path / NAME).unlink()
    (study,) = studies_of(tmp_path)
    assert study.series[0].label == "linear"
    assert {series.label for series in study.series} == {"linear", "reference rate 0.025", "gamma 1 everywhere"}
    assert {run.path.name.partition("-")[0] for run in study.reference.runs} == {"recipe"}


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "bigbatch sweep 1"}', "[" * 100_000, '{"format": 3}', ODD])
def test_a_damaged_record_is_ignored_and_said_and_the_sweep_asks_to_remove_it(tmp_path, text):
    sweep = write_sweep(tmp_path, STUDIES["variants that also ran at the reference size"])
    (tmp_path / NAME).write_text(text)
    runs = read_runs([tmp_path])
    assert len(runs.records) == 18
    (bad,) = runs.unreadable
    assert "sweep.json is damaged (" in bad.reason
    assert not any(run.summary.variant for run in runs.records)
    with pytest.raises(InputError, match="remove it, and it is written again"):
        check_folders(sweep)


def test_another_sweep_to_the_same_folder_adds_its_runs_and_keeps_the_reference(tmp_path):
    first = plan_sweep(digits(), [64], num_seeds=1, output=tmp_path)
    write_manifest(first)
    second = plan_sweep(digits(), [256], num_seeds=1, variants=parse_variants("unscaled"), output=tmp_path)
    write_manifest(second)
    record = read_manifest(tmp_path)
    assert record.reference == ("recipe", 16)
    assert record.runs == {job.name: job.configuration for job in (*first.jobs, *second.jobs)}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    other = with_settings(digits(), ["reference.minibatch_size=32"])
    with pytest.raises(InputError, match="whose reference is recipe at 16, not recipe at 32; choose another --output"):
        check_folders(plan_sweep(other, [64], num_seeds=1, output=tmp_path))


def test_a_variant_of_the_users_own_means_one_thing_in_a_folder(tmp_path):
    def sweep(variants, size):
        return plan_sweep(digits(), [size], num_seeds=1, variants=parse_variants(variants), output=tmp_path)

    write_manifest(sweep("mine:epochs=3,warmup.epochs=1", 64))
    write_manifest(sweep("other:epochs=5", 64))
    write_manifest(sweep("mine:epochs=3,warmup.epochs=1", 256))
    with pytest.raises(
        InputError, match=r"'mine' of the runs in .* is epochs=3,warmup.epochs=1; give this one another"
    ):
        check_folders(sweep("mine:epochs=5", 128))


def test_sweeps_with_the_same_reference_are_one_study_and_others_are_not(tmp_path):
    errors = {("recipe", 16): [2.0, 2.1], ("recipe", 64): [2.0, 2.1]}
    write_sweep(tmp_path / "a", errors)
    later = with_settings(digits(), ["seed=2"])
    write_sweep(tmp_path / "b", errors | {(DEEPER, 64): [1.0, 1.1]}, later)
    write_sweep(tmp_path / "c", errors, with_settings(digits(), ["epochs=7"]))
    write_run(tmp_path / "by-hand", recipe_of(64, 9), 2.0)
    studies = studies_of(tmp_path)
    assert [len(study.runs) for study in studies] == [11, 4]
    assert [len(point.results) for point in studies[0].points] == [4, 5, 2]
    assert len({study.title for study in studies}) == 2


STUDY = {("recipe", 16): [2.0, 2.1], ("recipe", 64): [2.2, 2.1], ("no-warmup", 64): [2.5, 2.4]}


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize(
    ("change", "plain"),
    [
        ("scaling.rule=square-root", ["linear", "square-root rule"]),
        ("warmup.epochs=1", ["linear", "warmup of 1.0 epochs"]),
        ("worker_minibatch_size=32", ["linear", "worker minibatch 32"]),
    ],
)
def test_two_sweeps_that_differ_in_what_does_nothing_at_their_reference_are_never_one_mean(
    tmp_path, change, plain, seed
):
    """The references are one point, whether the seeds of both sweeps are the same or not."""
    write_sweep(tmp_path / "a", STUDY)
    errors = {("recipe", 16): [2.0, 2.1], ("recipe", 64): [5.0, 5.1], ("no-warmup", 64): [6.0, 6.1]}
    write_sweep(tmp_path / "b", errors, with_settings(digits(), ["minibatch_size=64", change, f"seed={seed}"]))
    (study,) = studies_of(tmp_path)
    changed = {"linear": 2.15, plain[1]: 5.05, "no-warmup": 2.45, f"no-warmup, {plain[1]}": 6.05}
    if change == "warmup.epochs=1":  # which is nothing without warmup: the two are one training
        del changed[f"no-warmup, {plain[1]}"]
        changed["no-warmup"] = 2.45 if seed == 0 else 4.25  # the first with a seed counts
    means = {p.series: sum(p.results) / len(p.results) for p in study.points if p.minibatch_size == 64}
    assert means == pytest.approx(changed)
    assert len(study.reference.results) == (4 if seed else 2)
    assert {point.series for point in study.points if point.minibatch_size == 16} == {"linear"}


def test_a_run_outside_sweeps_joins_the_reference_whichever_of_them_is_the_plainest(tmp_path):
    recipe = with_settings(digits(), ["name=mine"])
    errors = {("recipe", 16): [2.0, 2.1], ("recipe", 64): [2.0, 2.1]}
    write_sweep(tmp_path / "a", errors, with_settings(recipe, ["warmup.kind=none"]))
    write_sweep(tmp_path / "b", errors, recipe)
    write_run(tmp_path / "by-hand", with_settings(recipe, ["seed=7"]), 2.3)
    (study,) = studies_of(tmp_path)
    assert study.reference.results == [2.0, 2.1, 2.3]
    assert [point.minibatch_size for series in study.series for point in series.points] == [16, 64, 64]


@pytest.mark.parametrize(
    "own", [["scaling.rule=adascale"], ["growth.kind=schedule"], ["growth.kind=noise-scale", "growth.start=32"]]
)
def test_a_variant_of_a_recipe_that_adapts_is_one_series_as_in_the_sweep(tmp_path, own):
    errors = {("recipe", 16): [2.0, 2.1], ("recipe", 256): [2.2, 2.1]}
    errors |= {("halved-rate", 16): [2.1, 2.2], ("halved-rate", 256): [2.3, 2.4]}
    sweep = write_sweep(tmp_path, errors, with_settings(digits(), ["minibatch_size=256", *own]))
    told = gather(sweep, read_states(sweep.jobs))
    (study,) = studies_of(tmp_path)
    assert [(len(series.points), series.label) for series in study.series][1:] == [(2, "halved-rate")]
    assert {str(row.verdict) for row in told.rows[1:]} == {str(verdict) for verdict in judge(study).verdicts.values()}


def test_one_name_for_two_variants_of_the_users_own_is_two_series(tmp_path):
    for folder, epochs, error in (("a", 3, 3.0), ("b", 4, 4.0)):
        mine = f"mine:epochs={epochs}"
        write_sweep(tmp_path / folder, {("recipe", 16): [2.0], (mine, 64): [error], (mine, 256): [error]})
    (study,) = studies_of(tmp_path)
    errors = {series.label: [p.results for p in series.points] for series in study.series[1:]}
    assert errors == {"mine": [[3.0], [3.0]], "mine, 4 epochs": [[4.0], [4.0]]}


def test_two_sweeps_of_one_recipe_stay_one_series_at_other_sizes_too(tmp_path):
    """Also for a variant whose weight decay follows the size, and with a setting that has no effect."""
    write_sweep(tmp_path / "a", {("recipe", 16): [2.0], ("recipe", 64): [2.1], ("loss-mean-per-worker", 64): [2.5]})
    other = with_settings(digits(), ["growth.start=32"])
    errors = {("recipe", 16): [2.0], ("recipe", 256): [2.1], ("loss-mean-per-worker", 256): [2.5]}
    write_sweep(tmp_path / "b", errors, other)
    (study,) = studies_of(tmp_path)
    assert [(series.label, [p.minibatch_size for p in series.points]) for series in study.series] == [
        ("linear", [16, 64, 256]),
        ("loss-mean-per-worker", [64, 256]),
    ]


def test_what_does_nothing_at_the_reference_size_splits_no_series(tmp_path):
    """A smaller worker of its own, a warmup and a scaling rule."""
    large = replace(recipe_of(64), worker_minibatch_size=32)
    small = with_settings(digits(), ["warmup.kind=none", "scaling.rule=square-root"])
    for seed in range(2):
        write_run(tmp_path / f"16-{seed}", replace(small, seed=seed), 2.0 + seed)
        write_run(tmp_path / f"64-{seed}", replace(large, seed=seed), 2.1 + seed)
        write_run(tmp_path / f"none-{seed}", replace(large, seed=seed, warmup=Warmup("none")), 3.1 + seed)
    (study,) = studies_of(tmp_path)
    assert [(series.label, [p.minibatch_size for p in series.points]) for series in study.series] == [
        ("linear", [16, 64]),
        ("no warmup", [64]),
    ]


def test_a_reference_of_one_worker_is_not_that_of_smaller_workers(tmp_path):
    write_run(tmp_path / "16", recipe_of(16), 2.0)
    write_run(tmp_path / "64", replace(recipe_of(64), worker_minibatch_size=8), 2.0)
    (study,) = studies_of(tmp_path)
    assert [series.label for series in study.series] == ["linear", "worker minibatch 8"]


def test_inexact_sums_are_a_series_of_their_own_and_skipped_updates_count_nowhere(tmp_path):
    errors = {("recipe", 16): [2.0, 2.1, 1.9], ("recipe", 64): [2.0, 2.0, 2.1]}
    sweep = write_sweep(tmp_path, errors)
    write_run(tmp_path / "native", recipe_of(64, 7), 2.0, reduction="native")
    job = next(job for job in sweep.jobs if job.name == "recipe-64-seed1")
    job.folder.append_metrics(read_line({"iteration": 3, "loss": None, "skipped": True}))
    (study,) = studies_of(tmp_path)
    assert [(point.configuration, len(point.results)) for point in study.points] == [
        (("linear", 16), 3),
        (("linear", 64), 2),
        (("native reduction", 64), 1),
    ]
    assert "1 finished runs skipped updates" in " ".join(notes(study, judge(study), []))
    states = read_states(sweep.jobs)
    results = gather(sweep, states)
    assert [len(row.results) for row in results.rows] == [3, 2]
    assert [(job.name, state.kind) for job, state in results.unfinished] == [("recipe-64-seed1", "skipped updates")]
    assert not is_to_run(states["recipe-64-seed1"], retry_failed=True)


def test_an_interrupted_run_keeps_its_number_of_iterations(tmp_path):
    run = write_run(tmp_path / "a", recipe_of(16), 2.0, status="running", iterations=None)
    run.append_metrics(*(read_line({"iteration": i, "loss": 1.0}) for i in range(48, 1000)))
    (record,) = read_runs([tmp_path]).records
    assert (record.state, record.num_iterations) == ("interrupted", 1000)
    (tmp_path / "runs.json").write_text(runs_to_json(read_runs([tmp_path])))
    (again,) = read_runs([tmp_path / "runs.json"]).records
    assert again.num_iterations == 1000


def test_a_record_says_what_each_run_is(tmp_path):
    write_sweep(tmp_path, {("recipe", 16): [2.0], (DEEPER, 64): [2.0]})
    assert json.loads((tmp_path / NAME).read_text()) == {
        "format": "bigbatch sweep 1",
        "reference": {"variant": "recipe", "minibatch_size": 16},
        "settings": {"deeper": ["model.name=cifar-resnet14"]},
        "runs": {
            "recipe-16-seed0": {"variant": "recipe", "minibatch_size": 16},
            "recipe-64-seed0": {"variant": "recipe", "minibatch_size": 64},
            "deeper-16-seed0": {"variant": "deeper", "minibatch_size": 16},
            "deeper-64-seed0": {"variant": "deeper", "minibatch_size": 64},
        },
    }
    told = {run.path.name: (run.summary.variant, run.summary.is_reference) for run in read_runs([tmp_path]).records}
    assert told == {"recipe-16-seed0": ("recipe", True), "deeper-64-seed0": ("deeper", False)}
