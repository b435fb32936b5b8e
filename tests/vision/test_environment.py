"""The environment of these tests has what the extras name; so none of them is passed over in silence."""

import importlib
from importlib.metadata import version

import pytest
import torch


@pytest.mark.parametrize(
    "library", ["torchvision", "transformers", "timm", "torchmetrics", "faster_coco_eval", "pycocotools", "accelerate"]
)
def test_a_library_of_the_extras_is_there(library):
    assert importlib.import_module(library)


def test_torchvision_and_torch_fit_each_other():
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2], version("torchvision")
