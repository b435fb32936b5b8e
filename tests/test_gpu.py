"""The script for a machine with a GPU: shortened, it runs on a CPU, so that it starts when a GPU comes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu"
MISSING_THERE = ("tomli_w", "rich")  # what the machine of a GPU may not have
SECTIONS = ["engine", "everything", "bits", "speed", "breakdown", "memory", "loading"]


def run_script(folder, *arguments, modules=None):
    """Run it without git; with modules of the test's own in front of all others."""
    path = os.pathsep.join(map(str, [*([modules] if modules else []), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, SCRIPT, folder, "--short", *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "PATH": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def findings(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_every_section_runs_shortened_on_a_cpu(tmp_path):
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in MISSING_THERE:
        (modules / f"{name}.py").write_text("raise ModuleNotFoundError")
    done = run_script(tmp_path / "found", "--device", "cpu", modules=modules)
    assert done.returncode == 0, done.stdout + done.stderr
    found = findings(tmp_path / "found")
    assert set(found) == set(SECTIONS)
    assert {section["status"] for section in found.values()} == {"done"}
    assert all(found[name]["promises"] for name in ("everything", "bits", "memory"))
    assert (tmp_path / "found" / "card.md").read_text().startswith("# One GPU\n\nAll promises held.")


@pytest.fixture
def script(monkeypatch):
    """Return the script as a module, whose processes find the sections of a test."""
    monkeypatch.syspath_prepend(SCRIPT)
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BROKEN = {
    "raises": "def run(bench):\n    bench.note('found', 1)\n    raise RuntimeError('CUDA error')\n",
    "dies": "import os\ndef run(bench):\n    os._exit(7)\n",
    "hangs": "import time\ndef run(bench):\n    time.sleep(100)\n",
    "breaks": "def run(bench):\n    bench.promise('one hash', is_held=False)\n",
    "fine": "def run(bench):\n    bench.measure('a', lambda: 1 / 0)\n    bench.note('b', 2)\n",
}


def test_a_section_that_fails_is_written_down_and_the_next_one_starts(script, tmp_path, monkeypatch, capsys):
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setitem(script.BUDGET_SECONDS, "hangs", 0.5)
    folder = tmp_path / "found"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), "--device", "cpu", "--sections", *BROKEN])
    assert script.main() == 1
    found = findings(folder)
    assert {name: section["status"] for name, section in found.items()} == {
        **dict.fromkeys(("raises", "dies", "hangs"), "failed"),
        **dict.fromkeys(("breaks", "fine"), "done"),
    }
    assert found["raises"]["error"] == "RuntimeError: CUDA error"
    assert found["raises"]["values"] == {"found": 1}
    assert "exit code 7" in found["dies"]["error"]
    assert "too long" in found["hangs"]["error"]
    assert found["fine"]["values"] == {"b": 2}
    assert found["fine"]["left_out"] == {"a": "ZeroDivisionError: division by zero"}
    card = capsys.readouterr().out
    assert "- breaks: one hash" in card
    assert "- fine: a: it runs" in card


def test_without_a_gpu_one_line_says_so(tmp_path):
    done = run_script(tmp_path, "--sections", "engine")
    assert done.returncode == 1
    assert done.stderr.startswith("this machine has no GPU: nothing was run")
    assert "Traceback" not in done.stderr
    assert not findings(tmp_path)


@pytest.mark.gpu
def test_every_section_runs_shortened_on_a_gpu(tmp_path):
    done = run_script(tmp_path / "found")
    assert done.returncode == 0, done.stdout + done.stderr
