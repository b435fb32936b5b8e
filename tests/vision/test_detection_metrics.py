"""COCO's average precision is that of pycocotools, for any cut of the data; what has none is refused in a line."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from annotated_data import write_coco
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.recipe.metrics import AVERAGE_PRECISIONS
from bigbatch.tasks.detection_metrics import AveragePrecision
from bigbatch.training.evaluation import Evaluation, evaluate
from bigbatch.training.scoring import Scorer

NAMES = [measure.name for measure in AVERAGE_PRECISIONS]
CATEGORIES = (1, 2, 7, 90)
PLACES = {"ap": 0, "ap50": 1, "ap75": 2}  # in COCOeval.stats


def boxes_in(random, count, height, width, *, jitter=0):
    """Return boxes (x, y, x, y) as the model or an annotator would have them; few places, so that many overlap."""
    corners = random.integers(0, [width - 4, height - 4], (count, 2)) // 4 * 4
    ends = corners + random.integers(3, max(4, min(height, width) // 2), (count, 2))
    return np.concatenate([corners, np.minimum(ends, [width, height])], 1) + jitter * random.normal(size=(count, 4))


def masks_of(boxes, height, width):
    """Return masks that are the boxes, cut by a diagonal."""
    y, x = np.mgrid[:height, :width]
    inside = [
        (x >= a) & (y >= b) & (x < c) & (y < d) & ((x - a) + (y - b) < 0.8 * (c - a + d - b)) for a, b, c, d in boxes
    ]
    return np.array(inside, dtype=np.uint8).reshape(len(boxes), height, width)


def rle(mask):
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def image_of(random, number, most_found):
    """Return what a model finds in an image, and its target, as the data sets of bigbatch have it."""
    original = random.integers(12, 40, 2)
    size = original * random.integers(1, 3) + random.integers(0, 2, 2)
    true = boxes_in(random, random.integers(0, 5), *original)
    labels, crowds = random.choice(CATEGORIES[:3], len(true)), random.random(len(true)) < 0.2
    annotations = [
        {
            "bbox": [a, b, c - a, d - b],
            "category_id": k,
            "area": (c - a) * (d - b),
            "iscrowd": i,
            "segmentation": rle(m),
        }
        for (a, b, c, d), k, i, m in zip(
            true.tolist(), labels.tolist(), crowds.astype(int).tolist(), masks_of(true, *original), strict=True
        )
    ]
    ratio = np.tile((size / original)[::-1], 2)
    near = true[random.integers(0, len(true), random.integers(0, 8))] if len(true) else true
    found = np.concatenate(
        [near + random.normal(size=near.shape), boxes_in(random, random.integers(0, most_found), *original)]
    )
    found = (found * ratio).astype(np.float32)
    outputs = {
        "boxes": torch.from_numpy(found),
        "scores": torch.from_numpy(random.choice(np.linspace(0, 1, 7, dtype=np.float32), len(found))),  # ties
        "labels": torch.from_numpy(random.choice(CATEGORIES, len(found))),
        "masks": torch.from_numpy(masks_of(found, *size)).float()[:, None] * 0.9,
    }
    frames = {"size": torch.from_numpy(size), "orig_size": torch.from_numpy(original)}
    return outputs, {"image_id": torch.tensor(number), "annotations": annotations, **frames}


def by_pycocotools(images, kind):
    """Return COCOeval's AP, AP50 and AP75 in %."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = COCO(), []
    truth.dataset = {"images": [], "annotations": [], "categories": [{"id": number} for number in CATEGORIES]}
    for outputs, target in images:
        number = int(target["image_id"])
        (height, width), size = target["orig_size"].tolist(), target["size"].tolist()
        truth.dataset["images"].append({"id": number, "height": height, "width": width})
        for one in target["annotations"]:
            identity = {"id": len(truth.dataset["annotations"]) + 1, "image_id": number}
            truth.dataset["annotations"].append(one | identity)
        for box, score, label, mask in zip(
            *(outputs[name] for name in ("boxes", "scores", "labels", "masks")), strict=True
        ):
            result = {"image_id": number, "category_id": int(label), "score": float(score)}
            if kind == "segm":
                scaled = (
                    nn.functional.interpolate(mask[None], (height, width), mode="bilinear")
                    if size != [height, width]
                    else mask[None]
                )
                result["segmentation"] = rle((scaled[0, 0] > 0.5).numpy().astype(np.uint8))
            else:
                a, b, c, d = (
                    x * r for x, r in zip(box.double().tolist(), [width / size[1], height / size[0]] * 2, strict=True)
                )
                result["bbox"] = [a, b, c - a, d - b]
            results.append(result)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results) if results else nothing(truth), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [100 * value for value in evaluation.stats[:3]]


def nothing(truth):
    """Return no results, which pycocotools cannot load."""
    from pycocotools.coco import COCO

    results = COCO()
    results.dataset = truth.dataset | {"annotations": []}
    results.createIndex()
    return results


def result_of(name, images, part_size):
    metric = AveragePrecision(name)
    cut = [images[i : i + part_size] for i in range(0, len(images), part_size)]
    return metric.result([metric.measure(*map(list, zip(*part, strict=True))) for part in cut])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0, 3, 12, 500]), st.integers(1, 4))
def test_it_is_that_of_pycocotools_for_any_cut_into_parts(seed, count, most_found, part_size):
    random = np.random.default_rng(seed)
    numbers = random.choice([5, 3, 2**53 + 1, 2**53, 10**15, 1, 2**62], count, replace=False).tolist()
    images = [image_of(random, number, most_found + 1) for number in numbers]
    for kind, iou_type in (("box", "bbox"), ("mask", "segm")):
        expected = by_pycocotools(images, iou_type)
        for threshold, place in PLACES.items():
            name = f"coco-{kind}-{threshold}"
            if expected[place] == -100:
                with pytest.raises(InputError, match=f"{name} is undefined"):
                    result_of(name, images, part_size)
            else:
                found = result_of(name, images, part_size)
                assert found == pytest.approx(expected[place], abs=1e-9)
                assert found == result_of(name, images, count)


TRUE = torch.tensor([[2.0, 1.0, 6.0, 5.0], [6.0, 4.0, 12.0, 9.0]])


def found(**changes):
    """Return what a model without faults finds in an image of 10 x 12 pixels."""
    masks = torch.from_numpy(masks_of(TRUE.numpy(), 10, 12))
    right = {"boxes": TRUE, "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([1, 2]), "masks": masks[:, None]}
    return right | changes


def truth(**changes):
    return {"boxes": TRUE, "labels": torch.tensor([1, 2]), "masks": found()["masks"][:, 0], "image_id": 3} | changes


@pytest.mark.parametrize("name", NAMES)
def test_targets_without_annotations_are_the_truth_themselves(name):
    metric = AveragePrecision(name)
    assert metric.result([metric.measure([found()], [truth()])]) == 100
    crowded = truth(iscrowd=torch.tensor([0, 1]))
    assert metric.result([metric.measure([found(labels=torch.tensor([1, 1]))], [crowded])]) == 100


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_has_diverged_finds_nothing(name, bad):
    metric = AveragePrecision(name)
    boxes, scores = TRUE.clone(), torch.tensor([0.9, bad])
    boxes[0, 2] = bad
    assert metric.result([metric.measure([found(scores=scores)], [truth()])]) == 50
    assert metric.result([metric.measure([found(boxes=boxes, scores=scores)], [truth()])]) == 0
    assert (
        metric.result(
            [metric.measure([found(boxes=TRUE[:, [2, 1, 0, 3]], masks=found()["masks"] * math.nan)], [truth()])]
        )
        == 0
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("crowds", [0, 2])
def test_data_without_an_object_has_none(name, crowds):
    metric = AveragePrecision(name)
    empty = {key: value[:crowds] for key, value in truth().items() if key != "image_id"} | {
        "iscrowd": torch.ones(crowds)
    }
    parts = [metric.measure([found(), found()], [empty, empty]), metric.measure([found()], [empty])]
    with pytest.raises(InputError, match=f"{name} is undefined: the validation data has no object in its 3 images"):
        metric.result(parts)


def refusal(name, outputs, targets):
    with pytest.raises(InputError) as caught:
        AveragePrecision(name).measure(outputs, targets)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(table, *names):
    return {name: value for name, value in table.items() if name not in names}


def test_what_is_no_detection_is_refused_with_a_metric_that_fits():
    assert '["top-1-error"]' in refusal("coco-box-ap", torch.zeros(4, 3), torch.zeros(4).long())
    assert '["mean-iou"]' in refusal("coco-mask-ap", torch.zeros(4, 3, 5, 5), torch.zeros(4, 5, 5).long())
    text = refusal("coco-mask-ap", [without(found(), "masks")], [truth()])
    assert text.startswith("coco-mask-ap needs for each image a dictionary of boxes, scores, labels, masks")
    assert "of 1 dictionary (boxes, scores, labels)" in text
    assert '["coco-box-ap"]' in text
    for outputs, targets in (
        ([found(), found()], [truth()]),
        ([found(scores=torch.ones(3))], [truth()]),
        ([found(scores=0.5)], [truth()]),
        ([found()], torch.ones(1)),
    ):
        assert "needs for each image a dictionary of boxes, scores, labels, and" in refusal(
            "coco-box-ap", outputs, targets
        )


def test_truth_that_lacks_something_is_refused():
    assert "there is no labels" in refusal("coco-box-ap", [found()], [without(truth(), "labels")])
    assert "there is no masks" in refusal("coco-mask-ap", [found()], [without(truth(), "masks")])
    box = {"bbox": [2, 1, 4, 4], "category_id": 1, "area": 16}
    for segmentation in (
        {},
        {"segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"segmentation": {"counts": [1], "size": [10, 12]}},
    ):
        text = refusal("coco-mask-ap", [found()], [{"annotations": [box | segmentation]}])
        assert text == 'coco-mask-ap needs annotations with a mask in run-length code; set data.labels = "masks"'
    other = rle(np.ones((20, 24), dtype=np.uint8))
    text = refusal("coco-mask-ap", [found()], [{"annotations": [box | {"segmentation": other}]}])
    assert "the sizes (10, 12) and (20, 24)" in text


class Detector(nn.Module):
    """Finds in each image what its pixels say: half of the boxes of its truth, and one that is not there."""

    def forward(self, images):
        return [self.find(image) for image in images]

    def find(self, image):
        generator = torch.Generator().manual_seed(int(image.sum()))
        corners = torch.rand(5, 2, generator=generator) * 20
        boxes = torch.cat([corners, corners + 4 + 10 * torch.rand(5, 2, generator=generator)], 1)
        scores = torch.rand(5, generator=generator)
        return {"boxes": boxes, "scores": scores, "labels": torch.randint(1, 3, (5,), generator=generator)}


def test_it_judges_in_a_loop_of_ones_own():
    detector = Detector()
    data = []
    for number in range(1, 8):
        image = torch.full((1, 30, 30), number / 900)
        boxes, labels = (detector.find(image)[name][::2] for name in ("boxes", "labels"))
        data.append((image, {"boxes": boxes + 0.5, "labels": labels, "image_id": 9 - number}))

    def predict(model, batch):
        return model(batch[0]), batch[1]

    def collate(samples):
        return tuple(zip(*samples, strict=True))

    metrics = ["coco-box-ap", "coco-box-ap50"]
    scores = [evaluate(detector, data, metrics, predict=predict, collate=collate, part_size=size) for size in (2, 250)]
    assert scores[0] == scores[1]
    assert 0 < scores[0].value < scores[0]["coco-box-ap50"] < 100
    assert str(scores[0]).startswith(f"box AP {scores[0].value:.2f} %, box AP50 ")
    with pytest.raises(InputError, match=r"top-1-error needs logits.*outputs of 7 dictionaries.*coco-box-ap"):
        evaluate(detector, data, predict=predict, collate=collate)


@pytest.mark.parametrize("crowds", [False, True])
def test_data_without_an_object_is_refused_before_anything_is_scored(crowds, tmp_path):
    root = write_coco(tmp_path)
    file = root / "annotations" / "instances_val2017.json"
    table = json.loads(file.read_text())
    table["annotations"] = [one | {"iscrowd": 1} for one in table["annotations"] if crowds]
    file.write_text(json.dumps(table))
    data = load_data(Data("coco", str(root)))
    evaluation = Evaluation(Scorer([AveragePrecision("coco-box-ap")], None), part_size=1)
    with pytest.raises(InputError, match="the validation data has no object in its 4 images"):
        evaluation.check(None, data.validation)
    assert data.train.num_objects == 3  # of four, one is a crowd
