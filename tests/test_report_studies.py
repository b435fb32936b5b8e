"""How a report groups runs: studies, series, points, and which runs count."""

import json
from dataclasses import replace

import pytest

from bigbatch.errors import InputError
from bigbatch.recipe import Reference, Scaling, Warmup
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.runs.record import KeptMetrics, RunRecord, read_record
from bigbatch.runs.summary import Summary
from bigbatch.study.report.figures.curves import epoch_at, mean_curve, noise_curve
from bigbatch.study.report.grouping.studies import judge, split_into_studies
from bigbatch.study.report.page.tables import point_rows
from bigbatch.study.report.page.words import headline, largest_matching, notes, sentences
from bigbatch.study.report.reading.condense import MOST_POINTS, condense
from bigbatch.study.report.reading.sources import read_runs
from studies import REFERENCE, recipe_of, write_run, write_study


def studies_of(folder):
    return split_into_studies(read_runs([folder]).records)[0]


def test_series_are_recipes_points_are_sizes_and_the_plain_recipe_comes_first(tmp_path):
    (study,) = studies_of(write_study(tmp_path))
    assert [(s.label, [p.minibatch_size for p in s.points]) for s in study.series] == [
        ("linear", [REFERENCE, 64, 256, 1024]),
        ("no warmup", [64]),
    ]
    assert study.reference is study.series[0].points[0]
    assert [seed for point in study.points for seed in map(len, [point.counted])] == [3, 3, 3, 3, 3]


def test_what_has_not_finished_is_in_no_mean_and_a_repeated_seed_counts_once(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "linear-64-seed1-again", recipe_of(64, 1), 9.0, processes=1)
    (study,) = studies_of(tmp_path)
    point = study.series[0].points[1]
    assert sorted(point.results) == pytest.approx([1.92, 2.02, 2.12])
    assert len(point.runs) == 5
    text = " ".join(notes(study, judge(study), []))
    assert "2 of 18 runs have not finished (1 interrupted and 1 failed): shown, and in no mean." in text
    assert "1 finished runs repeat a seed" in text


def test_a_point_of_which_a_run_diverged_is_not_judged_for_the_others_are_the_lucky_ones(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "nan", recipe_of(256, 5), None, status="failed", exit_code=3, error="the loss is NaN")
    (study,) = split_into_studies([condense(run) for run in read_runs([tmp_path]).records])[0]
    point = next(point for point in study.series[0].points if point.minibatch_size == 256)
    findings = judge(study)
    assert point.configuration not in findings.verdicts
    row = next(row for row in point_rows(study, findings) if row["minibatch"] == "256")
    assert (row["seeds"], row["verdict"]) == ("3 (+1)", "1 of 4 diverged")
    assert "became NaN or infinite at 256 (1 of 4 runs)" in " ".join(notes(study, findings, []))


def test_names_places_and_seeds_of_parts_make_no_series(tmp_path):
    for seed, changes in enumerate(
        [{}, {"name": "other"}, {"reference": replace(recipe_of(16).reference, largest_matching=9)}]
    ):
        write_run(tmp_path / str(seed), recipe_of(16, seed, **changes), 2.0)
    table = recipe_of(16, 0).to_dict() | {"seeds": {"order": 5}}  # of a later bigbatch: this one refuses it
    write_run(tmp_path / "later", recipe_of(16, 0), 2.5, recipe=table)
    (study,) = studies_of(tmp_path)
    assert [(series.label, len(series.points)) for series in study.series] == [("linear", 1)]
    assert sorted(study.reference.results) == [2.0, 2.0, 2.0, 2.5]


@pytest.mark.parametrize(
    "change",
    [
        {"warmup": Warmup(epochs=1.0)},
        {"warmup": Warmup("constant")},
        {"scaling": Scaling("square-root")},
        {"scaling": Scaling(weight_decay="timescale")},
        {"warmup": Warmup(epochs=1.0), "scaling": Scaling("square-root")},
        {"warmup": Warmup(epochs=1.0), "epochs": 12},
    ],
)
def test_a_reference_belongs_to_its_own_recipe_even_where_that_is_not_the_presets(tmp_path, change):
    """Such a field does nothing at the reference's size, so the reference alone would be nearer to the preset."""
    for size in (REFERENCE, 64, 256):
        write_run(tmp_path / str(size), recipe_of(size, **change), 2.0)
    ((series,),) = [study.series for study in studies_of(tmp_path)]
    assert [point.minibatch_size for point in series.points] == [REFERENCE, 64, 256]


def test_a_series_is_called_by_what_differs_from_the_plain_recipe(tmp_path):
    changes = {
        "a": {"scaling": Scaling("none"), "warmup": Warmup("none")},
        "b": {"model": replace(recipe_of(16).model, zero_gamma=False)},
        "c": {"reference": Reference(16, 0.07)},
        "d": {"epochs": 7},
    }
    for seed in range(2):
        write_run(tmp_path / f"plain-{seed}", recipe_of(16, seed), 2.0)
    for name, change in changes.items():
        write_run(tmp_path / name, recipe_of(64, **change), 3.0)
    (study,) = studies_of(tmp_path)
    labels = {series.label for series in study.series[1:]}
    assert labels == {"rate not scaled, no warmup", "gamma 1 everywhere", "reference rate 0.07", "7 epochs"}


def test_other_data_or_another_model_is_another_study_and_never_compared(tmp_path):
    write_study(tmp_path / "a")
    write_run(tmp_path / "data", recipe_of(64), 5.0, data_fingerprint="00" * 32)
    write_run(tmp_path / "model", recipe_of(64, model=replace(recipe_of(64).model, width=4)), 5.0)
    write_run(tmp_path / "unseen", recipe_of(64, 7), None, status="failed", data_fingerprint=None)
    studies = studies_of(tmp_path)
    assert [len(study.runs) for study in studies] == [17, 1, 1, 1]
    assert len({study.title for study in studies}) == 4
    assert "nothing can be compared" in headline(studies[1], judge(studies[1]))
    assert judge(studies[1]).verdicts == {}


def test_a_run_that_ended_before_it_saw_the_data_joins_its_only_kin(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "early", recipe_of(64, 7), None, status="failed", data_fingerprint=None)
    (study,) = studies_of(tmp_path)
    assert len(study.runs) == 18


def test_runs_without_a_minibatch_size_belong_nowhere_and_damaged_ones_are_named(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "odd", recipe_of(64), 1.0, recipe={"minibatch_size": True})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    runs = read_runs([tmp_path, tmp_path / "odd"])
    studies, unplaced = split_into_studies(runs.records)
    assert [run.path.name for run in unplaced] == ["odd"]
    assert sum(len(study.runs) for study in studies) == 17
    assert [bad.path for bad in runs.unreadable] == [str(tmp_path / "broken")]


def test_the_verdict_in_words(tmp_path):
    (study,) = studies_of(write_study(tmp_path))
    findings = judge(study, margin=0.5)
    assert headline(study, findings) == f"Minibatch 64 matches the reference of {REFERENCE}."
    assert largest_matching(study, findings).minibatch_size == 64
    told = list(sentences(study, findings))
    assert told[0].startswith("The reference's error is ")
    assert told[1].startswith("Of the ")
    assert "1 matches" in told[1]
    assert told[2].startswith("Minibatch 64 took ")
    assert len(told) == 3
    assert all(len(sentence.split()) <= 25 for sentence in [*told, *notes(study, findings, [])])
    rows = {(row["recipe"], row["minibatch"]): row["verdict"] for row in point_rows(study, findings)}
    assert rows["linear", "256"].startswith("worse by 0.90")
    assert rows["no warmup", "64"].startswith("worse by 1.50")
    with pytest.raises(InputError, match="not above 0"):
        judge(study, margin=-1.0)


def test_a_size_that_matches_above_one_that_does_not_is_no_up_to(tmp_path):
    for seed, noise in enumerate((-0.1, 0.0, 0.1)):
        for size, error in {REFERENCE: 2.0, 64: 3.5, 256: 2.0}.items():
            write_run(tmp_path / f"{size}-seed{seed}", recipe_of(size, seed), error + noise)
    (study,) = studies_of(tmp_path)
    assert headline(study, judge(study, margin=0.5)) == "Minibatch 256 matches the reference of 16, but not all below."


@pytest.mark.parametrize(("error", "told"), [(2.0, " Of the variants, no warmup matches at 256."), (3.5, "")])
def test_a_variant_that_matches_beyond_the_plain_recipe_is_in_the_headline(tmp_path, error, told):
    for seed, noise in enumerate((-0.1, 0.0, 0.1)):
        for size, plain in {REFERENCE: 2.0, 64: 2.0, 256: 3.5}.items():
            write_run(tmp_path / f"{size}-seed{seed}", recipe_of(size, seed), plain + noise)
        for size in (64, 256):
            variant = recipe_of(size, seed, warmup=Warmup("none"))
            write_run(tmp_path / f"none-{size}-seed{seed}", variant, error + noise)
    (study,) = studies_of(tmp_path)
    assert headline(study, judge(study, margin=0.5)) == f"Minibatch 64 matches the reference of 16.{told}"


def test_what_matches_above_a_size_that_does_not_makes_no_up_to_and_hides_no_variant(tmp_path):
    for seed, noise in enumerate((-0.1, 0.0, 0.1)):
        for size, error in {REFERENCE: 2.0, 64: 2.0, 256: 3.5, 1024: 2.0}.items():
            write_run(tmp_path / f"{size}-seed{seed}", recipe_of(size, seed), error + noise)
        write_run(tmp_path / f"none-{seed}", recipe_of(256, seed, warmup=Warmup("none")), 2.0 + noise)
    (study,) = studies_of(tmp_path)
    found = headline(study, judge(study, margin=0.5))
    assert found == "Minibatch 64 matches the reference of 16. Of the variants, no warmup matches at 256."


def test_all_sizes_up_to_one_match_if_there_are_several(tmp_path):
    for seed, noise in enumerate((-0.1, 0.0, 0.1)):
        for size, error in {REFERENCE: 2.0, 64: 2.0, 256: 2.0, 1024: 4.0}.items():
            write_run(tmp_path / f"{size}-seed{seed}", recipe_of(size, seed), error + noise)
    (study,) = studies_of(tmp_path)
    assert headline(study, judge(study, margin=0.5)) == "Minibatches of up to 256 match the reference of 16."


def test_one_seed_of_the_reference_is_said_to_be_too_few(tmp_path):
    for size in (16, 64):
        write_run(tmp_path / str(size), recipe_of(size), 2.0)
    (study,) = studies_of(tmp_path)
    findings = judge(study)
    assert (findings.margin, findings.elbow) == (None, None)
    assert "cannot tell: at least 2 seeds are needed" in str(findings.verdicts["linear", 64])
    assert "run more seeds, or state one" in " ".join(notes(study, findings, []))


def record(iterations, epochs, **summary):
    kept = KeptMetrics([*map(IterationLine.read, iterations)], [*map(EpochLine.read, epochs)])
    return RunRecord(None, "finished", Summary.read(summary), kept)


def test_condensing_keeps_means_and_the_last_epochs_and_does_nothing_twice():
    iterations = [{"iteration": i, "loss": float(i % 2), "learning_rate": i / 7} for i in range(5001)]
    epochs = [{"epoch": i, "validation_error": 90.0 if i < 995 else 2.0} for i in range(1000)]
    once = condense(record(iterations, epochs))
    assert len(once.iterations) == len(once.epochs) == MOST_POINTS
    assert all(abs(line.loss - 0.5) < 0.05 for line in once.iterations)
    assert [line.epoch for line in once.epochs[-5:]] == list(range(995, 1000))
    twice = condense(once)
    assert (twice.iterations, twice.epochs, twice.summary) == (once.iterations, once.epochs, once.summary)


def test_condensing_leaves_out_what_is_no_finite_number():
    lines = [{"iteration": 0, "loss": float("nan"), "learning_rate": "fast"}, {"iteration": 1, "loss": 2}]
    small = condense(record(lines, [{"epoch": 1, "validation_error": float("inf")}], seconds=float("nan")))
    assert [line.to_json() for line in small.iterations] == [{"iteration": 0}, {"iteration": 1, "loss": 2.0}]
    assert small.result is None
    assert json.loads(json.dumps(small.summary.to_json(), allow_nan=False)) == {"iterations": 2, "seconds": None}


def test_epochs_between_marks_follow_their_own_lengths():
    """A minibatch that grows makes later epochs shorter in iterations."""
    run = record([], [{"epoch": 1, "iteration": 10}, {"epoch": 2, "iteration": 15}])
    assert [epoch_at(run, i) for i in (4, 9, 14, 19)] == [0.5, 1.0, 2.0, 3.0]
    assert epoch_at(record([], []), 3) is None


def test_curves_are_averaged_where_all_have_values(tmp_path):
    assert mean_curve([]) == []
    assert mean_curve([[(1.0, 1.0), (2.0, 5.0)], [(1.0, 3.0)]]) == [(1.0, 2.0)]
    run = read_record(write_run(tmp_path / "a", recipe_of(16), 2.0).path)
    scales = [scale for _, scale in noise_curve([run])]
    assert 100 <= min(scales) < max(scales) <= 2 * (50 + 48)  # between the first and the last ratio
    assert noise_curve([]) == []


def test_an_error_that_is_no_percentage_is_no_result(tmp_path):
    for seed, error in enumerate((-1.0, 100.5, 1e20, 3.0)):
        write_run(tmp_path / str(seed), recipe_of(16, seed), 3.0, validation_error=error)
    (study,) = studies_of(tmp_path)
    assert study.reference.results == [3.0]
