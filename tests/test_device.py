"""What differs between devices: as far as it can be tested without a GPU, with a torch that says it has some."""

import json

import pytest
import torch
from torch import nn

from bigbatch.cli.commands.verify import choose_processes
from bigbatch.errors import InputError, PeerLostError
from bigbatch.processes import device
from bigbatch.processes.arithmetic import arithmetic_digest
from bigbatch.processes.join import INTERFACES, joined
from bigbatch.processes.lost_peer import wait_for_peers
from bigbatch.processes.place import Place
from bigbatch.reduction.aggregation import Node
from bigbatch.reduction.communicator import Lane, _staged
from bigbatch.step.preconditions import Numerics
from bigbatch.step.step import Step
from bigbatch.verification.checks.processes import Run, compare

LOSS = nn.CrossEntropyLoss(reduction="none")
CUDA = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda _index: torch.no_grad())


def chosen(local_rank):
    with device.chosen_device(Place(local_rank, 4, local_rank, 4)) as found:
        return str(found), device.backend(found)


@pytest.mark.usefixtures("two_gpus")
def test_a_process_takes_its_gpu_and_shares_one_only_where_it_is_told_to(monkeypatch):
    assert [chosen(0), chosen(1)] == [("cuda:0", "nccl"), ("cuda:1", "nccl")]
    with pytest.raises(InputError, match="4 processes need as many GPUs, but this machine has 2"):
        chosen(2)
    assert [device.shared_gpus(p) for p in (1, 2, 3)] == [{}, {}, {device.SHARED: "1"}]
    monkeypatch.setenv(device.SHARED, "1")
    assert [chosen(0), chosen(3)] == [("cuda:0", "gloo"), ("cuda:1", "gloo")]


@pytest.mark.usefixtures("two_gpus")
def test_verify_compares_more_processes_than_gpus_and_says_so():
    assert choose_processes(None, 16) == [1, 2, 4]
    runs = [Run(p, (1.0,), "ab") for p in (1, 1, 2, 4)]
    assert "p = 1, 1, 2, 4 (above 2 on shared GPUs, over Gloo): 1 iterations" in compare(runs).text
    assert "shared" not in compare(runs[:3]).text


def test_without_a_gpu_nothing_is_shared():
    assert device.shared_gpus(64) == {}
    assert chosen(63) == ("cpu", "gloo")


def test_a_gpus_buffers_are_summed_in_the_hosts_memory():
    """With tensors of the CPU in the place of the GPU's: they are copied all the same."""

    def algorithm(nodes, out):
        out.copy_(sum(node.value for node in nodes))
        for node in nodes[:-1]:
            node.value.zero_()  # an algorithm may use them up

    lane = _staged(Lane(None, {"sum": algorithm}, None))
    values = [torch.full((3,), float(i)) for i in range(3)]
    lane.algorithms["sum"]([Node(i, i + 1, value) for i, value in enumerate(values)], values[2])
    assert [value.tolist() for value in values] == [[0.0] * 3, [1.0] * 3, [3.0] * 3]


def test_a_wait_for_the_device_ends_when_it_is_done_or_at_its_deadline():
    answers = iter([False, False, True])
    wait_for_peers(lambda: next(answers), 60)
    with pytest.raises(PeerLostError, match=r"another process did not answer within the timeout \(timed out after 0 s"):
        wait_for_peers(lambda: False, 0.05)


def test_the_processes_of_one_machine_talk_over_its_loopback_interface(bigbatch, tmp_path):
    """Those of Gloo and of NCCL: as a process of our launcher sees them."""
    assert INTERFACES == ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    (tmp_path / "seen.py").write_text(
        "import os, torch\n"
        "def loss(outputs, targets):\n"
        f"    assert {{os.environ[name] for name in {INTERFACES}}} == {{'lo'}}\n"
        "    return torch.nn.functional.cross_entropy(outputs, targets, reduction='none')\n"
    )
    options = ("--minibatch-size", "64", "--processes", "2", "--stop-after-iteration", "1", "--set", "loss=seen:loss")
    done = bigbatch("train", "digits", *options, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_the_engine_names_what_changes_the_kernels(monkeypatch):
    for name in device.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert device.describe_engine(torch.device("cpu")) == {"arithmetic": arithmetic_digest()}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert device.describe_engine(torch.device("cpu")) == {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "arithmetic": arithmetic_digest(),
    }


def test_the_engine_of_a_gpu_has_its_libraries_and_its_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91500)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 28, 3))
    monkeypatch.setattr(device, "DRIVER", tmp_path / "version")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 12.2.0\n"
    device.DRIVER.write_text(text)
    expected = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDA": "13.0", "cuDNN": "91500", "NCCL": "2.28.3"}
    with joined():
        assert device.describe_engine(CUDA) == expected | {"driver": "580.95.05", "float32": "float32"}
    with joined(tf32=True):
        assert device.describe_engine(CUDA)["float32"] == "TF32"


def test_a_compiled_models_engine_has_its_compiler():
    engine = device.describe_engine(torch.device("cpu"), is_compiled=True)
    assert set(engine) - set(device.VARIABLES) == {"arithmetic", "compiler", "compiled for"}
    assert any(character.isdigit() for character in engine["compiler"])


def test_a_run_records_its_engine_and_says_where_it_has_changed(bigbatch, tmp_path):
    command = ("train", "digits", "--processes", "1", "--output", tmp_path / "run")
    assert bigbatch(*command, "--stop-after-iteration", "3", ONEDNN_MAX_CPU_ISA="AVX2").returncode == 0
    resumed = bigbatch(*command, "--stop-after-iteration", "4", "--resume", ONEDNN_MAX_CPU_ISA="ALL")
    assert "warning: ONEDNN_MAX_CPU_ISA was AVX2 and is ALL: the bits can differ" in resumed.stdout
    one = ("train", "digits", "--processes", "1", "--stop-after-iteration", "3", "--output", tmp_path / "one")
    assert bigbatch(*one, ONEDNN_MAX_CPU_ISA="AVX2").returncode == 0
    found = bigbatch("diff", tmp_path / "one", tmp_path / "run").stdout
    assert "engine.ONEDNN_MAX_CPU_ISA" in found
    assert "AVX2, then ALL" in found


def test_a_run_of_an_older_version_records_no_engine_and_none_is_missed(bigbatch, tmp_path):
    command = ("train", "digits", "--processes", "1", "--output", tmp_path / "run")
    assert bigbatch(*command, "--stop-after-iteration", "3").returncode == 0
    path = tmp_path / "run" / "run.json"
    table = json.loads(path.read_text())
    for attempt in (table, *table["attempts"]):
        del attempt["engine"]
    path.write_text(json.dumps(table))
    resumed = bigbatch(*command, "--stop-after-iteration", "4", "--resume", ONEDNN_MAX_CPU_ISA="ALL")
    assert resumed.returncode == 0, resumed.stderr
    assert "warning" not in resumed.stdout


def step_with(**options):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Step(model, LOSS, optimizer, minibatch_size=4, worker_minibatch_size=2, **options)


def test_tf32_needs_a_gpu_and_is_off_unless_asked_for(bigbatch, tmp_path):
    with pytest.raises(InputError, match='precision "tf32" is a GPU\'s, and the model is on cpu; say "float32"'):
        step_with(precision="tf32")
    assert torch.backends.cudnn.allow_tf32, "torch's default"
    with joined():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    with joined(tf32=True):
        assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    done = bigbatch("train", "digits", "--set", "precision=tf32", "--output", tmp_path / "run", "--processes", "1")
    assert done.returncode == 2
    assert "is a GPU's" in done.stderr


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has one way to set TF32")
def test_where_tf32_was_set_in_torchs_newer_way_it_stays_as_it_is():
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    try:
        assert "mixed" in Numerics.current().describe().values()
        with joined():
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        minibatch = [(torch.randn(2, 3), torch.tensor([0, 1]))] * 2
        assert step_with()(minibatch).isfinite()
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


class Backward(torch.autograd.Function):
    """The identity, whose backward pass has no deterministic kernel."""

    @staticmethod
    def forward(_context, inputs):
        return inputs.clone()

    @staticmethod
    def backward(_context, gradient):
        return gradient.clone().put_(torch.tensor([0]), torch.ones(1))


class Layer(nn.Module):
    def forward(self, inputs):
        return Backward.apply(inputs)


class Forward(nn.Module):
    def forward(self, inputs):
        return inputs.clone().put_(torch.tensor([0]), torch.ones(1))


@pytest.mark.parametrize(("kind", "place"), [(Forward, "'1' (Forward)"), (Layer, "'1' (Layer)")])
def test_a_layer_without_a_deterministic_kernel_is_named(kind, place):
    model = nn.Sequential(nn.Linear(3, 4), kind(), nn.Linear(4, 2))
    minibatch = [(torch.randn(2, 3), torch.tensor([0, 1]))] * 2
    for numerics, is_refused in ((joined(), True), (torch.enable_grad(), False)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with numerics:
            step = Step(model, LOSS, optimizer, minibatch_size=4, worker_minibatch_size=2)
            if not is_refused:
                step(minibatch)
                continue
            with pytest.raises(InputError) as refusal:
                step(minibatch)
            assert f"called in {place}: each run has other bits" in str(refusal.value)
            assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
