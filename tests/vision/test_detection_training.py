"""Detectors by the command: one result for any number of processes, which pycocotools confirms; the example learns."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from bigbatch.data.resizing import resized
from bigbatch.models import build_model
from bigbatch.recipe.file import read_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "detection"
RECIPE = """
name = "shapes-mask-rcnn"
minibatch_size = 6
worker_minibatch_size = 2
epochs = 1
objective = "detection"
metrics = ["coco-box-ap", "coco-mask-ap"]

[reference]
minibatch_size = 6
learning_rate = 0.003

[model]
name = "mask-rcnn-resnet18"
width = 8

[model.arguments]
anchor_sizes = [16, 24, 32, 48, 64]
rpn_pre_nms_top_n_train = 100
rpn_post_nms_top_n_train = 50
box_batch_size_per_image = 32
box_score_thresh = 0.0

[data]
name = "coco"
path = "data"
labels = "masks"
short_sides = [100, 120]
augmentation = ["flip"]

[schedule]
kind = "constant"

[optimizer]
name = "adamw"
weight_decay = 0.05

[evaluation]
part_size = 3
"""


def run(folder, *words):
    command = [sys.executable, "-m", "bigbatch", *map(str, words)]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Return the example's folder, with few images."""
    copied = shutil.copytree(EXAMPLE, tmp_path / "detection")
    subprocess.run([sys.executable, "shapes.py", "data", "24", "8"], cwd=copied, check=True)
    (copied / "mask.toml").write_text(RECIPE)
    return copied


def summary(folder, name):
    return json.loads((folder / name / "run.json").read_text())


def last_epoch(folder, name):
    lines = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
    return [line["validation"] for line in lines if "validation" in line][-1]


def in_plain_torch(folder, weights):
    """Return COCOeval's box AP and mask AP in % of exported weights: each image is read, resized and scaled back."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    recipe, truth = read_recipe(folder / "mask.toml"), COCO(folder / "data/annotations/instances_val2017.json")
    arguments = recipe.model.arguments
    model = build_model("mask-rcnn-resnet18", num_classes=3, in_channels=3, width=8, arguments=arguments).eval()
    model.load_state_dict(load_file(weights))
    boxes, masks = [], []
    for number in truth.getImgIds():
        file = truth.loadImgs(number)[0]["file_name"]
        image = Image.open(folder / "data/val2017" / file)
        width, height = resized(*image.size, short_side=120, long_side=1333)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        with torch.no_grad():
            (found,) = model([torch.from_numpy(pixels / np.float32(255))])
        ratio = torch.tensor([image.width / width, image.height / height] * 2).double()
        corners = (found["boxes"].double() * ratio).tolist()
        planes = functional.interpolate(found["masks"], (image.height, image.width), mode="bilinear")[:, 0] > 0.5
        rows = zip(corners, found["labels"].tolist(), found["scores"].tolist(), planes.numpy(), strict=True)
        for (a, b, c, d), label, score, plane in rows:
            result = {"image_id": number, "category_id": label, "score": score}
            boxes.append(result | {"bbox": [a, b, c - a, d - b]})
            masks.append(result | {"segmentation": coco_mask.encode(np.asfortranarray(plane.astype(np.uint8)))})
    found = []
    for results, kind in ((boxes, "bbox"), (masks, "segm")):
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found.append(100 * evaluation.stats[0])
    return found


def test_the_aps_of_a_training_are_those_of_plain_torch_and_pycocotools_for_any_number_of_processes(folder):
    for p in (1, 2, 3):
        run(folder, "train", "mask.toml", "--processes", p, "--output", f"runs/{p}")
    runs = [summary(folder, f"runs/{p}") for p in (1, 2, 3)]
    assert len({one["weights_sha256"] for one in runs}) == 1
    found = [last_epoch(folder, f"runs/{p}") for p in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    assert runs[0]["metric"] == {"name": "coco-box-ap", "unit": "%", "better": "higher"}
    assert runs[0]["final_result"] == found[0]["coco-box-ap"]
    run(folder, "export", "runs/1", "weights.safetensors")
    expected = in_plain_torch(folder, folder / "weights.safetensors")
    assert list(found[0].values()) == pytest.approx(expected, abs=1e-9)
    assert min(expected) > 0
    again = json.loads(run(folder, "evaluate", "runs/1", "--json"))
    assert again["validation"] == found[0]


def test_the_example_learns_to_detect_by_the_same_bits_for_any_number_of_processes(folder):
    for p in (1, 2):
        run(folder, "train", "recipe.toml", "--set", "epochs=3", "--processes", p, "--output", f"runs/{p}")
    runs = [summary(folder, f"runs/{p}") for p in (1, 2)]
    assert len({one["weights_sha256"] for one in runs}) == 1
    assert len({one["final_result"] for one in runs}) == 1
    assert last_epoch(folder, "runs/1")["coco-box-ap50"] > 0


def test_a_validation_without_objects_ends_a_training_before_it_begins(folder):
    file = folder / "data/annotations/instances_val2017.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    command = [sys.executable, "-m", "bigbatch", "train", "mask.toml", "--processes", "1", "--output", "runs/1"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "coco-box-ap is undefined: the validation data has no object in its 8 images" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "runs/1/metrics.jsonl").exists()
