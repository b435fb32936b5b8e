"""No model trains in a layout in which oneDNN writes beyond a buffer; models that were fast stay fast."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bigbatch.models import build_model
from bigbatch.models.memory_format import set_memory_format, sound_memory_format
from bigbatch.models.names import takes_arguments
from bigbatch.models.resnet import cifar_resnet, imagenet_resnet
from bigbatch.recipe.presets import PRESETS, find_recipe

MALLOC_CHECKS = "libc_malloc_debug.so.0"  # of glibc
CPU = torch.backends.cpu.get_cpu_capability()
PROGRAM = Path(__file__).parent / "programs" / "narrow_training.py"


def has_malloc_checks():
    try:
        ctypes.CDLL(MALLOC_CHECKS)
    except OSError:
        return False
    return True


def train_a_narrow_net(folder, *arguments):
    """Train in a process that uses AVX2 at best, with glibc's checks of the heap."""
    checks = {"LD_PRELOAD": MALLOC_CHECKS, "MALLOC_CHECK_": "3"} if has_malloc_checks() else {}
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), *arguments],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", **checks},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_narrow_net_is_trained_on_a_sound_heap(tmp_path):
    done = train_a_narrow_net(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["memory_format"] == summary["attempts"][0]["memory_format"] == "torch.contiguous_format"


@pytest.mark.skipif(not CPU.startswith("AVX"), reason=f"oneDNN's fault is in its code for AVX2; this CPU has {CPU}")
@pytest.mark.skipif(not has_malloc_checks(), reason="without glibc's checks a corrupt heap can go unnoticed")
def test_the_same_net_in_channels_last_corrupts_the_heap(tmp_path):
    """Otherwise the test above would prove nothing."""
    done = train_a_narrow_net(tmp_path / "run", "channels_last")
    if done.returncode == 0 and CPU != "AVX2":
        pytest.skip(f"oneDNN under ONEDNN_MAX_CPU_ISA=AVX2 does not show its fault on this CPU ({CPU})")
    assert done.returncode < 0, (
        f"torch {torch.__version__} trains a 1x1 convolution with stride 2 and 4 channels in channels_last without "
        f"a corrupt heap (exit code {done.returncode}). "
        f"If its oneDNN is newer than 3.12, the fault may be mended: then "
        f"this test can go, and models/memory_format.py can say from which version on channels_last is sound.\n"
        f"{done.stderr}"
    )


@pytest.mark.parametrize("name", [name for name, make in PRESETS.items() if not takes_arguments(make().model.name)])
def test_every_preset_of_our_own_networks_keeps_channels_last(name):
    recipe = find_recipe(name)
    with torch.device("meta"):
        model = build_model(recipe.model.name, num_classes=10, in_channels=1, width=recipe.model.width)
    assert sound_memory_format(model) is torch.channels_last


@pytest.mark.parametrize(
    "model",
    [
        cifar_resnet(8, width=4),
        imagenet_resnet(18, width=4),
        nn.Sequential(nn.Conv2d(3, 8, 1, stride=2)),
        nn.Sequential(nn.Conv2d(16, 16, 1, stride=(1, 2), groups=4)),
        nn.Sequential(nn.Conv2d(16, 16, 16, stride=16)),
        nn.Sequential(nn.Conv2d(16, 16, 3), nn.ConvTranspose2d(16, 16, 2)),
        nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv3d(1, 1, 1)),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3)),
    ],
)
def test_what_is_unsound_or_cannot_be_seen_is_contiguous(model):
    assert sound_memory_format(model) is torch.contiguous_format


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contiguous_model_stays_so_whatever_layout_its_weights_and_images_come_in(channels):
    """With one channel, strides can say channels_last although `is_contiguous()` holds; torch believes the strides."""
    seen = []
    model = cifar_resnet(8, width=4, in_channels=channels).to(memory_format=torch.channels_last)
    model = set_memory_format(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.randn(2, 32, 32, channels).permute(0, 3, 1, 2))
    assert [images.stride() for images in seen] == [torch.empty(images.shape).stride() for images in seen]
    assert len(seen) == 9
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_a_tensor_of_four_dimensions_may_be_the_kernel_of_a_convolution_in_some_forward():
    class Blur(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3)
            self.register_buffer("kernel", torch.ones(16, 1, 3, 3))

    assert sound_memory_format(Blur()) is torch.contiguous_format
    assert sound_memory_format(Blur().first) is torch.channels_last
