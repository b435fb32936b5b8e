"""A report of runs that are judged by another metric than the top-1 error says what they measure, and nothing else."""

import html
import re

import pytest
from matplotlib.figure import Figure

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.recipe.metrics import MEAN_IOU, MEAN_LOSS, MEASURES, PERPLEXITY, TOP_1_ERROR, Measure
from bigbatch.runs.metrics import read_line
from bigbatch.study.naming import mean_of
from bigbatch.study.report.figures.curves import result_curve
from bigbatch.study.report.figures.results_by_size import draw_results_by_size
from bigbatch.study.report.figures.standalone import draw_figure
from bigbatch.study.report.figures.value_axis import ending_of, is_logarithmic, limits_of
from bigbatch.study.report.grouping.studies import judge, split_into_studies
from bigbatch.study.report.page.files import make_report, write_report
from bigbatch.study.report.page.tables import point_rows, run_rows
from bigbatch.study.report.page.words import headline, sentences
from bigbatch.study.report.reading.last_epochs import judged_by_last
from bigbatch.study.report.reading.runs_file import runs_to_json
from bigbatch.study.report.reading.sources import read_runs
from studies import recipe_of, write_run

BOX_AP = MEASURES["coco-box-ap"]
SCORE = Measure("f-score", "", "higher")  # of the user's own
RESULTS = {
    PERPLEXITY: {16: 6.3, 64: 6.3, 256: 6.6, 1024: 700.0},
    MEAN_IOU: {16: 61.0, 64: 61.0, 256: 60.1, 1024: 3.0},
    BOX_AP: {16: 35.9, 64: 35.9, 256: 35.1, 1024: 0.4},
    MEAN_LOSS: {16: 0.00123, 64: 0.00123, 256: 0.00131, 1024: 0.9},
    SCORE: {16: 0.81, 64: 0.81, 256: 0.79, 1024: 0.01},
}
NOUNS = {PERPLEXITY: "perplexity", MEAN_IOU: "mean IoU", BOX_AP: "box AP", MEAN_LOSS: "mean loss", SCORE: "f score"}


def write_results(folder, measure, **changes):
    """Write four seeds of four sizes: two that match, one that is worse, one that is lost."""
    metric = "tests.metrics:own" if measure == SCORE else measure.name
    for size, result in RESULTS[measure].items():
        for seed, noise in enumerate((0.998, 0.999, 1.001, 1.002)):
            recipe = recipe_of(size, seed, metrics=(metric,), **changes)
            write_run(folder / f"{measure.name}-{size}-seed{seed}", recipe, result * noise, measure=measure)
    return folder


@pytest.fixture(params=RESULTS, ids=NOUNS.get)
def measure(request):
    return request.param


@pytest.fixture(scope="module", params=(PERPLEXITY, MEAN_IOU, BOX_AP), ids=NOUNS.get)
def page(request, tmp_path_factory):
    """Return a metric, the report of its runs, and the texts of the page and in its figures."""
    runs = read_runs([write_results(tmp_path_factory.mktemp("runs"), request.param)])
    report = make_report(runs, command="bigbatch report runs")
    text = re.sub(r"<style>.*?</style>", "", report.files["index.html"].decode(), flags=re.DOTALL)
    return request.param, report, html.unescape(text)


def judged(folder):
    """Return the only study of a folder, and its judgement."""
    (study,), _ = split_into_studies(read_runs([folder]).records)
    return study, judge(study)


def test_nothing_on_the_page_is_called_an_error(page):
    measure, report, text = page
    noun = NOUNS[measure]
    side, place, edge = ("below", "under", "lower") if measure.better == "higher" else ("above", "over", "upper")
    assert "error" not in text.lower()
    assert "accuracy" not in text.lower()
    assert not [name for name in report.files if "error" in name]
    assert f"Does the {noun} survive the larger minibatch?" in text
    assert f"The reference's {noun} is " in text
    assert f"Validation {noun} against minibatch size" in text
    assert f"the {noun} of a run is the median {noun} of the last 5 epochs" in text
    assert (f"points {side} the reference's" in text) == (measure.unit == "%")
    assert f"Mean values {side} the axis are written {place} it" in text
    assert f"{side} the axis, not to scale: {mean_of(measure)}" in text
    assert f"the {edge} edge" in text
    assert f"{side} the reference's (twice the standard deviation" in text


def test_what_matches_and_what_is_worse_follows_the_direction(measure, tmp_path):
    study, found = judged(write_results(tmp_path, measure))
    verdicts = [row["verdict"] for row in point_rows(study, found)]
    assert verdicts[0] == "the reference"
    assert verdicts[1].startswith("matches: ")
    assert verdicts[2].startswith("worse by ")
    assert verdicts[3].startswith("worse by ")
    assert headline(study, found) == "Minibatch 64 matches the reference of 16."
    assert (found.elbow.last_within, found.elbow.first_beyond) == (64, 256)


@pytest.mark.parametrize(("measure", "factor", "words"), [(PERPLEXITY, 1.5, "exceeds"), (MEAN_IOU, 0.5, "falls below")])
def test_where_the_size_leaves_is_said_in_the_metrics_direction(tmp_path, measure, factor, words):
    for size, mean in ((16, 50.0), (64, 50.0 * factor)):
        for seed, noise in enumerate((0.999, 1.0, 1.001)):
            write_run(tmp_path / f"{size}-{seed}", recipe_of(size, seed), mean * noise, measure=measure)
    said = list(sentences(*judged(tmp_path)))
    assert f"From 64 on, the {mean_of(measure)} {words} the reference's by more than the margin." in said


def test_the_file_of_runs_keeps_the_metric_and_the_verdicts(page, tmp_path):
    measure, report, _ = page
    write_report(report, tmp_path / "page")
    runs = read_runs([tmp_path / "page" / "runs.json"])
    assert {run.metric for run in runs.records} == {measure}
    study, found = judged(tmp_path / "page" / "runs.json")
    assert list(point_rows(study, found)) == report.sections[0].points
    assert runs_to_json(runs).encode() == report.files["runs.json"]
    assert b"validation_error" not in report.files["runs.json"]


def test_numbers_have_the_digits_of_their_spread(tmp_path):
    shown = []
    for measure in RESULTS:
        row = next(point_rows(*judged(write_results(tmp_path / measure.name, measure))))
        shown.append(row[f"{NOUNS[measure]} {measure.unit}".rstrip()])
    assert shown == ["6.300 ± 0.012", "61.00 ± 0.11", "35.90 ± 0.07", "0.0012300 ± 0.0000022", "0.8100 ± 0.0015"]


def test_the_axis_ends_on_the_worse_side_and_the_strip_lies_there(tmp_path):
    for measure in (PERPLEXITY, MEAN_IOU, BOX_AP):
        study, found = judged(write_results(tmp_path / measure.name, measure))
        figure = Figure()
        draw_results_by_size(figure, study, found.margin, found.elbow)
        first, second = figure.axes if measure == PERPLEXITY else figure.axes[::-1]
        assert first.get_title(loc="left").endswith(f"the axis, not to scale: {mean_of(measure)}")
        low, high = second.get_ylim()
        assert (high < 700.0) if measure == PERPLEXITY else (low > 3.0)
        assert low < RESULTS[measure][256] < high
        assert second.get_ylabel() == f"validation {NOUNS[measure]}" + (" (%)" if measure.unit else "")
        is_above = first.get_subplotspec().rowspan.start < second.get_subplotspec().rowspan.start
        assert is_above == (measure == PERPLEXITY)


@pytest.mark.parametrize(
    ("measure", "reference", "margin", "end"),
    [
        (TOP_1_ERROR, 6.0, 0.3, 12.0),
        (TOP_1_ERROR, 0.2, None, 1.2),
        (MEAN_IOU, 70.0, 0.5, 40.0),
        (BOX_AP, 36.0, 0.2, 18.0),
        (BOX_AP, 0.0, 0.2, -1.0),
        (MEAN_IOU, 99.9, 0.5, 98.9),
        (SCORE, 0.8, 0.1, 0.4),
        (MEAN_LOSS, -3.0, None, 0.0),
        (MEAN_LOSS, 0.001, None, 0.002),
        (MEAN_LOSS, 0.0, 2.0, 4.0),
        (Measure("log-likelihood", "", "higher"), -100.0, None, -150.0),
    ],
)
def test_the_end_of_the_axis_is_far_worse_than_the_reference(measure, reference, margin, end):
    ending = ending_of(measure, reference, margin)
    assert ending.value == pytest.approx(end)
    assert not ending.is_beyond(reference)
    worse = end + (1 if measure.better == "lower" else -1)
    assert ending.is_beyond(worse)


# Several metrics


@pytest.fixture
def mixed(tmp_path):
    """Return the folder of runs with the same data and model that are judged by three metrics."""
    write_run(tmp_path / "runs" / "old", recipe_of(16), 2.0)
    for measure, count in ((PERPLEXITY, 2), (MEAN_IOU, 3)):
        for seed in range(count):
            recipe = recipe_of(16, seed, metrics=(measure.name,))
            write_run(tmp_path / "runs" / f"{measure.name}-{seed}", recipe, 6.3, measure=measure)
    return tmp_path / "runs"


def test_runs_of_different_metrics_are_never_in_one_study(mixed):
    studies, unplaced = split_into_studies(read_runs([mixed]).records)
    assert not unplaced
    assert [{run.metric for run in study.runs} for study in studies] == [{MEAN_IOU}, {PERPLEXITY}, {TOP_1_ERROR}]
    assert [study.title.rpartition(", by ")[2] for study in studies] == ["mean IoU", "perplexity", "error"]


def test_a_page_and_a_table_of_several_metrics_say_which_is_which(mixed):
    report = make_report(read_runs([mixed]), command="")
    text = report.files["index.html"].decode()
    assert "Does the result survive the larger minibatch?" in text
    assert "can be compared, if they are judged by the same metric." in text
    rows = {row["run"]: row["result"] for row in run_rows(read_runs([mixed]).records)}
    assert rows["old"] == "error 2.00 %"
    assert rows["mean-iou-1"] == "mean IoU 6.30 %"
    assert rows["perplexity-1"] == "perplexity 6.3"


@pytest.mark.parametrize("figure", [(), ("--figure", "a.png", "--figure-kind", "curves"), ("--figure", "a.png")])
def test_what_would_compare_metrics_is_refused_in_a_line(mixed, figure, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(mixed), *figure, *(() if figure else ("--margin", "0.5"))]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ("one margin cannot hold for" in said) == (not figure)
    assert ("a figure cannot compare runs that are judged by" in said) == bool(figure)


def test_a_margin_that_no_two_results_differ_by_is_refused(tmp_path):
    study, _ = judged(write_results(tmp_path / "shares", MEAN_IOU))
    with pytest.raises(InputError, match="margin 150 is no margin: a validation mean IoU lies between 0 and 100 %"):
        judge(study, 150.0)
    study, _ = judged(write_results(tmp_path / "others", PERPLEXITY))
    assert judge(study, 150.0).margin == 150.0


def test_losses_of_two_kinds_are_two_studies_and_perplexities_of_outputs_one(tmp_path):
    for measure in (MEAN_LOSS, PERPLEXITY):
        write_results(tmp_path / measure.name / "one", measure, loss="cross-entropy")
        write_results(tmp_path / measure.name / "other", measure, loss="tests.losses:smooth")
    assert len(split_into_studies(read_runs([tmp_path / "mean-loss"]).records)[0]) == 2
    assert len(split_into_studies(read_runs([tmp_path / "perplexity"]).records)[0]) == 1


def test_further_metrics_make_no_other_recipe(tmp_path):
    """The first one judges. The others are measured too, and change no weight."""
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", recipe_of(16, seed, metrics=("perplexity",)), 6.0 + seed, measure=PERPLEXITY)
        more = recipe_of(64, seed, metrics=("perplexity", "top-1-error"))
        write_run(tmp_path / f"b{seed}", more, 6.0 + seed, measure=PERPLEXITY)
    ((study,), _) = split_into_studies(read_runs([tmp_path]).records)
    assert [series.label for series in study.series] == ["linear"]
    assert len(study.series[0].points) == 2


def test_a_run_of_a_damaged_metric_is_compared_with_none(tmp_path):
    write_results(tmp_path, PERPLEXITY)
    write_run(tmp_path / "evil", recipe_of(64), 6.0, measure=PERPLEXITY, metric={"name": 3})
    studies, _ = split_into_studies(read_runs([tmp_path]).records)
    assert [len(study.runs) for study in studies] == [16, 1]
    assert "unknown metric" in studies[1].title


def test_a_foreign_name_forges_nothing_in_a_figure_or_a_file(tmp_path):
    evil = Measure('"><script>\x1b[1A' + "x" * 500, "<b>", "lower")
    for size in (16, 64):
        for seed in range(2):
            write_run(tmp_path / f"{size}-{seed}", recipe_of(size, seed), 1.0 + seed, measure=evil)
    report = make_report(read_runs([tmp_path]), command="")
    page = report.files["index.html"].decode()
    assert "<script" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert all(re.fullmatch(r"[a-z0-9.-]{1,80}", name) for name in report.files)
    draw_figure(read_runs([tmp_path]).records, tmp_path / "figure.svg")
    assert "<script" not in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize(
    ("measure", "low", "high", "judge", "is_log"),
    [
        (TOP_1_ERROR, 2.0, 3.0, TOP_1_ERROR, True),
        (MEAN_LOSS, 2.0, 3.0, TOP_1_ERROR, True),
        (MEAN_LOSS, 2.0, 3.0, PERPLEXITY, False),
        (PERPLEXITY, 14.0, 35.0, PERPLEXITY, False),
        (PERPLEXITY, 14.0, 140.0, PERPLEXITY, True),
        (MEAN_LOSS, -3.0, 100.0, MEAN_LOSS, False),
        (MEAN_IOU, 1.0, 90.0, MEAN_IOU, False),
    ],
)
def test_an_axis_is_logarithmic_over_decades_of_what_nears_0(measure, low, high, judge, is_log):
    assert is_logarithmic(measure, low, high, judge=judge) == is_log


def test_what_diverges_does_not_flatten_the_curves_of_the_others():
    reference, lost = [(1.0, 0.2), (2.0, 0.6)], [(1.0, -4.5e6), (2.0, 0.1)]
    low, high = limits_of(SCORE, [reference, lost], reference)
    assert (low, high) == (pytest.approx(0.2 - 0.4), 0.6)
    assert limits_of(MEAN_IOU, [[(1.0, 3.0)], [(1.0, 90.0)]], [(1.0, 80.0)])[0] == 3.0, "a share is shown whole"
    assert limits_of(PERPLEXITY, [[(1.0, 5e9)]], [(1.0, 40.0)])[1] == 80.0
    assert limits_of(MEAN_LOSS, [[(1.0, 5e9)]], [(1.0, -3.0), (2.0, -4.0)])[1] == -2.0, "a loss below 0"
    assert limits_of(PERPLEXITY, [[(1.0, 5e9)]], [])[1] == 5e9, "without a reference"


def test_a_result_too_large_to_draw_still_counts(tmp_path):
    """Else the median of the other epochs would be the run's result."""
    lines = [{"epoch": i, "iteration": i, "validation": {"perplexity": 6.0 if i < 3 else 1e40}} for i in range(1, 6)]
    run = write_run(tmp_path / "run", recipe_of(16), None, measure=PERPLEXITY, result=1e40)
    run.append_metrics(*map(read_line, lines))
    (record,) = read_runs([tmp_path]).records
    assert record.result == 1e40
    assert [line.result for line in record.epochs] == [6.0, 6.0, 1e40, 1e40, 1e40]
    assert judged_by_last([record], 4)[0].result == 1e40
    assert result_curve(record) == [(1.0, 6.0), (2.0, 6.0)]
