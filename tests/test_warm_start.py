"""A training that starts from the weights of a file."""

import json
import pickle
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.errors import InputError
from bigbatch.models.plain_names import load_plain_state, plain_state
from bigbatch.models.resnet import imagenet_resnet
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections import Model
from bigbatch.runs.comparison import compare
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.run_evaluation import export_run
from bigbatch.training.trainer import train
from bigbatch.training.warm_start import warm_start

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = with_settings(digits(), ["minibatch_size=256", "epochs=1", "model.width=4"])


def net(classes=3):
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, classes))


def deep(width):
    """Twelve layers, of which the last bias alone has the same shape for all widths."""
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(12)), nn.Linear(width, 2))


def start(model, path, **options):
    return warm_start(model, Model("my:net", weights=str(path), **options))


def is_equal(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in theirs)


FORMS = {
    "plain": lambda state: state,
    "under state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "under model": lambda state: {"model": state, "best": 0.5},
    "of a wrapped model": lambda state: {f"module.{name}": value for name, value in state.items()},
    "of a compiled one": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "of both": lambda state: {"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_is_taken_however_the_file_was_written(tmp_path, form):
    source, target = net(), net()
    torch.save(FORMS[form](source.state_dict()), tmp_path / "weights.pt")
    told = start(target, tmp_path / "weights.pt")
    assert is_equal(target, source)
    assert (len(told.taken), told.missing, told.reshaped, told.left) == (9, [], [], [])
    assert told.lines() == [f"starts from {tmp_path / 'weights.pt'}: it gives 9 of the model's 9 tensors"]


def test_a_new_head_and_half_numbers_are_told(tmp_path):
    source, target = net(classes=7), net()
    save_file(
        {name: t.half() if t.is_floating_point() else t for name, t in source.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    head = target[2].weight.clone()
    told = start(target, tmp_path / "w.safetensors")
    assert (len(told.taken), told.reshaped) == (7, ["2.weight", "2.bias"])
    assert torch.equal(target[0].weight, source[0].weight.half().float())
    assert torch.equal(target[2].weight, head)
    assert "of another shape in the file, so initialised: 2.weight, 2.bias" in told.lines()


def test_a_beginning_is_renamed_and_what_is_left_or_missing_is_told(tmp_path):
    source, target = nn.ModuleDict({"encoder": net(), "head": nn.Linear(2, 2)}), net()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    told = start(target, tmp_path / "w.pth", weights_prefix={"encoder.": ""})
    assert is_equal(target, source["encoder"])
    assert told.left == ["head.weight", "head.bias"]
    back = nn.ModuleDict({"body": net(), "top": nn.Linear(1, 1)})
    torch.save(target.state_dict(), tmp_path / "w.pth")
    told = start(back, tmp_path / "w.pth", weights_prefix={"": "body."})
    assert told.missing == ["top.weight", "top.bias"]
    assert is_equal(back["body"], target)


def test_the_counters_of_normalisations_are_never_the_reason_to_take_a_file(tmp_path):
    """They fit whatever the model is."""
    counter = {"1.num_batches_tracked": torch.tensor(3)}
    for more, theirs in (({}, "no tensor"), ({"body.weight": torch.zeros(2)}, "body.weight")):
        torch.save(counter | more, tmp_path / "w.pt")
        with pytest.raises(
            InputError, match=f"nothing that fits the model; the model has '0.weight', the file '{theirs}'"
        ):
            start(net(), tmp_path / "w.pt")


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefix_that_helps_is_named_whatever_wrapped_the_model(tmp_path, wrapper):
    state = net().state_dict()
    torch.save({f"{wrapper}encoder.{name}": value for name, value in state.items()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=re.escape('set model.weights_prefix = {"encoder." = ""}')):
        start(net(), tmp_path / "w.pt")
    assert len(start(net(), tmp_path / "w.pt", weights_prefix={"encoder.": ""}).taken) == 9


def test_a_prefix_that_spoils_the_names_is_to_be_left_out(tmp_path):
    torch.save(net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"nothing that fits the model; leave model\.weights_prefix out"):
        start(net(), tmp_path / "w.pt", weights_prefix={"": "backbone.body."})


def test_a_file_of_one_layer_and_a_part_of_a_large_model_are_taken(tmp_path):
    torch.save({"0.weight": torch.ones(5, 4)}, tmp_path / "w.pt")
    assert start(net(), tmp_path / "w.pt").taken == ["0.weight"]
    torch.save({**net().state_dict(), **{f"more.{i}": torch.zeros(1) for i in range(900)}}, tmp_path / "w.pt")
    assert len(start(net(), tmp_path / "w.pt").taken) == 9


# ResNets of torchvision, whose tensors have other names than ours


def named_as_torchvision(model):
    """A ResNet's tensors by the names that torchvision 0.29 gives them, told apart by hand."""
    is_deep = any(".branch.6." in name for name in model.state_dict())
    inner = {"branch.0": "conv1", "branch.1": "bn1", "branch.3": "conv2", "branch.4": "bn2", "branch.6": "conv3"}
    inner |= {"shortcut.0": "downsample.0", "shortcut.1": "downsample.1", "last_norm": "bn3" if is_deep else "bn2"}
    names = {}
    for name in model.state_dict():
        parts = name.split(".")
        if parts[0] == "stem":
            names[name] = f"{('conv1', 'bn1')[int(parts[1])]}.{parts[2]}"
        elif parts[0] == "stages":
            names[name] = f"layer{int(parts[1]) + 1}.{parts[2]}.{inner['.'.join(parts[3:-1])]}.{parts[-1]}"
        else:
            names[name] = name
    return names


class Body(nn.Module):
    """A model whose parts have a state dict of any names."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors = tensors

    def state_dict(self, *_, **__):
        return self.tensors


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_s_names_are_ours_and_ours_are_theirs(tmp_path, depth):
    source, target = (imagenet_resnet(depth, width=2, num_classes=3) for _ in range(2))
    names = named_as_torchvision(source)
    assert len(set(names.values())) == len(names)
    torch.save({names[name]: tensor for name, tensor in source.state_dict().items()}, tmp_path / "theirs.pt")
    told = start(target, tmp_path / "theirs.pt")
    assert (told.missing, told.reshaped, told.left) == ([], [], [])
    assert is_equal(target, source)
    torch.save(source.state_dict(), tmp_path / "ours.pt")
    theirs = Body({names[name]: torch.zeros_like(tensor) for name, tensor in source.state_dict().items()})
    told = start(theirs, tmp_path / "ours.pt")
    assert (told.missing, told.reshaped, told.left) == ([], [], [])
    assert all(torch.equal(theirs.tensors[names[name]], tensor) for name, tensor in source.state_dict().items())


@pytest.mark.parametrize("depth", [18, 50])
def test_an_imagenet_file_goes_into_a_detector_s_body_and_a_new_head_stays(tmp_path, depth):
    source = imagenet_resnet(depth, width=2, num_classes=3)
    names = named_as_torchvision(source)
    torch.save({names[name]: tensor for name, tensor in source.state_dict().items()}, tmp_path / "w.pt")
    detector = nn.ModuleDict({"backbone": nn.ModuleDict({"body": imagenet_resnet(depth, width=2)})})
    detector["backbone"]["body"].fc = nn.Identity()
    with pytest.raises(InputError, match=re.escape('set model.weights_prefix = {"" = "backbone.body."}')):
        start(detector, tmp_path / "w.pt")
    told = start(detector, tmp_path / "w.pt", weights_prefix={"": "backbone.body."})
    assert told.left == ["backbone.body.fc.weight", "backbone.body.fc.bias"]
    assert (told.missing, told.reshaped) == ([], [])
    other = imagenet_resnet(depth, width=2, num_classes=7)
    assert start(other, tmp_path / "w.pt").reshaped == ["fc.weight", "fc.bias"]


class Runs:
    """A pickle that runs code."""

    def __reduce__(self):
        return print, ("ran",)


BAD = {
    "no file": (None, "there is no file"),
    "empty": (b"", "cannot be read as weights"),
    "text": (b"hello, world", "is damaged, or holds more than tensors|cannot be read"),
    "cut": ("cut", "cannot be read as weights"),
    "code": (pickle.dumps({"w": Runs()}), "would run code"),
    "a number": ("number", "holds no state dict"),
    "of another model": ("other", "nothing that fits the model; the model has '0.weight', the file 'encoder.weight'"),
    "of almost another": (
        "almost",
        r"almost nothing that fits the model \(1 of its tensors\); '0.weight' has the shape",
    ),
    "of whole numbers": ("whole", r"'0.weight' has numbers of torch.int8 there, and of torch.float32 here"),
    "of its inside": ("inside", r'nothing that fits the model; set model.weights_prefix = {"encoder." = ""}'),
    "of another shape": ("shape", r"'0.weight' has the shape \[9, 4\] there, and \[5, 4\] here"),
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_file_of_weights_is_one_line(tmp_path, capsys, case, suffix):
    path, (content, message) = tmp_path / f"weights.{suffix}", BAD[case]
    save = save_file if suffix == "safetensors" else torch.save
    tables = {"other": {"encoder.weight": torch.zeros(2)}, "shape": {"0.weight": torch.zeros(9, 4)}}
    tables["whole"] = {name: torch.zeros(value.shape, dtype=torch.int8) for name, value in net().state_dict().items()}
    tables["inside"] = {f"encoder.{name}": value.clone() for name, value in net().state_dict().items()}
    tables["almost"] = {name: value.clone() for name, value in deep(9).state_dict().items()}
    if content == "number":
        torch.save(3, path)
    elif isinstance(content, str):
        save(tables.get(content, net().state_dict()), path)
        path.write_bytes(path.read_bytes()[:-40] if content == "cut" else path.read_bytes())
    elif content is not None:
        path.write_bytes(content)
    if suffix == "safetensors" and case in {"text", "code", "a number"}:
        message = "cannot be read as weights"
    with pytest.raises(InputError, match=f"model.weights: .*({message})") as refused:
        start(deep(5) if case == "of almost another" else net(), path)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_a_prefix_without_a_file_or_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="name that file too"):
        Model("resnet18", weights_prefix={"a.": ""})
    with pytest.raises(InputError, match="must give a text"):
        Model("resnet18", weights="w.pt", weights_prefix={"a.": 1})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run, and its weights as a file."""
    folder = tmp_path_factory.mktemp("runs")
    first = RunFolder(folder / "first")
    train(SMALL, first, MACHINE)
    export_run(first, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_a_run_records_it_and_the_average_starts_from_it(tmp_path, exported, capsys):
    recipe = with_settings(SMALL, [f"model.weights={exported}", "average.decay=0.5", "reference.learning_rate=1e-30"])
    train(recipe, RunFolder(tmp_path / "run"), MACHINE)
    assert f"starts from {exported}: it gives" in "".join(capsys.readouterr())
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["initial_weights"]
    assert recorded["file"] == str(exported)
    assert (recorded["missing"], recorded["reshaped"], recorded["left"]) == ([], [], [])
    assert recorded["taken"] == len(plain_state_of(exported))
    export_run(RunFolder(tmp_path / "run"), tmp_path / "after.safetensors")
    before, after = plain_state_of(exported), plain_state_of(tmp_path / "after.safetensors")
    weights = [name for name in before if "running_" not in name and "num_batches" not in name]
    assert weights
    for name in weights:  # a rate of almost nothing leaves what was loaded, in the average too
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-20)


def plain_state_of(path):
    from safetensors.torch import load_file

    return load_file(path)


def test_the_file_is_part_of_what_a_run_is(tmp_path, exported):
    """To resume needs the same bytes; two runs from other bytes differ outside the contract, from a copy inside."""
    here = tmp_path / "here.safetensors"
    here.write_bytes(exported.read_bytes())
    recipe = with_settings(SMALL, [f"model.weights={here}"])
    for name, weights in (("a", here), ("b", exported)):
        train(
            with_settings(SMALL, [f"model.weights={weights}"]),
            RunFolder(tmp_path / name),
            MACHINE,
            stop_after_iteration=2,
        )
    comparison = compare(read_record(tmp_path / "a"), read_record(tmp_path / "b"))
    assert "model.weights" in [difference.name for difference in comparison.inside]
    assert comparison.is_identical
    tensors = plain_state_of(here)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, here)
    with pytest.raises(InputError, match=r"model\.weights has changed since"):
        train(recipe, RunFolder(tmp_path / "a"), MACHINE)
    train(recipe, RunFolder(tmp_path / "c"), MACHINE, stop_after_iteration=2)
    comparison = compare(read_record(tmp_path / "a"), read_record(tmp_path / "c"))
    assert "initial_weights" in [difference.name for difference in comparison.outside]


def test_a_run_is_reproduced_from_the_same_bytes_alone(tmp_path, exported, bigbatch):
    here, run = tmp_path / "here.safetensors", tmp_path / "run"
    here.write_bytes(exported.read_bytes())
    recipe = with_settings(SMALL, [f"model.weights={here}", "model.frozen_batch_norm=true"])
    train(recipe, RunFolder(run), MACHINE, stop_after_iteration=2)
    done = bigbatch("reproduce", run, "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "starts from" in done.stdout
    save_file({name: tensor + 1 for name, tensor in plain_state_of(here).items()}, here)
    done = bigbatch("reproduce", run)
    assert done.returncode == 2
    assert "started from weights with the SHA-256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = bigbatch("reproduce", run, "--set", f"model.weights={exported}", "--output", tmp_path / "from-the-copy")
    assert done.returncode == 0, done.stderr
    here.unlink()
    done = bigbatch("reproduce", run)
    assert done.returncode == 2
    assert f"there is no file {here}" in done.stderr


# Models that are compiled


def test_a_compiled_model_has_plain_names_everywhere():
    model = net()
    compiled = torch.compile(model, backend="eager")
    assert plain_state(compiled).keys() == model.state_dict().keys()
    assert weights_sha256(plain_state(compiled)) == weights_sha256(model.state_dict())
    other = torch.compile(net(), backend="eager")
    load_plain_state(other, compiled.state_dict())
    assert is_equal(other, compiled)
    load_plain_state(other, net().state_dict())


COMPILED = """
import torch
from torch import nn
def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
def compiled():
    return torch.compile(plain(), backend="eager")
"""


def test_a_run_of_a_compiled_model_is_that_of_the_plain_one(tmp_path, monkeypatch):
    (tmp_path / "compiled_models.py").write_text(COMPILED)
    monkeypatch.syspath_prepend(str(tmp_path))
    common = ["average.decay=0.9", "data.augmentation=[]"]
    recipe = replace(SMALL, model=Model("compiled_models:plain"))
    for name in ("plain", "compiled"):
        of_it = with_settings(recipe, [f"model.name=compiled_models:{name}", *common])
        train(of_it, RunFolder(tmp_path / name), MACHINE, stop_after_iteration=3)
        train(of_it, RunFolder(tmp_path / name), MACHINE)
        export_run(RunFolder(tmp_path / name), tmp_path / f"{name}.safetensors")
    runs = [read_record(tmp_path / name).summary for name in ("plain", "compiled")]
    assert runs[0].weights_sha256 == runs[1].weights_sha256
    assert runs[0].average_sha256 == runs[1].average_sha256
    files = [plain_state_of(tmp_path / f"{name}.safetensors") for name in ("plain", "compiled")]
    assert weights_sha256(files[0]) == weights_sha256(files[1])
