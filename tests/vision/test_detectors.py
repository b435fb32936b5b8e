"""Detectors of torchvision and ours: the same bits for any number of processes, and torch's own gradients."""

import json
import os
from pathlib import Path

import pytest
import torch
from tiny_objects import Rectangles, collate, write_recipe

from bigbatch.errors import InputError
from bigbatch.models import build_model
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import seed_worker
from bigbatch.tasks.detection import detected_objects
from bigbatch.tasks.losses import OBJECTIVES

HERE = str(Path(__file__).parent)
FEW = """
rpn_pre_nms_top_n_train = 100
rpn_pre_nms_top_n_test = 50
rpn_post_nms_top_n_test = 50
box_detections_per_img = 5
"""
DETECTORS = {
    "mask-rcnn-resnet18": {"fields": "width = 8", "arguments": FEW},
    "faster-rcnn-resnet50": {"fields": "width = 8", "arguments": FEW},
    "retinanet-resnet18": {"fields": "width = 8", "arguments": "score_thresh = 0.01"},
    "fcos-resnet18": {"fields": "width = 16", "arguments": "score_thresh = 0.001"},
    "torchvision/ssdlite320_mobilenet_v3_large": {"iterations": 1},
}
DETECTION = OBJECTIVES["detection"]
K, N = 3, 2


def test_detectors_train_to_the_same_bits_for_any_number_of_processes(group, tmp_path):
    """The whole path from the recipe to the evaluation, in one group of processes for all of them."""
    recipes = {}
    for number, (name, fields) in enumerate(DETECTORS.items()):
        (tmp_path / str(number)).mkdir()
        recipes[name] = write_recipe(tmp_path / str(number), name, **fields)
    for processes in (1, 2, 3):
        group("detection_law.py", processes, *recipes.values())
    for name, recipe in recipes.items():
        runs = [json.loads((recipe.parent / f"tiny-p{p}" / "run.json").read_text()) for p in (1, 2, 3)]
        found = [(run["weights_sha256"], run["final_result"]) for run in runs]
        assert found[1:] == found[:1] * 2, name


def test_a_detector_trains_by_the_command(bigbatch, tmp_path):
    recipe = write_recipe(tmp_path, "retinanet-resnet18", fields="width = 8", iterations=1)
    path = os.pathsep.join([HERE, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    run = bigbatch("train", recipe, "--output", tmp_path / "run", PYTHONPATH=path)
    assert run.returncode == 0, run.stderr
    assert "num found" in run.stdout


def small(name, **arguments):
    """Build a small detector of ours."""
    torch.manual_seed(0)
    return build_model(
        name,
        num_classes=3,
        in_channels=3,
        task="detection",
        width=16 if name == "fcos-resnet18" else 8,
        arguments=arguments,
    )


def batches(k=K, n=N):
    """Return the batches of k workers; the first image of the third has no objects."""
    data = Rectangles(k * n, 0)
    return [collate([data[i] for i in range(j * n, (j + 1) * n)]) for j in range(k)]


def doubled(minibatch):
    """Return the batches in float64."""
    return [
        ([image.double() for image in images], [target | {"boxes": target["boxes"].double()} for target in targets])
        for images, targets in minibatch
    ]


def plain_gradients(model, minibatch, seed=0):
    """Return torch's own gradient of the mean of the workers' summed losses."""
    model.zero_grad()
    for worker, (images, targets) in enumerate(minibatch):
        seed_worker(seed, 0, worker, torch.device("cpu"))
        (sum(model(images, targets).values()) / len(minibatch)).backward()
    return gradients(model)


def gradients(model):
    """Return all gradients in one vector."""
    return torch.cat([parameter.grad.double().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("name", ["mask-rcnn-resnet18", "faster-rcnn-resnet18", "retinanet-resnet18", "fcos-resnet18"])
def test_the_gradient_is_that_of_the_mean_of_the_workers_losses(name):
    model, minibatch = small(name).double(), doubled(batches())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Step(model, DETECTION, optimizer, minibatch_size=K * N, worker_minibatch_size=N) as step:
        step.backward(minibatch, iteration=0)
        ours = gradients(model)
    theirs = plain_gradients(model, minibatch)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_retinanet_divides_by_samples_and_the_others_by_worker():
    """So batches of different sizes count by their images, as torchvision divides one batch of all of them."""
    model = small("retinanet-resnet18")
    (one, other), both = batches(2, 1), batches(1, 2)[0]
    whole = DETECTION(model, both)
    parts = [DETECTION(model, batch) for batch in (one, other)]
    assert [part.weight for part in (whole, *parts)] == [2, 1, 1]
    assert DETECTION(small("fcos-resnet18"), both).weight == 1


def test_images_keep_their_size_unless_the_model_is_told_to_resize_them():
    images = [torch.rand(3, 70, 90)]
    kept, resized = small("retinanet-resnet18"), small("retinanet-resnet18", min_size=32, max_size=64)
    for mode in (True, False):
        assert kept.train(mode).transform(images)[0].image_sizes == [(70, 90)]
        assert resized.train(mode).transform(images)[0].image_sizes == [(32, 41)]


def test_an_exported_classifier_has_the_names_of_a_detectors_body():
    classifier = build_model("resnet18", num_classes=10, in_channels=3, width=8)
    body = small("mask-rcnn-resnet18").backbone.body.state_dict()
    mine = {name: tensor.shape for name, tensor in classifier.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in body.items()} == mine


def test_what_is_found_in_an_image_does_not_depend_on_the_others_of_its_batch():
    images, targets = batches(1, 5)[0]
    model = small("faster-rcnn-resnet18").eval()
    with torch.no_grad():
        together, _ = detected_objects(model, (images, targets))
        alone = [
            detected_objects(model, ([image], [target]))[0][0] for image, target in zip(images, targets, strict=True)
        ]
    assert len({image.shape for image in images}) > 1
    assert sum(len(found["boxes"]) for found in alone) > 5
    for first, second in zip(together, alone, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in ("boxes", "scores", "labels"))


def test_what_a_pass_finds_does_not_depend_on_the_images_before_it():
    """The pooling layers of torchvision keep the scales of the first images that they see."""
    model, minibatch = small("faster-rcnn-resnet18"), batches()
    tiny = collate([(torch.rand(3, 33, 33), {"boxes": torch.tensor([[2.0, 2, 20, 20]]), "labels": torch.tensor([1])})])

    def loss(batch):
        torch.manual_seed(1)
        return float(DETECTION(model, batch).total.detach())

    first = loss(minibatch[0])
    loss(tiny)
    again = loss(minibatch[0])
    assert first == again


BAD = {
    "torchvision has no model 'resnet5'; did you mean 'resnet50'?": ("torchvision/resnet5", "cross-entropy", {}),
    "timm has no model 'resnet18x'; did you mean": ("timm/resnet18x", "cross-entropy", {}),
    "is a detector; set objective": ("torchvision/fcos_resnet50_fpn", "cross-entropy", {}),
    "needs a detector, not model 'torchvision/resnet18'": ("torchvision/resnet18", "detection", {}),
    "needs a detector, not model 'timm/resnet18'": ("timm/resnet18", "detection", {}),
    "did you mean 'score_thresh'": ("torchvision/retinanet_resnet50_fpn", "detection", {"score_tresh": 1}),
    "did you mean 'box_score_thresh'": ("mask-rcnn-resnet18", "detection", {"box_score_tresh": 1}),
    "anchor_sizes must be 5 numbers": ("fcos-resnet18", "detection", {"anchor_sizes": [8, 16]}),
    "unexpected keyword argument 'depth'": ("torchvision/resnet18", "cross-entropy", {"depth": 18}),
    "unexpected keyword argument 'deep'": ("timm/resnet18", "cross-entropy", {"deep": True}),
    "unexpected keyword argument 'num_classes'": ("torchvision/raft_small", "cross-entropy", {}),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_a_librarys_model_is_refused_in_a_line(message):
    name, task, arguments = BAD[message]
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        build_model(name, num_classes=3, in_channels=3, task=task, arguments=arguments)
    assert message in str(error.value)


def test_images_and_classes_that_do_not_fit_are_refused():
    for name, task in (("torchvision/resnet18", "cross-entropy"), ("fcos-resnet18", "detection")):
        with pytest.raises(InputError, match="3 channels"):
            build_model(name, num_classes=3, in_channels=1, task=task)
        with pytest.raises(InputError, match="`classes`"):
            build_model(name, num_classes=0, in_channels=0, task=task)
    with pytest.raises(InputError, match=r"model\.width of a multiple of 16"):
        build_model("fcos-resnet18", num_classes=3, in_channels=3, task="detection", width=12)


def test_a_mask_head_without_masks_and_an_empty_box_are_refused():
    model = small("mask-rcnn-resnet18")
    images, targets = batches()[0]
    with pytest.raises(InputError, match=r'no .masks.; set data\.labels = "masks"'):
        DETECTION(model, (images, [{"boxes": target["boxes"], "labels": target["labels"]} for target in targets]))
    targets[0]["boxes"][0, 2] = targets[0]["boxes"][0, 0]
    with pytest.raises(InputError, match="positive height and width"):
        DETECTION(model, (images, targets))
    with pytest.raises(InputError, match="in training mode only"):
        DETECTION(model.eval(), (images, targets))


@pytest.mark.parametrize("name", ["retinanet-resnet18", "faster-rcnn-resnet18"])
def test_a_narrow_detector_s_heads_pass_on_as_much_of_a_signal_as_a_wide_one_s(name):
    """Their first weights are drawn for 256 channels: with 32, a tower of four layers would return almost nothing."""
    gains = []
    for width in (8, 64):
        torch.manual_seed(0)
        arguments = {"num_classes": 3, "in_channels": 3, "task": "detection", "width": width, "arguments": {}}
        detector = build_model(name, **arguments)
        tower = detector.rpn.head.conv if hasattr(detector, "rpn") else detector.head.classification_head.conv
        features = torch.randn(1, 4 * width, 32, 32)
        gains.append(float(tower(features).detach().std()))
    assert 0.5 < gains[0] / gains[1] < 2
