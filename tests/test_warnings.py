"""The warnings of a recipe before training."""

from dataclasses import replace

import pytest

from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import PRESETS, digits, imagenet_resnet50
from bigbatch.recipe.warnings import warnings_of

NO_WEIGHTS = ["model.frozen_batch_norm without model.weights"]


def warnings(*settings):
    return warnings_of(with_settings(digits(), settings))


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_warns(name):
    """But that which waits for the weights of a backbone, whose path nobody knows."""
    recipe = PRESETS[name]()
    frozen = bool(recipe.model.frozen_norms)
    assert [line.partition(":")[0] for line in warnings_of(recipe)] == NO_WEIGHTS[:frozen]
    assert warnings_of(with_settings(recipe, ["model.weights=resnet50.pth"])) == []


def test_past_what_is_known_to_keep_the_accuracy():
    assert warnings_of(replace(imagenet_resnet50(), minibatch_size=8192)) == []
    found = warnings_of(replace(imagenet_resnet50(), minibatch_size=16384))
    assert len(found) == 1
    assert "16384 is past 8192" in found[0]


def test_what_is_never_reached():
    assert warnings("minibatch_size=256", "growth.kind=schedule", "schedule.milestones=[]") == [
        "the minibatch grows to 16 at most, for the schedule lowers the rate no further: 256 is never reached"
    ]
    assert "within the warmup" in warnings("minibatch_size=256", "epochs=2")[0]
    assert "milestones [15.0, 25.0] are never reached" in warnings("epochs=10")[0]


def test_linear_scaling_and_decay_in_adam():
    def of(*settings):
        return warnings("minibatch_size=64", "optimizer.weight_decay=0", *settings)

    assert "set scaling.rule=square-root" in of("optimizer.name=adam")[0]
    for name in ("lars", "lamb"):
        assert of(f"optimizer.name={name}") == []
    assert of("optimizer.name=adam", "scaling.rule=square-root") == []
    assert "use adamw" in of("optimizer.name=adam", "scaling.rule=none", "optimizer.weight_decay=0.1")[0]
    assert warnings("optimizer.name=adamw") == []


def test_a_part_of_many_images_of_their_own_sizes_is_large():
    (found,) = warnings("data.name=coco", "data.path=coco", "data.augmentation=[]")
    assert found.startswith("evaluation.part_size 250: so many images")
    assert warnings("data.name=coco", "data.path=coco", "data.augmentation=[]", "evaluation.part_size=8") == []
    assert warnings("data.name=mask-folder", "data.path=masks", "data.augmentation=[]") == []


def test_bfloat16_is_slow_where_it_is_portable():
    (found,) = warnings("numerics=portable", "precision=bfloat16")
    assert found.startswith("bfloat16 is slower than float32 with portable numerics")
    assert warnings("numerics=portable") == warnings("precision=bfloat16") == []
