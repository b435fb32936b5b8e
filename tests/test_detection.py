"""The objective "detection" of a detector of one's own, and the outputs of libraries, without these libraries."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.models import build_model
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.step.step import Step
from bigbatch.tasks.losses import BUILT_IN, OBJECTIVES
from bigbatch.tasks.outputs import main_output, scored_output

DETECTION = OBJECTIVES["detection"]


class MeanColour(nn.Module):
    """Is called as torchvision's detectors are: each object's label shall follow from its image's mean colour."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, images, targets=None):
        scores = self.linear(torch.stack([image.mean((1, 2)) for image in images]))
        if not self.training:
            return [{"boxes": torch.zeros(1, 4), "scores": one[:1], "labels": torch.ones(1).long()} for one in scores]
        wanted = torch.tensor([len(target["labels"]) for target in targets]).float()
        return {"count": (scores[:, 0] - wanted).square().mean(), "size": scores[:, 1].square().mean()}


def batch(*counts):
    """Return a batch of images with so many objects."""
    generator = torch.Generator().manual_seed(sum(counts))
    images = [torch.rand(3, 4 + count, 5, generator=generator) for count in counts]
    targets = [{"boxes": torch.tensor([[0.0, 0, 2, 2]] * m).reshape(m, 4), "labels": torch.ones(m)} for m in counts]
    return images, targets


def test_a_detector_of_ones_own_minimises_the_mean_of_its_workers_losses():
    torch.manual_seed(0)
    model, minibatch = MeanColour(), [batch(0, 1), batch(2, 3), batch(1, 1)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Step(model, DETECTION, optimizer, minibatch_size=6, worker_minibatch_size=2) as step:
        step.backward(minibatch)
        ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    (sum(sum(model(*part).values()) for part in minibatch) / 3).backward()
    for gradient, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


REFUSED = {
    "a dictionary of losses": (lambda *_: torch.zeros(2), batch(1, 2)),
    "of type list": (lambda *_: [torch.zeros(())], batch(1, 2)),
    "needs batches of": (None, (torch.zeros(2, 3), torch.zeros(2))),
    "with boxes and labels": (None, (batch(1, 2)[0], [{"boxes": torch.zeros(1, 4)}] * 2)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_detection_is_refused_in_a_line(message):
    function, given = REFUSED[message]
    model = MeanColour()
    if function:
        model.forward = function
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        DETECTION(model, given)


def test_a_recipe_says_at_once_that_task_and_model_do_not_fit():
    for settings, message in {
        ("model.name=retinanet-resnet18",): 'is a detector; set objective = "detection"',
        ("objective=detection",): "needs a detector, not model 'cifar-resnet",
        ("model.name=torchvision/resnet18", "model.width=4"): r"has no model\.width",
        ("objective=detektion",): "did you mean 'detection'",
        ("model.name=keras/vgg",): "unknown model 'keras/vgg'",
    }.items():
        with pytest.raises(InputError, match=message):
            with_settings(digits(), list(settings))


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18", "transformers/vit", "fcos-resnet18"])
def test_a_missing_library_is_named_with_what_to_install(name, monkeypatch):
    for library in ("torchvision", "timm", "transformers"):
        for module in (library, f"{library}.models", f"{library}.models.detection"):
            monkeypatch.setitem(__import__("sys").modules, module, None)
    extra = {"torchvision": "detection", "fcos-resnet18": "detection"}.get(name.split("/")[0], name.split("/")[0])
    with pytest.raises(InputError, match=rf"cannot be imported .*pip install 'bigbatch\[{extra}\]'$"):
        build_model(name, num_classes=3, in_channels=3, task="detection" if "fcos" in name else "cross-entropy")


def test_losses_take_the_logits_of_librarys_outputs():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    plain = BUILT_IN["cross-entropy"](logits, labels)
    for outputs in (SimpleNamespace(logits=logits), {"out": logits}):
        assert torch.equal(main_output(outputs), logits)
        assert torch.equal(BUILT_IN["cross-entropy"](outputs, labels), plain)
    with pytest.raises(InputError, match="needs a tensor, not outputs of type list"):
        BUILT_IN["cross-entropy"]([logits], labels)


def test_a_segmentation_counts_half_of_its_auxiliary_loss_and_is_enlarged():
    small, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 16, 16))
    masks[0, 0] = -100
    large = nn.functional.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
    loss = BUILT_IN["pixel-cross-entropy"]
    assert torch.equal(scored_output({"out": small}, masks), large)
    torch.testing.assert_close(loss(small, masks).total, loss(large, masks).total)
    both = loss({"out": large, "aux": 2 * large}, masks)
    torch.testing.assert_close(both.total, loss(large, masks).total + 0.5 * loss(2 * large, masks).total)
    assert int(both.weight) == 2 * 16 * 16 - 16
