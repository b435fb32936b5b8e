"""The plan explains every derived value."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from bigbatch.errors import InputError
from bigbatch.planning.plan import Plan, at_reference, process_blocks
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import bccd_retinanet, coco_mask_rcnn, digits, imagenet_resnet50

PROMISED = [
    "minibatch_size",
    "worker_minibatch_size",
    "worker_count",
    "base_learning_rate",
    "warmup_epochs",
    "warmup_start_learning_rate",
    "iterations_per_epoch",
    "total_iterations",
    "milestone_iterations",
    "momentum",
    "nesterov",
    "weight_decay",
]


def test_8192_on_imagenet():
    table = Plan(replace(imagenet_resnet50(), minibatch_size=8192), 1_281_167).to_json(at=(0, 390, 780))
    assert table.keys() >= set(PROMISED)
    assert table["reference"] == {"minibatch_size": 256, "learning_rate": 0.1}
    assert table["base_learning_rate"] == pytest.approx(3.2)
    assert table["iterations_per_epoch"] == 156
    assert table["milestone_iterations"] == [4680, 9360, 12480]
    assert table["samples_dropped_per_epoch"] == 1_281_167 - 156 * 8192
    assert table["learning_rate_at"] == pytest.approx({"0": 0.1, "390": 1.65, "780": 3.2})
    assert table["warnings"] == []


def test_rows_show_reference_and_plan_with_rule_and_source():
    rows = {row.name: row for row in Plan(replace(digits(), minibatch_size=256), 1280).rows(at=(0,))}
    assert (rows["base_learning_rate"].before, rows["base_learning_rate"].after) == ("0.05", "0.8")
    assert (rows["warmup_epochs"].before, rows["warmup_epochs"].after) == ("0", "3")
    assert "arXiv 1706.02677" in rows["base_learning_rate"].rule
    assert rows["learning rate at 0"].after == "0.05"


def test_a_reference_smaller_than_a_worker_is_one_smaller_worker():
    assert at_reference(replace(digits(), minibatch_size=64, worker_minibatch_size=64)).worker_minibatch_size == 16


def test_an_iteration_outside_the_training_is_refused():
    with pytest.raises(InputError, match="iteration 2400 is outside the training, which has 0 to 2399"):
        Plan(digits(), 1280).to_json(at=(2400,))


def test_planning_imports_no_torch(bigbatch):
    code = "import bigbatch.cli, sys; bigbatch.cli.main(['plan', 'digits']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    done = bigbatch("plan", "imagenet-resnet50", "--minibatch-size", 8192, "--json", "--at", "0,780", "--processes", 3)
    assert done.returncode == 0
    table = json.loads(done.stdout)
    assert table["learning_rate_at"]["780"] == pytest.approx(3.2)
    assert table["workers_of_process"] == [[0, 85], [86, 170], [171, 255]]
    warned = bigbatch("plan", "imagenet-resnet50", "--minibatch-size", 16384)
    assert warned.returncode == 0
    assert "warning: minibatch size 16384 is past 8192" in warned.stderr
    assert "6.4" in warned.stdout


def test_adascale_says_what_only_the_gradients_will_decide():
    plan = Plan(with_settings(digits(), ["minibatch_size=256", "scaling.rule=adascale"]), 1280)
    rows = {row.name: row for row in plan.rows()}
    assert (rows["total_iterations"].before, rows["total_iterations"].after) == ("2400", "2400")
    assert rows["least_total_iterations"].after == "150"
    assert (rows["largest_gain"].after, rows["base_learning_rate"].after) == ("16", "0.05")
    assert "warmup_epochs" not in rows
    with pytest.raises(InputError, match="follows from the gradients"):
        plan.to_json(at=[3])


def test_growing_by_the_schedule_is_known_before():
    """Drops by 10 at 15 and 25 of 30 epochs: 80 iterations an epoch at 16, 10 at 128, 5 at 256."""
    plan = Plan(with_settings(digits(), ["minibatch_size=256", "growth.kind=schedule"]), 1280)
    values = plan.to_json(at=[0, 1199, 1200, 1300])
    assert values["minibatch_size_from_epoch"] == {"1": 16, "16": 128, "26": 256}
    assert values["total_iterations"] == 15 * 80 + 10 * 10 + 5 * 5
    assert values["learning_rate_at"] == {
        "0": 0.05,
        "1199": 0.05,
        "1200": pytest.approx(0.04),
        "1300": pytest.approx(0.008),
    }
    with pytest.raises(InputError, match="has 0 to 1324"):
        plan.to_json(at=[1325])
    rows = {row.name: row for row in plan.rows()}
    assert rows["minibatch_size_from_epoch"].after == "16 from 1, 128 from 16, 256 from 26"
    with pytest.raises(InputError, match="2 processes are more than the 1 workers"):
        process_blocks(plan.recipe, 2)
    by_noise = Plan(with_settings(digits(), ["minibatch_size=256", "growth.kind=noise-scale", "growth.start=32"]), 1280)
    assert (by_noise.to_json()["least_total_iterations"], by_noise.to_json()["total_iterations"]) == (150, 1200)


RECIPES = {
    "a reference": (),
    "a larger size": ("minibatch_size=256",),
    "no warmup": ("minibatch_size=256", "warmup.kind=none"),
    "adamw": ("minibatch_size=256", "optimizer.name=adamw", "optimizer.weight_decay=0.0"),
    "lamb": ("minibatch_size=256", "optimizer.name=lamb", "optimizer.weight_decay=0.1"),
    "plain sgd": ("optimizer.momentum=0.0", "optimizer.nesterov=false", "schedule.kind=cosine"),
    "adascale": ("minibatch_size=256", "scaling.rule=adascale"),
    "growing": ("minibatch_size=256", "growth.kind=schedule"),
    "iterations": (
        "minibatch_size=48",
        "iterations=100",
        "schedule.milestones=[50]",
        "warmup.iterations=10",
        "reference.warmup_iterations=5",
    ),
    "one cycle": ("minibatch_size=256", "schedule.kind=one-cycle"),
    "a model of one's own": ("model.name=user_models:net", "model.width=0", "schedule.kind=plateau"),
}
NOTHING = {"", "0", "-", "none", "False"}
ABSENT = {
    "a reference": {"warmup_epochs", "warmup_iterations", "warmup_start_learning_rate", "length", "largest_gain"},
    "a larger size": {"own_warmup_iterations", "samples_dropped_per_epoch", "average_decay", "betas", "growth"},
    "no warmup": {"warmup_epochs", "warmup_iterations", "warmup_start_learning_rate"},
    "adamw": {"momentum", "nesterov", "weight_decay"},
    "lamb": {"momentum", "nesterov", "trust"},
    "plain sgd": {"momentum", "nesterov", "milestone_iterations"},
    "adascale": {"warmup_epochs", "warmup_iterations", "warmup_start_learning_rate"},
    "growing": {"largest_gain", "warmup_epochs"},
    "iterations": {"epochs", "warmup_epochs"},
    "one cycle": {"warmup_epochs", "warmup_iterations", "milestone_iterations"},
    "a model of one's own": {"milestone_iterations", "warmup_epochs"},
}


@pytest.mark.parametrize("case", RECIPES)
def test_no_row_is_shown_that_does_not_apply(case):
    rows = Plan(with_settings(digits(), RECIPES[case]), 1280).rows()
    said = [row.name for row in rows if not {row.before, row.after} <= NOTHING]
    assert said == [row.name for row in rows if row.name != "warmup_start_learning_rate" or row.after != "0"]
    names = {row.name for row in rows}
    assert names & ABSENT[case] == set()
    assert names >= {"minibatch_size", "base_learning_rate", "total_iterations", "schedule"}
    assert all(row.rule for row in rows)


def test_what_is_shown_of_a_length_in_iterations_and_of_both_warmups():
    rows = {row.name: row for row in Plan(with_settings(digits(), RECIPES["iterations"]), 1280).rows()}
    assert rows["length"].after == "100 iterations of the reference"
    assert rows["warmup_start_learning_rate"].rule == "0 x the rate that the reference starts at"
    assert rows["warmup_iterations"].rule.startswith("gradual, 10 iterations of the reference")
    assert (rows["own_warmup_iterations"].before, rows["own_warmup_iterations"].after) == ("5", "2")


def test_batch_normalisation_is_only_claimed_of_our_own_models():
    rule = {row.name: row for row in Plan(with_settings(digits(), RECIPES["a model of one's own"]), 1280).rows()}
    assert "with batch normalisation it is" in rule["worker_minibatch_size"].rule


def test_what_a_preset_knows_of_its_data_is_not_said_of_anothers():
    """ImageNet's number of samples, and the largest size that keeps its accuracy."""
    other = with_settings(imagenet_resnet50(), ["data.name=user_models:blobs", "minibatch_size=16384"])
    assert (other.data.num_train_samples, other.reference.largest_matching) == (0, 0)
    said = with_settings(imagenet_resnet50(), ["data.name=user_models:blobs", "data.num_train_samples=99"])
    assert said.data.num_train_samples == 99
    assert with_settings(imagenet_resnet50(), ["model.name=resnet18"]).reference.largest_matching == 0


def test_what_is_kept_of_model_and_data_has_its_source_where_there_is_some():
    recipe = with_settings(digits(), ["minibatch_size=64", "model.frozen_batch_norm=true", "model.weights=w.pt"])
    rows = {row.name: row for row in Plan(recipe, 1280).rows()}
    assert (rows["frozen_batch_norm"].before, rows["frozen_batch_norm"].after) == ("all", "all")
    assert "arXiv 1703.06870" in rows["frozen_batch_norm"].rule
    assert rows["initial_weights"].after == "w.pt"
    assert "divides by worker" in rows["worker_minibatch_size"].rule
    some = with_settings(recipe, ['model.frozen_batch_norm=["stem.*", "stages.0.*"]'])
    assert {row.name: row for row in Plan(some, 1280).rows()}["frozen_batch_norm"].after == "stem.*, stages.0.*"
    kept = {"frozen_batch_norm", "initial_weights", "image_sides", "sequence"}
    assert not kept & {row.name for row in Plan(digits(), 1280).rows()}


@pytest.mark.parametrize(
    ("size", "rate", "iterations"),
    [(2, 0.0025, 1_280_000), (4, 0.005, 640_000), (8, 0.01, 320_000), (16, 0.02, 160_000)],
)
def test_the_paper_s_detectors(size, rate, iterations):
    """Section 5.4: the rate and the number of iterations of each minibatch size; the rest from He et al. 2017."""
    table = Plan(replace(coco_mask_rcnn(), minibatch_size=size), 118_287).to_json()
    assert table["base_learning_rate"] == pytest.approx(rate)
    assert table["total_iterations"] == iterations
    assert table["milestone_iterations"] == [iterations * 3 // 4]
    assert (table["worker_minibatch_size"], table["worker_count"]) == (2, size // 2)
    assert (table["momentum"], table["nesterov"], table["weight_decay"]) == (0.9, False, 1e-4)
    assert (table["frozen_batch_norm"], table["image_sides"]) == ("all", "800; at most 1333")


@pytest.mark.parametrize("preset", [coco_mask_rcnn, bccd_retinanet])
def test_detectors_are_planned_without_their_data_and_without_torch(preset, bigbatch):
    done = bigbatch("plan", preset().name, "--minibatch-size", 4)
    assert done.returncode == 0, done.stderr
    assert "linear scaling rule" in done.stdout
