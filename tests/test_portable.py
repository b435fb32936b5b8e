"""Portable numerics: who may ask for them, how a process gets them, and that everything else says so."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigbatch import portable as make_portable
from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.processes import portable
from bigbatch.processes.arithmetic import arithmetic_digest
from bigbatch.processes.group import Processes
from bigbatch.processes.interpreter import python_command
from bigbatch.processes.join import Machine
from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.square_root import square_root
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.prospect import prospect
from bigbatch.training.trainer import train

SOURCE = str(Path(__file__).parents[1] / "src")
HERE = str(Path(__file__).parent)
ALONE = (sys.executable, "-m", "bigbatch")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigbatch")
SHORT = ("--minibatch-size", "256", "--stop-after-iteration", "2", "--set", "model.width=4")
PORTABLE = ("--set", "numerics=portable")
CPU = torch.device("cpu")
TALKING = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
    def forward(self, x):
        print("a line in every pass" * 99)
        return super().forward(x)
"""
BITS = st.integers(0, 2**31 - 1)  # of the floats that are not negative, NaN among them


def run_python(code, **more):
    path = os.pathsep.join([SOURCE, HERE])
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path, **more}
    )


def run_json(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("numerics=portabel", "did you mean 'portable'?"),
        ("precision=tf32", "set precision=float32 or numerics=native"),
        ("model.compile=true", "set model.compile=false or numerics=native"),
    ],
)
def test_a_recipe_refuses_what_cannot_be_portable(setting, words):
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        with_settings(digits(), ["numerics=portable", setting])


def test_a_process_that_has_imported_torch_is_refused(tmp_path, capsys):
    with pytest.raises(
        InputError, match=r"torch has been imported, and has chosen its kernels: call bigbatch\.portable"
    ):
        make_portable()
    assert main(["train", "digits", *PORTABLE, "--output", str(tmp_path / "run")]) == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("bigbatch: error: this process was started without the variables of numerics = portable")
    recipe = with_settings(digits(), ["numerics=portable"])
    with pytest.raises(InputError, match="this process computes natively"):
        train(recipe, RunFolder(tmp_path / "run"), Machine(Processes(), CPU, 1))
    assert not (tmp_path / "run").exists()


def test_a_machine_with_a_gpu_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(portable, "environment_at_start", lambda: portable.VARIABLES)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"is a promise for CPUs, and this machine has a GPU.*CUDA_VISIBLE_DEVICES"):
        make_portable()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    with pytest.raises(InputError, match="needs an x86-64 processor with AVX2, which this is not"):
        make_portable()
    assert not portable.is_portable()


def test_the_command_has_one_hash_in_any_way_it_is_started(bigbatch, tmp_path):
    found = {}
    for name in ("portable", "native"):
        numerics = ("--set", f"numerics={name}")
        done = bigbatch("train", "digits", *SHORT, *numerics, "--processes", 1, "--output", name)
        assert done.returncode == 0, done.stderr
        found[name] = run_json(tmp_path / name)
    torchrun = subprocess.run(
        [*TORCHRUN, "train", "digits", *SHORT, *PORTABLE, "--output", "torchrun"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert torchrun.returncode == 0, torchrun.stderr
    found["torchrun"] = run_json(tmp_path / "torchrun")
    hashes = {name: summary["weights_sha256"] for name, summary in found.items()}
    assert hashes["portable"] == hashes["torchrun"]
    engines = {name: summary["engine"] for name, summary in found.items()}
    assert engines["portable"] == engines["torchrun"]
    assert engines["portable"]["MKL_CBWR"] == "COMPATIBLE"
    assert engines["portable"]["arithmetic"] != engines["native"]["arithmetic"]
    assert found["torchrun"]["device"] == "cpu AVX2"


def test_a_loop_of_ones_own_is_portable_before_torch_and_only_then():
    bits = "import bigbatch; from bigbatch.processes.arithmetic import arithmetic_digest as d; print(d())"
    ours = run_python(f"import bigbatch; bigbatch.portable(); bigbatch.portable(); import torch\n{bits}")
    assert ours.returncode == 0, ours.stderr
    assert ours.stderr == ""
    late = run_python("import torch, bigbatch; bigbatch.portable()")
    assert "InputError: torch has been imported" in late.stderr
    by_hand = run_python("import torch, bigbatch; bigbatch.portable()\n" + bits, **portable.VARIABLES)
    assert by_hand.stdout == ours.stdout
    numpy_first = run_python("import numpy, bigbatch; bigbatch.portable()\n" + bits)
    assert "UserWarning: numpy was imported before bigbatch.portable()" in numpy_first.stderr
    assert numpy_first.stdout == ours.stdout


def test_every_root_is_the_nearest_number_in_whatever_form_torch_is_asked():
    code = """
import bigbatch; bigbatch.portable()
import warnings; warnings.simplefilter("error")
import numpy as np, torch
x = torch.rand(40_009) * 50
exact = torch.from_numpy(np.sqrt(x.double().numpy()).astype(np.float32))
out, empty, same = torch.empty(40_009), torch.empty(0), x.clone()
torch.sqrt(x, out=out); torch.sqrt(x, out=empty); same.sqrt_()
(listed,) = torch._foreach_sqrt([x])
for found in (x.sqrt(), out, empty, same, listed, torch.vmap(torch.sqrt)(x.reshape(1, -1))[0]):
    assert torch.equal(found, exact)
y = torch.tensor([4.0, 9.0], requires_grad=True)
y.sqrt().sum().backward()
assert y.grad.tolist() == [0.25, 1 / 6] or torch.equal(y.grad, 0.5 / y.detach().sqrt())
assert torch.tensor([4, 9]).sqrt().tolist() == [2, 3] and torch.tensor(4.0).sqrt().item() == 2
assert torch.empty(2, device="meta").sqrt().shape == (2,)
assert torch.tensor([-1.0]).sqrt().isnan().all()
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@given(st.lists(BITS, min_size=1, max_size=40))
def test_the_square_root_is_ieee_s(bits):
    numbers = np.array(bits, np.int32).view(np.float32)
    exact = np.sqrt(numbers.astype(np.float64)).astype(np.float32)
    assert np.array_equal(square_root(torch.from_numpy(numbers)).numpy(), exact, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.int64])
def test_a_root_has_torch_s_shape_dtype_and_value(dtype):
    wide = (torch.arange(24).reshape(2, 3, 4) * 3).to(dtype)
    for x in (wide, wide[:, ::2], wide.permute(2, 0, 1), wide[0, 0, 0], wide[:0], wide.conj()):
        torch.testing.assert_close(square_root(x), torch.sqrt(x))


def test_a_signal_before_the_process_starts_again_is_left_to_the_next(tmp_path):
    hook = """
import os, signal, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "bigbatch.cli.parse" and "BIGBATCH_STARTED_AGAIN" not in os.environ:
            os.kill(os.getpid(), signal.SIGUSR1)
sys.meta_path.insert(0, Hook())
"""
    (tmp_path / "sitecustomize.py").write_text(hook)
    done = subprocess.run(
        [*ALONE, "train", "digits", *SHORT, *PORTABLE, "--processes", "1", "--output", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.STOPPED, done.stderr
    assert done.stderr.count("SIGUSR1: stops as soon as it can") == 2
    assert run_json(tmp_path / "run")["stopped_by"] == "SIGUSR1"


def test_evaluate_reproduce_runs_and_diff_know_the_numerics(bigbatch):
    train_it = ("train", "digits", *SHORT, "--processes", 1)
    for name in ("portable", "native"):
        bigbatch(*train_it, "--set", f"numerics={name}", "--output", name)
    done = bigbatch("reproduce", "portable", "--processes", 2)
    assert done.returncode == 0, done.stderr
    said, _, rest = done.stdout.partition("\n\n")
    assert "it can be the same here: portable numerics; versions, device and arithmetic as there" in said
    assert "\nidentical: " in f"\n{rest}"
    assert bigbatch("evaluate", "portable").returncode == 0
    assert "numerics" in bigbatch("diff", "native", "portable").stdout.partition("outside the contract")[2]
    rows = json.loads(bigbatch("runs", ".", "--json", "--where", "numerics=portable").stdout)
    assert {row["run"] for row in rows} == {"portable", "portable-reproduction"}
    assert "numerics" in bigbatch("runs", ".").stdout
    assert "numerics" not in bigbatch("runs", "native").stdout


def test_a_run_that_cannot_be_the_same_is_told_before_it_starts(record_run):
    recipe = digits()
    machine = Machine(Processes(), CPU, 1)
    here = {"arithmetic": arithmetic_digest()}
    run = record_run("run", engine=here)

    def said(**fields):
        summary = run.read_summary()
        attempt = replace(summary.attempt, versions=here_versions, device=device, **fields)
        run.write_summary(replace(summary, attempt=attempt, attempts=(attempt,)))
        return list(prospect(read_record(run.path), recipe, machine))

    from bigbatch.processes.device import describe_engine, device_name
    from bigbatch.runs.provenance import installed_versions

    here_versions, device = installed_versions(), device_name(CPU)
    engine = describe_engine(CPU)
    assert said(engine=engine) == ["it can be the same here: native numerics; versions, device and arithmetic as there"]
    first, *rest = said(engine=engine | {"arithmetic": "0123456789ab"})
    assert first.startswith("it cannot be the same here: it was made on another kind of machine; it takes one of that")
    assert "numerics = portable can be repeated on any x86-64 processor" in first
    assert rest == [f"  arithmetic: 0123456789ab there, {engine['arithmetic']} here"]
    (line,) = said(engine={name: value for name, value in engine.items() if name != "arithmetic"})
    assert line.startswith("whether it can be the same here is not known")
    device = "NVIDIA H200"
    assert said(engine={"CUDA": "13.0"})[0].endswith("it takes one of that kind (NVIDIA H200)")
    device = device_name(CPU)
    here_versions = here_versions | {"torch": "2.8.0"}
    first, *rest = said(engine=engine)
    assert first.startswith("that it will be the same here is not promised")
    assert rest == [f"  torch: 2.8.0 there, {installed_versions()['torch']} here"]


def test_the_plan_says_what_it_costs(bigbatch):
    assert "bench step --numerics portable" in " ".join(bigbatch("plan", "digits", *PORTABLE).stdout.split())
    assert "numerics" not in bigbatch("plan", "digits").stdout


def test_portable_is_timed_beside_native(bigbatch, tmp_path):
    words = ("bench", "step", "digits", "--numerics", "portable", "--seconds", "0.01", "--rounds", 2)
    result = json.loads(bigbatch(*words, "--json").stdout)
    assert result["ratio_least"] <= result["ratio"] <= result["ratio_largest"]
    assert result["native_samples_per_second"] > 0
    (tmp_path / "talking.py").write_text(TALKING)
    talking = bigbatch(*words, "--rounds", 1, "--set", "model.name=talking:Net", PYTHONPATH=f"{tmp_path}:{SOURCE}")
    assert talking.returncode == 0, talking.stderr
    refused = bigbatch(*words, "--processes", 2)
    assert (refused.returncode, refused.stderr.count("\n")) == (ExitCode.BAD_INPUT, 1)
    refused = bigbatch(*words, "--set", "model.compile=true")
    assert (refused.returncode, refused.stderr.count("\n")) == (ExitCode.BAD_INPUT, 1)
    assert "set model.compile=false" in refused.stderr


def test_python_is_started_as_this_one_was():
    assert python_command() == [sys.executable]


def test_the_ratio_is_said_in_words(monkeypatch, capsys):
    sizes = {"recipe": "digits", "model": "net", "precision": "float32", "minibatch_size": 16, "rounds": 3}
    speeds = {"iterations_per_turn": 5, "native_samples_per_second": 2000.0, "portable_samples_per_second": 1000.0}
    ratio = {"ratio": 0.5, "ratio_least": 0.25, "ratio_largest": 1.0}
    monkeypatch.setattr("bigbatch.benchmark.numerics.bench_numerics", lambda *_, **__: {**sizes, **speeds, **ratio})
    assert main(["bench", "step", "digits", "--numerics", "portable"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("digits, net in float32, minibatch 16, 1 process, 3 pairs of turns of 5 iterations\n")
    assert said.endswith("0.500 (median; 0.250 to 1.000)\n")
