"""The site's pages: a reader who copies every command gets what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]
VERBATIM = ("epoch ", "validation error", "weights_sha256", "identical")  # with portable numerics
TIMES = re.compile(r"[\d,]+ samples/s|\d+:\d\d:?\d* left|[\d,.]+ s\b")


def known(line):
    """Return what a line must have on every machine: with its numbers, where they are the same everywhere."""
    line = " ".join(TIMES.sub("#", line).split())
    line = re.sub(r"all_reduce .*", "all_reduce", line)  # which is measured
    if not line.startswith(VERBATIM):
        line = re.sub(r"[0-9a-f]{8,}|\d[\d,.:eT+-]*", "#", line)
    return line


def expected(text):
    """Yield each command of a page with the lines that the page shows after it."""
    for command, shown in re.findall(r"```bash\n(.*?)\n```(?:\n```text\n(.*?)```)?", text, re.DOTALL):
        yield command, [known(line) for line in shown.splitlines() if line.strip() not in {"", "..."}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_prints_what_the_page_shows(page, tmp_path):
    text = page.read_text()
    for name, program in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(program)
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "COLUMNS": "100"}
    commands = list(expected(text))
    assert commands
    for command, lines in commands:
        done = subprocess.run(
            ["/bin/bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        found = {known(line) for line in (done.stdout + done.stderr).splitlines()}
        missing = [line for line in lines if line not in found]
        assert not missing, f"{command}\n{done.stdout}"


def test_the_loop_of_the_tutorial_prints_the_same_alone_and_as_two_processes():
    """Its page shows the outputs of both."""
    alone, two = re.findall(r"```text\n(loss .*)\n```", (DOCS / "tutorials" / "loop.md").read_text())
    assert alone == two


def test_every_page_of_the_docs_is_in_the_sites_navigation():
    text = (DOCS.parent / "mkdocs.yml").read_text()
    pages = set(re.findall(r"[\w/]+\.md", text.partition("\nnav:\n")[2]))
    assert pages == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert "\nstrict: true\n" in text
