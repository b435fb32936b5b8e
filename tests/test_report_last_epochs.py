"""A run's error in a report is the median of its last epochs: five, or fewer if asked."""

from dataclasses import replace
from statistics import median

import pytest

from bigbatch.cli import main
from bigbatch.study.report.grouping.measures import result_of
from bigbatch.study.report.page.files import make_report
from bigbatch.study.report.reading.last_epochs import judged_by_last
from bigbatch.study.report.reading.sources import read_runs
from studies import recipe_of, write_run


@pytest.mark.parametrize("number", range(1, 6))
def test_a_runs_error_is_the_median_of_its_last_epochs(tmp_path, number):
    run = write_run(tmp_path / "a", recipe_of(16), 2.0)
    errors = [line.result for line in run.read_epochs()]
    run.write_summary(replace(run.read_summary(), result=median(errors[-5:])))
    (found,) = judged_by_last(read_runs([tmp_path]).records, number)
    assert result_of(found) == pytest.approx(median(errors[-number:]), rel=1e-5)  # condensed to six digits


def test_a_run_without_errors_stays_as_it_is(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), None, status="failed")
    runs = read_runs([tmp_path]).records
    assert judged_by_last(runs, 1) == list(runs)


def test_of_a_run_whose_epochs_are_lost_only_the_last_error_is_known(tmp_path):
    run = write_run(tmp_path / "a", recipe_of(16), 2.0, validation_error=9.0, final_validation_error=3.0)
    (run.path / "metrics.jsonl").write_text("garbage")
    runs = read_runs([tmp_path]).records
    assert [result_of(judged_by_last(runs, number)[0]) for number in (1, 2, 5)] == [3.0, None, 9.0]


def test_the_page_says_which_error_it_judges_and_keeps_the_runs_as_they_are(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), 2.0, validation_error=9.0)
    runs = read_runs([tmp_path])
    five, one = (make_report(runs, command="bigbatch report", last_epochs=number) for number in (5, 1))
    assert "median error of the last 5 epochs" in five.files["index.html"].decode()
    assert "error after the last epoch" in one.files["index.html"].decode()
    assert five.files["runs.json"] == one.files["runs.json"]
    assert [report.sections[0].points[0]["error %"][:4] for report in (five, one)] == ["9.00", "2.00"]


@pytest.mark.parametrize("number", ["0", "6", "1.5", "all"])
def test_more_epochs_than_a_report_keeps_are_refused(tmp_path, capsys, number):
    assert main(["report", str(tmp_path), "--last-epochs", number]) == 2
    assert "must be a whole number" in capsys.readouterr().err
