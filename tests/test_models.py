"""ResNets as the paper builds them (arXiv 1706.02677, section 5.1)."""

import pytest
import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.models import build_model
from bigbatch.models.resnet import Residual, cifar_resnet, imagenet_resnet


@pytest.mark.parametrize(
    ("depth", "num_parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)]
)
def test_the_imagenet_networks_have_the_published_number_of_parameters(depth, num_parameters):
    with torch.device("meta"):
        net = imagenet_resnet(depth)
    assert sum(p.numel() for p in net.parameters()) == num_parameters


def test_the_depth_counts_convolutions_and_the_classifier():
    for depth in (8, 14, 20, 32):
        net = cifar_resnet(depth)
        main = [m for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in name]
        assert len(main) + 1 == depth


def test_the_stride_is_in_the_3x3():
    for net in (imagenet_resnet(50, width=4), imagenet_resnet(18, width=4), cifar_resnet(8)):
        strided = [
            m for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2) and "branch" in name
        ]
        assert len(strided) == len(net.stages) - 1
        assert all(m.kernel_size == (3, 3) for m in strided)


@pytest.mark.parametrize("zero_gamma", [True, False])
def test_gamma_is_zero_in_each_blocks_last_norm_alone(zero_gamma):
    net = imagenet_resnet(50, width=4, zero_gamma=zero_gamma)
    last = {id(m.last_norm) for m in net.modules() if isinstance(m, Residual)}
    assert len(last) == 16
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            gamma = 0.0 if zero_gamma and id(module) in last else 1.0
            assert (module.weight == gamma).all()
            assert (module.bias == 0).all()
            assert module.momentum == 0.1


def test_he_initialisation_and_the_small_classifier():
    torch.manual_seed(0)
    net = imagenet_resnet(50)
    conv = net.stages[3][2].branch[3]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not net.fc.bias.any()


@pytest.mark.parametrize(("channels", "side", "pool"), [(1, 8, False), (1, 28, True), (3, 32, False), (5, 9, True)])
def test_small_images_of_any_number_of_channels(channels, side, pool):
    net = cifar_resnet(14, num_classes=7, in_channels=channels, width=4, stem_pool=pool, dropout=0.5)
    assert net(torch.zeros(2, channels, side, side)).shape == (2, 7)


def test_names():
    options = {"num_classes": 4, "in_channels": 1}
    assert build_model("cifar-resnet8", **options).fc.in_features == 64
    assert build_model("resnet18", width=8, **options).fc.in_features == 64
    assert isinstance(
        build_model("torch.nn:Linear", arguments={"in_features": 2, "out_features": 3}, **options), nn.Linear
    )
    for name, message in [
        ("resnet19", "unknown model 'resnet19'"),
        ("no_such_module:net", "there is no module 'no_such_module'"),
        ("torch.nn:Lineal", "module 'torch.nn' has no callable 'Lineal'"),
        ("builtins:dict", "must return a torch.nn.Module, not dict"),
    ]:
        with pytest.raises(InputError, match=message):
            build_model(name, **options)
    with pytest.raises(ValueError, match="depth 6n\\+2"):
        cifar_resnet(9)
    with pytest.raises(ValueError, match="18, 34, 50 or 101"):
        imagenet_resnet(152)
