"""Weights between torchvision's and timm's networks and ours; batch normalisation that other libraries have frozen."""

import copy

import pytest
import timm
import torch
from tiny_objects import write_recipe
from torch import nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import freeze_batch_norm
from bigbatch.models.resnet import imagenet_resnet
from bigbatch.models.weights_file import read_weights
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import read_recipe, with_settings
from bigbatch.recipe.presets import bccd_retinanet, coco_mask_rcnn
from bigbatch.recipe.sections import Model
from bigbatch.runs.folder import RunFolder
from bigbatch.step.step import Step
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.run_evaluation import export_run
from bigbatch.training.trainer import train
from bigbatch.training.warm_start import warm_start

INTO_A_BODY = {"": "backbone.body."}


def start(model, path, **options):
    return warm_start(model, Model("my:net", weights=str(path), **options))


def moved(model):
    """Return a model whose running statistics and scales are those of no initialisation."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.add_(torch.rand(tensor.shape, generator=generator) / 10)
            elif name.endswith("running_var") or tensor.ndim == 1:
                tensor.add_(torch.rand(tensor.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_residual_network_computes_the_same_under_either_name(tmp_path, depth, library):
    make = {"torchvision": models.get_model, "timm": timm.create_model}[library]
    theirs, ours = moved(make(f"resnet{depth}", num_classes=7)), imagenet_resnet(depth, num_classes=7)
    image = torch.randn(2, 3, 64, 64)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    told = start(ours, tmp_path / "theirs.pt")
    assert (told.missing, told.reshaped, told.left) == ([], [], [])
    expected = theirs(image)
    torch.testing.assert_close(ours.eval()(image), expected, rtol=1e-4, atol=1e-4)
    torch.save(ours.state_dict(), tmp_path / "ours.pt")
    back = make(f"resnet{depth}", num_classes=7)
    told = start(back, tmp_path / "ours.pt")
    assert (told.missing, told.reshaped, told.left) == ([], [], [])
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())


def test_a_classifier_goes_into_torchvision_s_detector_and_its_head_is_left(tmp_path):
    source = moved(models.get_model("resnet50"))
    torch.save(source.state_dict(), tmp_path / "w.pt")
    for tensors in (source.state_dict(), imagenet_resnet(50).state_dict()):
        torch.save(tensors, tmp_path / "w.pt")
        detector = models.get_model("retinanet_resnet50_fpn", weights=None, weights_backbone=None, num_classes=4)
        with pytest.raises(InputError, match=r'set model.weights_prefix = {"" = "backbone.body."}'):
            start(detector, tmp_path / "w.pt")
        told = start(detector, tmp_path / "w.pt", weights_prefix=INTO_A_BODY)
        assert told.left == ["backbone.body.fc.weight", "backbone.body.fc.bias"]
        assert all(name.startswith(("backbone.fpn.", "head.")) for name in told.missing)
        assert not told.reshaped


def test_a_network_with_torchvision_s_frozen_normalisation_takes_our_statistics(tmp_path):
    source = moved(imagenet_resnet(18, num_classes=7))
    torch.save(source.state_dict(), tmp_path / "w.pt")
    frozen = models.resnet18(num_classes=7, norm_layer=FrozenBatchNorm2d)
    told = start(frozen, tmp_path / "w.pt")
    assert not told.missing
    assert told.lines() == [f"starts from {tmp_path / 'w.pt'}: it gives 102 of the model's 102 tensors"]
    image = torch.randn(2, 3, 64, 64)
    freeze_batch_norm(source)
    torch.testing.assert_close(frozen.train()(image), source.train()(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("is_theirs", [True, False])
def test_a_step_moves_no_frozen_normalisation_whoever_froze_it(is_theirs):
    norm = FrozenBatchNorm2d if is_theirs else nn.BatchNorm2d
    model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3, norm_layer=norm)
    names = freeze_batch_norm(model)
    assert len(names) == 12
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    with Step(
        model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=4, worker_minibatch_size=2
    ) as step:
        for _ in range(2):
            model.train()
            step([(torch.randn(2, 3, 32, 32), torch.randint(3, (2,))) for _ in range(2)])
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not {name for name in changed if name.rpartition(".")[0] in names}


def test_patterns_reach_timm_s_normalisations_with_activations():
    """Their class normalises and activates in one module, which stays as it is."""
    model = timm.create_model("regnetx_002", num_classes=3)
    image = torch.randn(1, 3, 64, 64)
    expected = copy.deepcopy(model).eval()(image)
    assert "stem.bn" in freeze_batch_norm(model, ["*"])
    model.train()
    model.head.eval()
    torch.testing.assert_close(model(image), expected)


DETECTORS = {"retinanet-resnet18": "width = 8", "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn": ""}


def backbone(name):
    """Return a trained classifier whose layers are those of a detector's body, as weights."""
    if name.startswith("torchvision/"):
        body = models.get_model("mobilenet_v3_large", num_classes=3).features
        return {f"features.{name}": tensor for name, tensor in moved(body).state_dict().items()}, {
            "features.": "backbone.body."
        }
    return moved(imagenet_resnet(18, width=8, num_classes=3)).state_dict(), INTO_A_BODY


@pytest.mark.parametrize("name", DETECTORS)
def test_a_recipe_trains_a_detector_on_a_backbone_whose_statistics_stay(tmp_path, name):
    weights, prefix = backbone(name)
    torch.save(weights, tmp_path / "w.pt")
    recipe = read_recipe(write_recipe(tmp_path, name, fields=DETECTORS[name], iterations=2))
    (old, new), *_ = prefix.items()
    settings = [f"model.weights={tmp_path / 'w.pt'}", f'model.weights_prefix={{"{old}" = "{new}"}}']
    recipe = with_settings(recipe, [*settings, "model.frozen_batch_norm=true"])
    summary = train(recipe, RunFolder(tmp_path / "run"), Machine(Processes(), torch.device("cpu"), threads=1))
    taken = summary.initial_weights
    assert all(name.startswith(("backbone.fpn", "head.", "rpn.", "roi_heads.")) for name in taken["missing"])
    export_run(RunFolder(tmp_path / "run"), tmp_path / "after.safetensors")
    after = read_weights(tmp_path / "after.safetensors").tensors
    same = {n for n, t in weights.items() if (m := n.replace(old, new, 1)) in after and torch.equal(t, after[m])}
    statistics = {n for n in weights if "running_" in n}
    assert len(statistics) > 30
    assert statistics <= same
    assert len(same) < taken["taken"]  # convolutions have been trained


def test_the_paper_s_recipe_takes_torchvision_s_backbone_and_keeps_its_statistics(tmp_path):
    torch.save(models.get_model("resnet50").state_dict(), tmp_path / "w.pt")
    recipe = with_settings(
        coco_mask_rcnn(), [f"model.weights={tmp_path / 'w.pt'}", 'model.weights_prefix={"" = "backbone.body."}']
    )
    model = build_recipe_model(recipe, num_classes=81, in_channels=3)
    told = warm_start(model, recipe.model)
    assert told.left == ["backbone.body.fc.weight", "backbone.body.fc.bias"]
    assert all(name.startswith(("backbone.fpn.", "rpn.", "roi_heads.")) for name in told.missing)
    norms = [module for module in model.train().modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)


def test_the_small_detector_s_recipe_builds():
    model = build_recipe_model(bccd_retinanet(), num_classes=4, in_channels=3)
    assert sum(parameter.numel() for parameter in model.parameters()) < 400_000
