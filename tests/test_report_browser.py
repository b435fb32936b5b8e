"""The report's page in a real browser, where chromium is installed: light, dark, narrow and printed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from bigbatch.recipe.metrics import MEASURES
from bigbatch.study.report.page.files import make_report, write_report
from bigbatch.study.report.reading.sources import read_runs
from studies import recipe_of, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_SECONDS = 120
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=2000"),
)
DARK = "--blink-settings=preferredColorScheme=0"
# A window cannot be as narrow as a phone, a frame can. It holds the page as it is, with the rule that no script runs.
FRAME = """<!DOCTYPE html><title>loading</title><iframe width="400" height="900" srcdoc="{page}" onload='
    const page = this.contentDocument, body = getComputedStyle(page.body);
    const ink = getComputedStyle(page.querySelector("svg text")).fill;
    const wide = [...page.querySelectorAll("p, h1, h2, h3, figure, .scroll, footer")].filter(
        (element) => element.getBoundingClientRect().right > 401);
    document.title = JSON.stringify({{
        width: page.documentElement.clientWidth, scrolled: page.documentElement.scrollWidth, wide: wide.length,
        ground: body.backgroundColor, ink, figures: [...page.querySelectorAll("svg")].map((svg) => svg.clientWidth),
    }})'></iframe>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def page(report, tmp_path):
    write_report(report, tmp_path / "report")
    return tmp_path / "report" / "index.html"


@pytest.fixture
def browse(tmp_path):
    """Return a function that opens a file in a new browser, and fails if that reports an error."""

    def browse(file: Path, *options: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [CHROMIUM, *QUIET, "--enable-logging=stderr", profile, *options, file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    return browse


def test_light_and_dark_show_the_figures_in_their_own_colours(page, browse, tmp_path):
    grounds = []
    for options in ((), (DARK,)):
        target = tmp_path / "page.png"
        browse(page, f"--screenshot={target}", "--window-size=1200,1400", *options)
        with Image.open(target) as image:
            colours = image.convert("RGB").getcolors(1_000_000)
        count, ground = max(colours)
        grounds.append(sum(ground) / 3)
        assert len(colours) > 200
        assert 0.5 < count / (1200 * 1400) < 0.99
        inks = [colour for _, colour in colours if abs(sum(colour) / 3 - grounds[-1]) > 180]
        assert inks  # text that can be read on it
    assert grounds[0] > 250
    assert grounds[1] < 40


def test_its_text_is_text_also_in_the_figures(page, browse):
    dom = browse(page, "--dump-dom")
    for text in ("Does the accuracy survive", "minibatch size", "validation error (%)", "no warmup", "the loss is NaN"):
        assert text in dom
    assert dom.count("<svg") == 6


@pytest.mark.parametrize("name", ["coco-box-ap", "perplexity"])
def test_a_page_of_another_metric_says_in_its_figures_what_it_measures(name, browse, tmp_path):
    measure = MEASURES[name]
    for size, result in {16: 36.0, 64: 35.9, 256: 0.4 if measure.better == "higher" else 900.0}.items():
        for seed in range(3):
            recipe = recipe_of(size, seed, metrics=(name,))
            write_run(tmp_path / "runs" / f"{size}-{seed}", recipe, result + 0.1 * seed, measure=measure)
    write_report(make_report(read_runs([tmp_path / "runs"]), command="bigbatch report runs"), tmp_path / "report")
    dom = browse(tmp_path / "report" / "index.html", "--dump-dom")
    side = "below" if measure.better == "higher" else "above"
    for text in (measure.heading, f"{side} the axis, not to scale: mean {measure.title}", f"{measure.title} survive"):
        assert text in dom
    assert "error" not in re.sub("<style>.*?</style>", "", dom, flags=re.DOTALL)


@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
def test_on_a_phone_figures_and_tables_scroll_and_the_page_does_not(page, browse, tmp_path, options):
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=html.escape(page.read_text("utf-8"), quote=True)), "utf-8")
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", browse(frame, "--dump-dom", *options))[1]))
    assert found["width"] == found["scrolled"] == 400
    assert found["wide"] == 0
    assert min(found["figures"]) > 500  # large enough to be read
    ground, ink = (sum(map(int, re.findall(r"\d+", found[name]))) for name in ("ground", "ink"))
    assert ground - ink > 500 if not options else ink - ground > 500


def test_it_prints(page, browse, tmp_path):
    target = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={target}", "--no-pdf-header-footer", DARK)
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
