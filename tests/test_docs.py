"""The documents: plain sentences, short lines, names of files that exist, and a loop that runs."""

import re
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch import nn

import bigbatch
from prose import FENCE, code_blocks, num_words, sentences

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
MOST_CHARACTERS = 120
MOST_WORDS, MOST_WORDS_ON_AVERAGE = 30, 16
OURS = re.compile(r"[a-z_0-9./*-]+(?:\.(?:py|md|sh|sbatch|yaml|toml)|/)")  # a file, or a folder
OF_A_RUN = {"recipe.toml", "my-recipe.toml", "checkpoints/", "logs/"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_lines_fit_a_screen(page):
    text = re.sub(r"```text\n.*?```", "", page.read_text(), flags=re.DOTALL)  # what a command printed
    assert [line for line in text.splitlines() if len(line) > MOST_CHARACTERS] == []


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_lines_of_a_card_fit_but_for_its_tables(card):
    lines = [line for line in card.read_text().splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > MOST_CHARACTERS] == []


@each_page
def test_sentences_are_short(page):
    found = sentences(page.read_text())
    assert [sentence for sentence in found if num_words(sentence) > MOST_WORDS] == []
    assert mean(map(num_words, found)) < MOST_WORDS_ON_AVERAGE


@each_page
def test_links_lead_to_files_and_headings_that_exist(page):
    text = FENCE.sub("", page.read_text())
    for path, heading in re.findall(r"(?:\]\(|^\[\w+\]: )(?!https?:)([^)#\s]*)#?([^)\s]*)", text, re.MULTILINE):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target), heading


@each_page
def test_files_that_are_named_exist(page):
    """A name is a whole path, or the end of one: `tree.py`, `recipe/course.py`, `rules/`."""
    names = {name for name in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text())) if OURS.fullmatch(name)}
    assert [name for name in names - OF_A_RUN if not exists(name)] == []


@each_page
def test_public_names_exist(page):
    names = set(re.findall(r"\bbigbatch\.([A-Za-z_]+)\b(?!\.)", page.read_text()))
    modules = {path.stem for path in (ROOT / "src" / "bigbatch").iterdir()}
    assert names <= {*bigbatch.__all__, *modules}


def test_the_readme_reports_what_was_measured():
    """Each "mean ± standard deviation" stands in a card."""
    cards = "".join(card.read_text() for card in CARDS)
    results = re.findall(r"\d+\.\d+ ± \d+\.\d+", (ROOT / "README.md").read_text())
    assert len(results) >= 5
    assert [result for result in results if result not in cards] == []


def test_the_loop_of_the_readme_runs_and_learns(capsys):
    (code,) = code_blocks((ROOT / "README.md").read_text(), "python")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1024, 8, generator=generator)
    labels = (inputs @ torch.randn(8, 4, generator=generator)).argmax(1)
    samples = list(zip(inputs, labels.tolist(), strict=True))
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    before = nn.functional.cross_entropy(model(inputs), labels).item()
    names = {"my_dataset": samples[:768], "my_validation_dataset": samples[768:], "my_model": model}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own text
    assert names["loss"].item() < before / 2
    assert float(capsys.readouterr().out.removeprefix("top-1 error ").split()[0]) < 20  # of 75 by chance


def test_the_tour_has_ten_files():
    text = (ROOT / "docs" / "tour.md").read_text()
    stops = re.findall(r"^\d+\. \[`?([^]`]+)`?\]\(([^)]+)\)", text, re.MULTILINE)
    assert len(stops) == 10
    assert all(target.endswith(name) and (ROOT / "docs" / target).is_file() for name, target in stops)


def headings(page):
    """Return the anchors of a page."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(name):
    folders = (ROOT, ROOT / "src" / "bigbatch", *(ROOT / "src" / "bigbatch").rglob("*/"), ROOT / "tests", ROOT / "docs")
    return any(any(folder.glob(name)) for folder in folders)
