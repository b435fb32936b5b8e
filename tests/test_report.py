"""`bigbatch report`: its table, its page, its figures, and the file that draws them again."""

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure
from PIL import Image

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.study.report import CURVES, SIZES
from bigbatch.study.report.figures.results_by_size import draw_results_by_size
from bigbatch.study.report.figures.standalone import draw_figure
from bigbatch.study.report.grouping.studies import split_into_studies
from bigbatch.study.report.page import files as page_files
from bigbatch.study.report.page.files import make_report, missing_extras, write_report
from bigbatch.study.report.page.tables import run_rows
from bigbatch.study.report.reading.runs_file import read_runs_file, runs_to_json
from bigbatch.study.report.reading.sources import read_runs
from studies import recipe_of, write_run

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;$\\frac{'


class Tags(HTMLParser):
    """The tags of a page, their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_a_row_shows_a_run_and_says_when_it_has_not_finished(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), 3.0)
    write_run(tmp_path / "b", recipe_of(16), None, status="failed")
    first, second = run_rows(read_runs([tmp_path]).records)
    assert (first["minibatch"], first["workers"], first["error %"], first["weights"]) == ("16", "1", "3.00", "ab" * 4)
    assert (second["run"], second["error %"]) == ("b (failed)", "–")  # noqa: RUF001


def test_the_command_prints_tables_and_writes_the_page_its_figures_and_its_runs(study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(study), "--margin", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "linear-64-seed3 (interrupted)" in out
    assert "worse by 0.90" in out
    assert "Minibatch 64 matches the reference of 16." in out
    names = {path.name for path in (tmp_path / "report").iterdir()}
    figures = {
        f"{name}.png" for name in re.findall(r'id="([a-z-]+)-figure_1"', (tmp_path / "report/index.html").read_text())
    }
    assert figures == {
        *("error-by-size.png", "training-loss.png", "validation-error.png", "learning-rate.png", "cost.png"),
        "noise-scale.png",
    }
    assert names == figures | {"index.html", "runs.json"}


def test_the_page_is_the_same_to_the_byte_from_the_file_that_it_wrote(report, tmp_path):
    write_report(report, tmp_path)
    again = make_report(read_runs([tmp_path / "runs.json"]), command="bigbatch report runs")
    assert again.files == report.files


def test_the_page_needs_nothing_else_and_is_whole(report):
    page = report.files["index.html"].decode()
    tags = Tags(page)
    assert "script" not in tags.tags
    assert not [
        value for name, value in tags.attributes if name in {"src", "href"} and not value.startswith(("#", "data:"))
    ]
    assert "@import" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
    assert {value.removeprefix("#") for name, value in tags.attributes if name == "href" and "#" in value} <= set(ids)
    assert tags.tags.count("figure") == tags.tags.count("svg") == tags.tags.count("figcaption") == 6
    assert tags.tags.count("title") == 1
    assert ("lang", "en") in tags.attributes
    assert tags.tags.count("th") == sum(name == "scope" for name, _ in tags.attributes)


def test_every_figure_follows_the_pages_colours_and_is_well_formed(report):
    for figure in report.sections[0].figures:
        assert ET.fromstring(figure.drawing.svg).tag.endswith("svg")  # noqa: S314 - our own
        left = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", figure.drawing.svg))
        assert left == set(), figure.name
        assert "<style" not in figure.drawing.svg


def test_pngs_are_figures_on_white(report):
    for name, content in report.files.items():
        if name.endswith(".png"):
            with Image.open(io.BytesIO(content)) as image:
                assert image.width == 9 * 150
                assert image.convert("RGB").getpixel((1, image.height - 1)) == (255, 255, 255)
                assert len(image.convert("RGB").getcolors(1_000_000)) > 50


def test_nothing_that_a_run_says_gets_into_the_page_as_markup_or_unseen(tmp_path):
    recipe = recipe_of(64).to_dict() | {"name": EVIL, "loss": EVIL}
    recipe["optimizer"]["name"] = EVIL
    recipe["data"]["name"] = recipe["model"]["name"] = EVIL
    said = {"error": EVIL, "device": EVIL, "versions": {"torch": EVIL}, "code": {EVIL: EVIL}, "git": {"commit": EVIL}}
    for seed in range(2):
        write_run(tmp_path / f"a<script>b{seed}", recipe_of(16, seed), 2.0 + seed, recipe=recipe | {"seed": seed})
    other = recipe | {EVIL: EVIL, "loss": "b" + EVIL, "seed": 0}
    write_run(tmp_path / "b&", recipe_of(64), 3.0, recipe=other | {"minibatch_size": 64}, **said)
    write_run(tmp_path / "c", recipe_of(64), 3.0, recipe=recipe | {"seed": 9}, status="failed", **said)
    write_run(tmp_path / "d\x1b[2J\u202e", recipe_of(16, 5), None, status="failed", recipe=recipe | {"seed": 5})
    (tmp_path / "bad <b>").mkdir()
    (tmp_path / "bad <b>" / "run.json").write_text("{")
    report = make_report(read_runs([tmp_path]), command=f"bigbatch report {EVIL}\x00")
    page = report.files["index.html"].decode()
    tags = Tags(page)
    assert not {"script", "img", "b"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert html.escape("<script>alert(1)</script>") in page
    assert "</script>" not in page
    assert "<script>" in "".join(tags.text)
    assert "d\\x1b[2J\\u202e" in page
    assert not set(page) & {"\x1b", "\u202e", "\x00"}


def test_studies_have_sections_of_their_own_and_figures_that_share_no_ids(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), 2.0)
    write_run(tmp_path / "b", recipe_of(16), 2.0, data_fingerprint="00" * 32)
    report = make_report(read_runs([tmp_path]), command="bigbatch report")
    page = report.files["index.html"].decode()
    assert "These runs belong to 2 studies, each with its own section." in page
    assert {"learning-rate.png", "group-2-learning-rate.png"} <= set(report.files)
    ids = [value for name, value in Tags(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_of_one_size_there_is_no_figure_of_sizes(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), 2.0)
    (section,) = make_report(read_runs([tmp_path]), command="bigbatch report").sections
    assert "nothing but the reference" in section.headline
    assert section.figures[0].name == "training-loss"


def test_runs_without_any_result_still_make_a_page(tmp_path):
    write_run(tmp_path / "a", recipe_of(16), None, status="failed", error="out of memory")
    report = make_report(read_runs([tmp_path]), command="bigbatch report")
    assert "There is no finished run of the reference" in report.sections[0].headline
    assert "failed: out of memory" in report.files["index.html"].decode()


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_one_figure_alone_comes_in_the_format_of_its_suffix(study, tmp_path, suffix):
    target = tmp_path / f"figure{suffix}"
    draw_figure(read_runs([study]).records, target)
    assert target.read_bytes().startswith(SIGNATURES[suffix])


def test_the_kind_of_figure_suits_the_runs(study, tmp_path):
    few = [study / "linear-16-seed0", study / "linear-64-seed3"]
    for paths, kind, label in ((few, "auto", "epoch"), ([study], "auto", "minibatch size"), ([study], CURVES, "epoch")):
        draw_figure(read_runs(paths).records, tmp_path / "figure.svg", kind=kind)
        texts = [text.strip() for text in re.findall(r">([^<>]+)</text>", (tmp_path / "figure.svg").read_text())]
        assert label in texts
    draw_figure(read_runs(few).records, tmp_path / "figure.svg")
    assert "(interrupted)" in (tmp_path / "figure.svg").read_text()
    write_run(tmp_path / "new", recipe_of(16), None, status="running")
    with pytest.raises(InputError, match="needs finished runs of one data set, model and metric"):
        draw_figure(read_runs([tmp_path / "new"]).records, tmp_path / "figure.svg", kind=SIZES)


def test_the_bar_of_what_lies_above_the_axis_does_not_stretch_it(study, tmp_path):
    write_run(
        tmp_path / "study" / "linear-1024-seed4", recipe_of(1024, 4), 9.0
    )  # two standard deviations reach below 0
    draw_figure(read_runs([study, tmp_path / "study"]).records, tmp_path / "figure.svg", kind=SIZES)
    figure = (tmp_path / "figure.svg").read_text()
    ticks = [float(text) for text in re.findall(r">\s*(\d+\.\d+)\s*</text>", figure)]
    assert 1 < min(ticks) < max(ticks) < 5
    assert "\u2212" not in figure


def test_what_lies_above_the_axis_is_written_over_it(study, tmp_path):
    draw_figure(read_runs([study]).records, tmp_path / "figure.svg", kind=SIZES)
    figure = (tmp_path / "figure.svg").read_text()
    assert "90.0 %" in figure
    assert "1 failed" in figure
    assert re.search(r">\s*elbow\s*</text>", figure)
    ticks = [float(text) for text in re.findall(r">\s*(\d+\.\d+)\s*</text>", figure)]
    assert max(ticks) < 5  # the flat part, not 90, sets the scale


@pytest.mark.parametrize(("largest", "is_cut"), [(4.05, True), (3.95, False)])
def test_nothing_is_both_drawn_on_the_axis_and_written_over_it(tmp_path, largest, is_cut):
    """The axis ends at twice the reference's error, 4 %."""
    for size, error in {16: 2.0, 64: 3.95, 256: largest}.items():
        write_run(tmp_path / str(size), recipe_of(size), error)
    (found,), _ = split_into_studies(read_runs([tmp_path]).records)
    figure = Figure()
    draw_results_by_size(figure, found, None)
    top = figure.axes[-1].get_ylim()[1]
    assert (len(figure.axes), 3.95 < top <= 4.0) == ((2, True) if is_cut else (1, False))


def test_with_a_figure_there_is_no_page_unless_it_is_asked_for(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(study / "linear-16-seed0"), "--figure", "figure.png"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert "figure: figure.png" in capsys.readouterr().out


def test_without_an_extra_the_table_is_printed_and_the_extra_is_named(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page_files, "find_spec", lambda package: None if package == "scipy" else True)
    assert missing_extras() == "scipy: pip install 'bigbatch[stats]'"
    assert main(["report", str(study)]) == 0
    printed = capsys.readouterr()
    assert "linear-16-seed0" in printed.out
    assert printed.err == "bigbatch: there is no page without scipy: pip install 'bigbatch[stats]'\n"
    assert main(["report", str(study), "--output", "page"]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "cannot read the runs in"),
        ("[" * 100_000, "cannot read the runs in"),
        ("[]", "is not the runs.json of a report"),
        ({"runs": []}, "there is no run in these files"),
        ({"runs": [{}]}, "a run's path is missing"),
        ({"runs": [{"path": "a\0b"}]}, "a run's path is missing"),
        ({"runs": [{"path": "a", "state": ["finished"], "summary": {}}]}, "the run a is damaged"),
        ({"runs": [{"path": "a", "state": "finished", "summary": {"x": 2**70}}]}, "the run a is damaged"),
        ({"runs": [{"path": "a", "state": "finished", "summary": []}]}, "the run a is damaged"),
        ({"runs": [{"path": "a", "iterations": {"iteration": [1], "loss": []}}]}, "do not fit together"),
        ({"runs": [{"path": "a", "iterations": {"loss": [1]}}]}, "do not fit together"),
        ({"runs": [{"path": "a", "epochs": {"epoch": ["one"]}}]}, "do not fit together"),
        ({"runs": [{"path": "a", "epochs": {"epoch": 1}}]}, "do not fit together"),
        ({"runs": [], "unreadable": [["a"]]}, "a run's path is missing"),
    ],
)
def test_a_file_of_runs_is_read_with_mistrust(tmp_path, content, message):
    path = tmp_path / "runs.json"
    if isinstance(content, dict):
        content = json.dumps({"format": "bigbatch report 1", "unreadable": [], **content})
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_runs([path])


def test_a_file_of_runs_is_small_stable_and_says_all_there_is(study, tmp_path):
    runs = read_runs([study])
    text = runs_to_json(runs)
    (tmp_path / "runs.json").write_text(text)
    again = read_runs_file(tmp_path / "runs.json")
    assert runs_to_json(again) == text
    assert text.count("\n") == len(runs.records) + 2
    assert [run.recipe for run in again.records] == [run.recipe for run in runs.records]
    assert [run.result for run in again.records] == [run.result for run in runs.records]


def test_what_cannot_be_reported_or_written_is_refused(study, tmp_path, report):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no run, and no folder in it does"):
        read_runs([tmp_path / "empty"])
    with pytest.raises(InputError, match="none holds no run"):
        read_runs([Path("none")])
    (tmp_path / "file").touch()
    for folder, message in ((study / "linear-16-seed0", "holds a run"), (tmp_path / "file", "cannot write the report")):
        with pytest.raises(InputError, match=message):
            write_report(report, folder)
    runs = read_runs([study]).records
    for target in (tmp_path / "none" / "figure.png", tmp_path / "figure.xyz"):
        with pytest.raises(InputError, match="cannot write the figure"):
            draw_figure(runs, target)
    assert main(["report", str(study), "--margin", "nan"]) == 2


def test_runs_of_two_machines_with_the_same_paths_are_all_read(tmp_path):
    """The names of folders are the same on both; a file that is named twice adds none."""
    for machine, hour in (("one", 5), ("other", 6)):
        folder = tmp_path / machine
        for seed in range(2):
            began = f"2026-11-24T0{hour}:00:0{seed}+00:00"
            write_run(folder / f"64-seed{seed}", recipe_of(64, seed), 1.0 + hour, started=began)
        text = runs_to_json(read_runs([folder])).replace(str(folder), "runs")
        (tmp_path / f"{machine}.json").write_text(text)
    files = [tmp_path / "one.json", tmp_path / "other.json"]
    assert [str(run.path) for run in read_runs([files[0], *files]).records] == [
        *("runs/64-seed0", "runs/64-seed1"),
        *(f"{files[1]}/runs/64-seed0", f"{files[1]}/runs/64-seed1"),
    ]


def test_the_folder_of_a_run_that_was_trained_again_goes_before_an_older_file(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"64-seed{seed}", recipe_of(64, seed), 2.0)
    (tmp_path / "old.json").write_text(runs_to_json(read_runs([tmp_path / "runs"])))
    again = {"started": "2026-11-25T00:00:00+00:00"}
    write_run(tmp_path / "runs" / "64-seed0", recipe_of(64, 0), 7.0, **again)
    for paths in ([tmp_path / "runs", tmp_path / "old.json"], [tmp_path / "old.json", tmp_path / "runs"]):
        assert [run.result for run in read_runs(paths).records] == [7.0, 2.0]


def test_a_path_that_is_named_twice_counts_once(study, tmp_path, report):
    write_report(report, tmp_path)
    assert len(read_runs([study, study / "linear-16-seed0", tmp_path / "runs.json"]).records) == 17
