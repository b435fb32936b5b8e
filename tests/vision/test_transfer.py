"""Weights between torchvision's and timm's networks and ours; batch normalisation that other libraries have frozen."""

import copy

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import freeze_batch_norm
from bigbatch.models.resnet import imagenet_resnet
from bigbatch.recipe.sections import Model
from bigbatch.step.step import Step
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
