"""The examples: projects are trained, and those for clusters checked as far as they can be without one."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from bigbatch.cli.parse import _chosen, _options, build_parser

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = [EXAMPLES / "slurm.sbatch", EXAMPLES / "elastic_torchrun.sh"]
TRAINJOB = EXAMPLES / "trainjob.yaml"
DOCUMENT = ROOT / "docs" / "clusters.md"


def after_bigbatch(text):
    """Return the words of a script that bigbatch gets."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(line.split("-m bigbatch", 1)[1]) for line in joined.splitlines() if "-m bigbatch" in line]


def listed(text, key):
    """Return the items of a YAML list of strings, one a line."""
    block = re.search(rf"^ +{key}:\n((?: +- .*\n)+)", text, re.MULTILINE)
    return [item.strip().strip('"') for item in re.findall(r"- (.*)", block[1])]


def check_flags(words):
    known = {*_options(_chosen(build_parser(), Namespace(command="train")))}
    flags = [word for word in words if word.startswith("--")]
    assert flags
    assert set(flags) <= known
    assert "--resume" in flags
    assert "--output" in flags


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_use_flags_that_there_are(script):
    subprocess.run(["/bin/bash", "-n", script], check=True)
    (command,) = after_bigbatch(script.read_text())
    assert command[0] == "train"
    check_flags(command)


def test_the_batch_script_stops_in_time_and_is_put_back_into_the_queue():
    text = SCRIPTS[0].read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert options.keys() >= {"nodes", "ntasks-per-node", "time", "requeue"}
    assert options["signal"] == "USR1@120"
    assert text.index("#SBATCH") < text.index("set -uo pipefail") < text.index("srun --kill-on-bad-exit=0")
    assert 'if [ "$code" -eq 75 ] || [ "$code" -eq 138 ]; then\n    scontrol requeue "$SLURM_JOB_ID"' in text


def test_torchrun_has_the_options_that_the_examples_give_it():
    """Also that it forwards SIGUSR1 when it is told, which older versions cannot."""
    from torch.distributed.run import get_args_parser

    words = shlex.split(SCRIPTS[1].read_text().replace("\\\n", " "), comments=True)
    words = words[words.index("torchrun") + 1 :]
    options = get_args_parser().parse_args(words)
    assert (options.nnodes, options.module, options.training_script) == ("1:4", True, "bigbatch")
    assert options.max_restarts == 3
    assert "SIGUSR1" in SCRIPTS[1].read_text()


def test_the_trainjob_is_made_of_whole_documents_that_agree():
    text = TRAINJOB.read_text()
    assert "\t" not in text
    assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines())
    documents = text.split("\n---\n")
    kinds = [re.search(r"^kind: (\w+)$", document, re.MULTILINE)[1] for document in documents]
    assert kinds == ["TrainingRuntime", "TrainJob", "NetworkPolicy"]
    for document in documents:
        for key in ("apiVersion", "kind", "metadata", "spec"):
            assert len(re.findall(rf"^{key}:", document, re.MULTILINE)) == 1
    runtime, job, policy = (re.search(r"^  name: (\S+)$", document, re.MULTILINE)[1] for document in documents)
    assert f"    kind: TrainingRuntime\n    name: {runtime}\n" in documents[1]
    assert job == policy
    assert documents[2].count(f"jobset.sigs.k8s.io/jobset-name: {job}\n") == 2
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", text)[1])
    assert grace > int(re.search(r'TORCH_ELASTIC_SHUTDOWN_TIMEOUT\n +value: "(\d+)"', text)[1])
    assert listed(text, "command") == ["torchrun"]
    arguments = listed(text, "args")
    assert arguments[:3] == ["-m", "bigbatch", "train"]
    check_flags(arguments)


def test_the_document_names_what_there_is():
    text = DOCUMENT.read_text()
    for path in re.findall(r"\]\((\.\./[^)]+)\)", text):
        assert (DOCUMENT.parent / path).exists()
    assert {path.name for path in (*SCRIPTS, TRAINJOB)} <= set(re.findall(r"[a-z_]+\.(?:sbatch|sh|yaml)", text))


TRAIN = (sys.executable, "-m", "bigbatch", "train")
TASKS = {
    "regression": ("recipe.toml", ["epochs=5"], "root-mean-squared-error", 3.0),  # 5.0 without learning
    "language_model": ("recipe.toml", [], "perplexity", 80.0),  # of 256
}


def trained(folder, recipe, settings, processes, output):
    """Train in the folder, and return the run's summary."""
    options = [option for setting in settings for option in ("--set", setting)]
    options += ["--processes", str(processes), "--output", output]
    subprocess.run([*TRAIN, recipe, *options], cwd=folder, check=True, capture_output=True)
    return json.loads((folder / output / "run.json").read_text())


@pytest.mark.parametrize("name", TASKS)
def test_a_project_trains_to_the_same_bits_and_result_for_any_number_of_processes(name, tmp_path):
    recipe, settings, metric, most = TASKS[name]
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name)
    help_texts = "\n".join(topics.values()).encode()
    (folder / "text.txt").write_bytes(help_texts[:30_000])
    runs = [trained(folder, recipe, settings, p, f"runs/{p}") for p in (1, 3)]
    assert len({run["weights_sha256"] for run in runs}) == 1
    assert len({run["final_result"] for run in runs}) == 1
    assert runs[0]["metric"]["name"] == metric
    assert runs[0]["final_result"] < most


def test_fine_tuning_starts_from_the_exported_backbone(tmp_path):
    folder = shutil.copytree(EXAMPLES / "fine_tuning", tmp_path / "fine_tuning")
    trained(folder, "pretrain.toml", ["epochs=3"], 1, "runs/pretrained")
    export = ["export", "runs/pretrained", "pretrained.safetensors"]
    subprocess.run([*TRAIN[:3], *export], cwd=folder, check=True, capture_output=True)
    runs = [trained(folder, "fine_tune.toml", ["epochs=3"], p, f"runs/{p}") for p in (1, 2)]
    assert len({run["weights_sha256"] for run in runs}) == 1
    assert runs[0]["final_result"] < 40  # of 80 by chance


def test_segmentation_learns_from_the_masks_that_it_has_drawn(tmp_path):
    folder = shutil.copytree(EXAMPLES / "segmentation", tmp_path / "segmentation")
    subprocess.run([sys.executable, "shapes.py", "data", "48", "10"], cwd=folder, check=True, capture_output=True)
    runs = [trained(folder, "recipe.toml", ["epochs=2"], p, f"runs/{p}") for p in (1, 2)]
    assert len({run["weights_sha256"] for run in runs}) == 1
    assert len({run["final_result"] for run in runs}) == 1
    assert runs[0]["metric"]["name"] == "mean-iou"
    assert runs[0]["final_result"] > 50  # of 20 for a mask that is all background


def test_a_loop_of_ones_own_goes_on_with_other_processes(group, tmp_path, monkeypatch):
    program = EXAMPLES / "own_loop.py"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    monkeypatch.chdir(whole)
    group(program, 1)
    monkeypatch.chdir(parts)
    group(program, 2, "--epochs", 2)
    group(program, 3)
    first, second = (torch.load(folder / "own_loop.pt") for folder in (whole, parts))
    assert first["iteration"] == second["iteration"] == 30
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())


def test_the_loop_of_the_readme_is_that_of_the_file():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    program = (EXAMPLES / "own_loop.py").read_text()
    for essential in (
        "bigbatch.Minibatches(my_dataset, minibatch_size=256, worker_minibatch_size=32, device=machine.device)",
        "reference=64, minibatch_size=256,",
        "with bigbatch.Step(model, loss_function, optimizer, minibatches) as step:",
        "bigbatch.set_learning_rate(optimizer, rate(step.iteration))",
        "step(minibatch)",
        'bigbatch.evaluate(model, my_validation_dataset, "top-1-error", machine=machine)',
    ):
        assert essential in block
        assert essential in program
