"""Models of transformers by type: detectors with their losses, and what a loss makes of a type."""

import json
import tomllib

import pytest
import tomli_w
import torch
from accelerate import PartialState
from tiny_objects import Rectangles, collate, write_recipe
from tiny_transformers import DETECTORS, DETR
from torch import nn

from bigbatch.errors import InputError
from bigbatch.models import build_model
from bigbatch.models.transformers_detectors import DETECTORS as KNOWN
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import seed_worker
from bigbatch.tasks.losses import BUILT_IN, OBJECTIVES
from bigbatch.tasks.outputs import scored_output
from bigbatch.tasks.transformers_detection import _labels, objects

DETECTION = OBJECTIVES["detection"]
K, N = 3, 2
GPT = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 16}
SEGFORMER = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 8, 8],
    "num_attention_heads": [1, 1, 1, 1],
    "decoder_hidden_size": 8,
}


def detector(name):
    """Build a small detector."""
    torch.manual_seed(0)
    return build_model(
        f"transformers/{name}", num_classes=3, in_channels=3, task="detection", arguments=DETECTORS[name]
    )


def batches(k=K, n=N):
    """Return the batches of k workers."""
    data = Rectangles(k * n, 0)
    return [collate([data[i] for i in range(j * n, (j + 1) * n)]) for j in range(k)]


def gradients(model):
    """Return all gradients in one vector."""
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat([gradient.double().flatten() for gradient in found])


def test_detectors_train_to_the_same_bits_for_any_number_of_processes(group, tmp_path):
    """Their denoising queries draw from torch's generator, keyed by worker."""
    recipes = {}
    for name in ("rt_detr_v2", "d_fine", "detr"):
        (tmp_path / name).mkdir()
        recipe = write_recipe(tmp_path / name, f"transformers/{name}", iterations=2)
        table = tomllib.loads(recipe.read_text())
        table["model"]["arguments"] = DETECTORS[name]
        recipe.write_text(tomli_w.dumps(table))
        recipes[name] = recipe
    for processes in (1, 2, 3):
        group("detection_law.py", processes, *recipes.values())
    for name, recipe in recipes.items():
        runs = [json.loads((recipe.parent / f"tiny-p{p}" / "run.json").read_text()) for p in (1, 2, 3)]
        found = [(run["weights_sha256"], run["final_result"]) for run in runs]
        assert found[1:] == found[:1] * 2, name


@pytest.mark.parametrize("name", DETECTORS)
def test_the_gradient_is_that_of_the_mean_of_the_workers_losses(name):
    model, minibatch = detector(name), batches(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Step(model, DETECTION, optimizer, minibatch_size=2 * N, worker_minibatch_size=N) as step:
        step.backward(minibatch, iteration=0)
        ours = gradients(model)
    model.zero_grad()
    for worker, batch in enumerate(minibatch):
        seed_worker(0, 0, worker, torch.device("cpu"))
        (DETECTION(model, batch).total / 2).backward()
    theirs = gradients(model)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_every_known_detector_trains_on_images_without_objects():
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for name in DETECTORS:
        loss = DETECTION(detector(name), (images, [nothing, nothing]))
        assert loss.weight == 1
        assert loss.total.isfinite()
    assert {"rt_detr", *DETECTORS} == set(KNOWN)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_perfect_prediction_is_found_where_the_object_is(name):
    """Boxes become the model's frame and come back: whatever the images' sizes."""
    model = detector(name).eval()
    images, targets = batches(1, 3)[0]
    objects_of = iter([_labels(image, target) for image, target in zip(images, targets, strict=True)])

    class Perfect(nn.Module):
        config = model.config

        def forward(self, pixel_values, **_):
            known = [next(objects_of) for _ in pixel_values]
            logits = torch.full((len(known), 20, 3), -20.0)
            boxes = torch.zeros(len(known), 20, 4)
            for i, target in enumerate(known):
                num = len(target["boxes"])
                boxes[i, :num] = target["boxes"]
                logits[i, torch.arange(num), target["class_labels"]] = 20.0
                logits[i, num:, 2] = 10.0
            return type("Outputs", (), {"logits": logits, "pred_boxes": boxes})

    for found, target in zip(objects(Perfect(), images), targets, strict=True):
        order = found["scores"].argsort(descending=True, stable=True)[: len(target["boxes"])]
        pairs = sorted(zip(found["labels"][order].tolist(), found["boxes"][order].round().tolist(), strict=True))
        assert pairs == sorted(zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True))


def test_a_detector_that_has_diverged_loses_nan():
    """The engine then says which iteration it was, or skips it; transformers would raise an error of its own."""
    model = detector("rt_detr_v2")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    assert DETECTION(model, batches(1)[0]).total.isnan()


def test_a_loss_that_divides_over_processes_itself_is_refused():
    with pytest.raises(InputError, match="'lw_detr' is divided by the boxes of all processes"):
        build_model("transformers/lw_detr", num_classes=3, in_channels=3, task="detection")
    model = detector("detr")
    PartialState()
    try:
        with pytest.raises(InputError, match="'detr' is divided by the boxes of all processes while accelerate"):
            DETECTION(model, batches(1)[0])
        DETECTION(detector("rt_detr_v2"), batches(1)[0])
    finally:
        PartialState._reset_state()


def test_the_loss_decides_what_a_type_predicts():
    given = {"num_classes": 5, "in_channels": 0}
    language = build_model("transformers/gpt2", task="token-cross-entropy", arguments=GPT, **given)
    tokens = torch.randint(0, 5, (2, 7))
    loss = BUILT_IN["token-cross-entropy"](language(tokens), tokens)
    plain = nn.functional.cross_entropy(language(tokens).logits.flatten(0, 1), tokens.flatten(), reduction="sum")
    assert language.config.vocab_size == 5
    assert float(loss.weight) == 14
    language.eval()
    assert language(tokens).past_key_values is None
    assert plain.isfinite()
    given = {"num_classes": 5, "in_channels": 3}
    segmenter = build_model("transformers/segformer", task="pixel-cross-entropy", arguments=SEGFORMER, **given).eval()
    images, masks = torch.rand(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    outputs = segmenter(pixel_values=images, labels=masks)
    loss = BUILT_IN["pixel-cross-entropy"](outputs, masks)
    torch.testing.assert_close(loss.total / loss.weight, outputs.loss)
    assert scored_output(outputs, masks).shape == (2, 5, 64, 64)


BAD = {
    "did you mean 'n_layer'": ("gpt2", "token-cross-entropy", {"n_layr": 2}),
    "expected int, got str": ("gpt2", "token-cross-entropy", {"n_layer": "two"}),
    "transformers has no type 'rt_detr_v9'; did you mean": ("rt_detr_v9", "detection", {}),
    "'gpt2' is no detector that is known": ("gpt2", "detection", {}),
    "has no model for 'cross-entropy'": ("gpt2", "cross-entropy", {}),
    "does not follow from 'my:loss'": ("gpt2", "my:loss", {}),
    "vocab_size is 3, but the data has 5": ("gpt2", "token-cross-entropy", {"vocab_size": 3}),
    "num_labels is 1, but the data has 4": ("detr", "detection", {**DETR, "num_labels": 1}),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_a_type_is_refused_in_a_line(message):
    model_type, task, arguments = BAD[message]
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        build_model(f"transformers/{model_type}", num_classes=5, in_channels=3, task=task, arguments=arguments)
    assert message in str(error.value)


def test_a_class_may_be_named_where_the_loss_is_the_users_own():
    arguments = {**GPT, "vocab_size": 5, "architectures": ["GPT2LMHeadModel"]}
    model = build_model("transformers/gpt2", num_classes=0, in_channels=0, task="my:loss", arguments=arguments)
    assert type(model).__name__ == "GPT2LMHeadModel"
