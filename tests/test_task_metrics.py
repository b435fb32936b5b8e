"""Metrics of tasks: exact for any number of processes, confirmed by plain torch, refused where they do not fit."""

import importlib.util
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassJaccardIndex

import bigbatch
import user_tasks
from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.errors import InputError, NonFiniteError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.metrics import AVERAGE_PRECISIONS, MEAN_IOU, TOP_1_ERROR
from bigbatch.runs.folder import RunFolder
from bigbatch.tasks.detection_metrics import AveragePrecision
from bigbatch.tasks.metrics import find_metrics
from bigbatch.training.evaluation import evaluate
from bigbatch.training.run_evaluation import evaluate_run, export_run
from bigbatch.training.trainer import train

PROGRAM = Path(__file__).parent / "programs" / "task_law.py"
MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
spec = importlib.util.spec_from_file_location("task_law", PROGRAM)
task_law = importlib.util.module_from_spec(spec)
spec.loader.exec_module(task_law)
recipe_of = task_law.recipe_of


def in_float64(kind, path):
    """Return outputs and targets of the exported model on all validation data, in float64."""
    model = user_tasks.model(kind)
    model.load_state_dict(load_file(path))
    _, validation = user_tasks.data(kind)
    inputs, targets = map(torch.stack, zip(*(validation[i] for i in range(len(validation))), strict=True))
    model = model.double().eval()
    with torch.no_grad():
        return model(inputs.double() if inputs.is_floating_point() else inputs), targets


def expected(kind, outputs, targets):
    """Return the metrics as plain torch has them."""
    if kind == "regression":
        return [functional.mse_loss(outputs, targets.double()), (outputs - targets).abs().max()]
    if kind == "multi-label":
        loss = functional.binary_cross_entropy_with_logits(outputs, targets.double())
        return [((outputs > 0) == (targets > 0)).double().mean(), loss]
    if kind == "language":
        loss = functional.cross_entropy(outputs.transpose(1, 2), targets)
        return [loss.exp(), loss]
    predicted, counts = outputs.argmax(1), (targets >= 0) & (targets < 255)
    pairs = [(counts & (predicted == c), counts & (targets == c)) for c in range(3)]
    ious = [(a & b).sum() / (a | b).sum() for a, b in pairs]
    return [100 * sum(ious) / 3, functional.cross_entropy(outputs, targets.masked_fill(targets == 255, -100))]


def test_a_training_of_any_task_has_one_result_for_any_number_of_processes_and_plain_torch_has_it_too(group, tmp_path):
    subprocess.run([sys.executable, PROGRAM, tmp_path / "1"], check=True)
    for world_size in (2, 3):
        group("task_law.py", world_size, tmp_path / str(world_size))
    texts = [(tmp_path / name / "found.json").read_text() for name in ("1", "2", "3")]
    assert len(set(texts)) == 1
    for kind, (_, metric, result, lines) in json.loads(texts[0]).items():
        export_run(RunFolder(tmp_path / "1" / kind), tmp_path / f"{kind}.safetensors")
        plain = [float(value) for value in expected(kind, *in_float64(kind, tmp_path / f"{kind}.safetensors"))]
        assert list(lines[-1].values()) == pytest.approx(plain, rel=2e-6), kind
        assert metric["name"] == next(iter(lines[-1]))
        assert result == pytest.approx(np.median([next(iter(line.values())) for line in lines]))
        assert not [name for name in lines[-1] if name == "top-1-error"]


def refusal(kind, **changes):
    with pytest.raises(InputError) as caught:
        train(recipe_of(kind, **changes), RunFolder(Path("never")), MACHINE)
    assert not Path("never").exists() or not Path("never/run.json").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "loss", "shapes", "way_out"),
    [
        ("regression", "mean-squared-error", "[44, 1] (float32) and targets [44, 1]", '["mean-loss"]'),
        ("flat-regression", "mean-squared-error", "[44] (float32) and targets [44]", '["mean-loss"]'),
        ("multi-label", "binary-cross-entropy", "[44, 3] (float32) and targets [44, 3]", '["mean-loss"]'),
        ("segmentation", "user_tasks:masked_pixels", "[44, 3, 6, 6] (float32) and targets [44, 6, 6]", '["mean-iou"]'),
        ("language", "token-cross-entropy", "[44, 7, 9] (float32) and targets [44, 7]", '["perplexity"]'),
    ],
)
def test_an_error_of_classes_is_refused_for_other_tasks_before_training(
    kind, loss, shapes, way_out, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = refusal(kind, objective="", loss=loss, metrics=["top-1-error"], evaluation={"part_size": 250})
    assert text.startswith("top-1-error needs logits (n, classes)")
    assert shapes in text
    assert way_out in text


@pytest.mark.parametrize(
    ("kind", "metric", "complaint"),
    [
        ("labels", "top-5-error", "more than 5 classes"),
        ("wrong-labels", "top-1-error", "the data has a label 3, but the model's outputs have the classes 0 to 2"),
        ("wrong-labels", "perplexity", "the data has a label 3"),
        ("labels", "mean-iou", 'metrics = ["top-1-error"]'),
        ("labels", "user_tasks:LargestError", "largest-error cannot be measured on outputs [44, 3] (float32)"),
        ("labels", "user_tasks:Samples", "does not take these arguments"),
        ("labels", "user_tasks:Forces", "is no metric but a Forces"),
        ("labels", "user_tasks:missing", "no callable 'missing'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(kind, metric, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loss = {"loss": "user_tasks:any_loss"} if kind == "wrong-labels" else {}
    assert complaint in refusal(kind, metrics=[metric], evaluation={"part_size": 250}, **loss)


def scores_of(outputs, targets, *metrics, part_size=3, **options):
    """Return the scores of a model that returns these outputs."""
    model = nn.Identity()
    model.register_buffer("place", torch.zeros(()))
    return evaluate(model, list(zip(outputs, targets, strict=True)), list(metrics), part_size=part_size, **options)


def test_top_k_errors_are_those_of_a_sort():
    outputs, targets = torch.randn(50, 9), torch.randint(0, 9, (50,))
    places = (outputs.argsort(1, descending=True) == targets[:, None]).int().argmax(1)
    scores = scores_of(outputs, targets, "top-1-error", "top-5-error")
    assert scores["top-1-error"] == pytest.approx(100 * float((places >= 1).double().mean()))
    assert scores["top-5-error"] == pytest.approx(100 * float((places >= 5).double().mean()))
    assert scores.value == scores["top-1-error"] == float(scores)
    assert str(scores) == f"top-1 error {scores.value:.2f} %, top-5 error {scores['top-5-error']:.2f} % (50 samples)"


def test_a_part_without_a_target_that_counts_changes_nothing_and_data_without_one_has_no_result():
    outputs, targets = torch.randn(6, 4, 5), torch.full((6, 4), -100)
    targets[4] = 2
    value = scores_of(outputs, targets, "perplexity", part_size=1).value
    assert value == pytest.approx(float(functional.cross_entropy(outputs[4].double(), targets[4]).exp()), rel=1e-6)
    targets[4] = -100
    assert math.isnan(scores_of(outputs, targets, "perplexity").value)
    assert math.isnan(scores_of(outputs.transpose(1, 2), targets, "mean-iou").value)


def test_classes_that_never_occur_do_not_count_in_the_mean_iou():
    outputs = functional.one_hot(torch.tensor([[[0, 0, 1, 1]]]), 5).movedim(-1, 1).float()
    targets = torch.tensor([[[0, 1, 1, 255]]])
    assert scores_of(outputs, targets, "mean-iou").value == pytest.approx(100 * (1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize("num_classes", [2, 5, 21])
@pytest.mark.parametrize("part_size", [1, 3, 250])
def test_the_mean_iou_is_that_of_torchmetrics_with_pixels_that_do_not_count(num_classes, part_size):
    outputs, targets = torch.randn(7, num_classes, 6, 5), torch.randint(0, num_classes - 1, (7, 6, 5))  # one is absent
    targets[torch.rand(targets.shape) < 0.3] = -100
    targets[2] = -100
    expected = MulticlassJaccardIndex(num_classes, ignore_index=-100)(outputs, targets)
    found = scores_of(outputs, targets, "mean-iou", part_size=part_size).value
    assert found == pytest.approx(100 * float(expected), rel=1e-6)
    targets[targets == -100] = 255
    assert scores_of(outputs, targets, "mean-iou").value == found


def test_the_mean_loss_is_divided_as_its_loss_says():
    outputs, targets = torch.randn(7, 3), torch.randint(0, 3, (7,))
    losses = functional.cross_entropy(outputs.double(), targets, reduction="none")
    weights = torch.tensor([1.0, 2.0, 5.0])
    by_samples = nn.CrossEntropyLoss(reduction="none")

    def by_count(x, y):
        total = functional.cross_entropy(x, y, weights, reduction="sum")
        return bigbatch.Loss(total, weights[y].sum())

    def by_worker(x, y):
        return bigbatch.Loss(functional.cross_entropy(x, y), 1)

    found = [scores_of(outputs, targets, "mean-loss", objective=f).value for f in (by_samples, by_count, by_worker)]
    of_count = functional.cross_entropy(outputs.double(), targets, weights.double())
    of_parts = sum(losses[i : i + 3].mean() for i in (0, 3, 6)) / 3
    assert found == pytest.approx([float(losses.mean()), float(of_count), float(of_parts)], rel=1e-6)


@pytest.mark.parametrize("answer", ["text", None, True, 1j, [1.0]])
def test_a_result_that_is_no_number_is_refused(answer):
    class Odd(user_tasks.LargestError):
        def result(self, parts):  # noqa: ARG002 - whatever they are
            return answer

    with pytest.raises(InputError, match=r"largest-error: result.* must return a number"):
        scores_of(torch.zeros(3, 1), torch.zeros(3, 1), Odd())


@pytest.mark.parametrize("answer", [object(), {1, 2}, np.zeros(3)])
def test_a_contribution_that_cannot_travel_is_refused_whatever_the_number_of_processes(answer):
    class Odd(user_tasks.LargestError):
        def measure(self, outputs, targets):  # noqa: ARG002 - whatever they are
            return {"inner": [answer]}

    with pytest.raises(InputError, match="largest-error: what a part of the data contributes must be tensors"):
        scores_of(torch.zeros(3, 1), torch.zeros(3, 1), Odd())


def test_metrics_are_known_by_names_of_their_own():
    for wanted in ([], ["perplexity", "perplexity"], [user_tasks.LargestError(), user_tasks.LargestError()]):
        with pytest.raises(InputError, match="each by a name of its own"):
            find_metrics(wanted)
    with pytest.raises(InputError, match="did you mean 'mean-iou'"):
        find_metrics(["mean-iu"])
    with pytest.raises(InputError, match="mean-loss needs the loss"):
        find_metrics(["mean-loss"])
    with pytest.raises(InputError, match="the class LargestError"):
        find_metrics([user_tasks.LargestError])


def numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator


class Trace(nn.Module):
    """Writes to its buffer, replaces another, draws, and needs gradients: all in a forward pass for evaluation."""

    def __init__(self):
        super().__init__()
        self.inner = user_tasks.Forces()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("cache", None)

    def forward(self, x):
        self.calls += 1
        self.cache = x.mean()
        return self.inner(x) + torch.randn(()) + random.random() + self.calls


def test_an_evaluation_leaves_no_trace_and_does_not_depend_on_how_the_parts_are_shared():
    model = Trace().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = list(zip(torch.randn(10, 6), torch.zeros(10, 1), strict=True))
    states = torch.get_rng_state(), random.getstate(), numpy_state()
    metric = user_tasks.LargestError()
    metric.result = lambda parts: float(sum(part["errors"].double().sum() for part in parts))
    first = evaluate(model, data, metric, part_size=4)
    assert weights_sha256(model.state_dict()) == weights_sha256(before)
    assert (model.training, model.cache) == (True, None)
    after = torch.get_rng_state(), random.getstate(), numpy_state()
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    assert evaluate(model, data, metric, part_size=4) == first


def test_an_objective_of_the_model_and_the_batch_is_measured_too():
    model = user_tasks.model("language").eval()
    _, validation = user_tasks.data("language")
    by_objective = evaluate(
        model, validation, ["perplexity", "mean-loss"], objective=user_tasks.following_token, part_size=10
    )
    by_outputs = evaluate(model, validation, "perplexity", predict=user_tasks.predict_tokens, part_size=10)
    assert by_objective["perplexity"] == pytest.approx(by_outputs.value, rel=1e-6)
    assert by_objective["mean-loss"] == pytest.approx(math.log(by_outputs.value), rel=1e-6)


def test_batches_that_are_no_pairs_need_a_function_of_their_own():
    data = [{"x": torch.randn(3), "y": torch.tensor(1)} for _ in range(5)]
    model = nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"is a dict, not \(inputs, targets\)"):
        evaluate(model, data)
    score = evaluate(model, data, predict=lambda model, batch: (model(batch["x"]), batch["y"]))
    assert 0 <= score.value <= 100
    with pytest.raises(InputError, match=r"predict must return \(outputs, targets\), not a Tensor"):
        evaluate(model, data, predict=lambda model, batch: model(batch["x"]))
    ragged = [(torch.randn(i + 1, 3), 1) for i in range(5)]

    def longest(samples):
        return nn.utils.rnn.pad_sequence([x for x, _ in samples], batch_first=True), torch.tensor(
            [y for _, y in samples]
        )

    pooled = nn.Sequential(nn.Linear(3, 2), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
    assert evaluate(pooled, ragged, collate=longest, part_size=2).num_samples == 5


def test_the_best_checkpoint_and_the_early_end_follow_the_direction_of_the_metric(tmp_path, monkeypatch):
    values = iter([50.0, 60.0, 55.0, 60.0, 40.0])
    monkeypatch.setattr("bigbatch.tasks.prediction_metrics.MeanIoU.result", lambda *_: next(values))
    monkeypatch.setattr("bigbatch.training.evaluation.Evaluation.check", lambda *_: None)
    recipe = recipe_of("segmentation", epochs=9, evaluation={"part_size": 8, "patience": 2}, checkpoints={"keep": 1})
    folder = RunFolder(tmp_path / "run")
    stopped = train(recipe, folder, MACHINE, stop_after_epoch=3)
    assert (stopped.status, stopped.metric) == ("stopped", MEAN_IOU)
    ended = train(recipe, folder, MACHINE)
    assert (ended.status, ended.iterations, ended.result, ended.final_result) == ("finished", 16, 57.5, 60.0)
    assert ended.ended_early == "no better validation mean IoU in 2 epochs"
    assert train(recipe, folder, MACHINE).iterations == 16
    monkeypatch.setattr("bigbatch.tasks.prediction_metrics.MeanIoU.result", lambda *_: 61.0)
    best = evaluate_run(folder, MACHINE, best=True)
    assert best.iteration == 8
    table = best.to_json()
    assert (table["metric"], table["result"]) == (MEAN_IOU.to_json(), 61.0)
    assert not [name for name in table if "error" in name]


def test_a_result_that_is_not_finite_ends_the_training_as_a_loss_does(tmp_path, monkeypatch):
    monkeypatch.setattr("bigbatch.tasks.loss_metrics.ObjectivePerplexity.result", lambda *_: math.inf)
    recipe = recipe_of("language", metrics=["perplexity"])
    with pytest.raises(NonFiniteError, match="the validation perplexity is inf after iteration 3"):
        train(recipe, RunFolder(tmp_path / "run"), MACHINE)
    summary = RunFolder(tmp_path / "run").read_summary()
    assert (summary.status, summary.result) == ("failed", None)


def test_the_trial_before_training_changes_no_bit(tmp_path, monkeypatch):
    recipe = recipe_of("segmentation")
    with_trial = train(recipe, RunFolder(tmp_path / "a"), MACHINE)
    monkeypatch.setattr("bigbatch.training.state.TrainingState.check_evaluation", lambda _: None)
    assert train(recipe, RunFolder(tmp_path / "b"), MACHINE).weights_sha256 == with_trial.weights_sha256
    assert with_trial.metric != TOP_1_ERROR


def test_a_metric_with_the_face_of_torchmetrics_is_merged_by_its_states():
    outputs, targets = torch.randn(11, 3), (torch.randn(11, 3) > 0).float()
    score = scores_of(outputs, targets, user_tasks.LabelAccuracy())
    assert score.value == pytest.approx(float(((outputs > 0) == (targets > 0)).double().mean()))
    assert (score.measures[0].name, score.measures[0].better) == ("label-accuracy", "higher")


def test_a_metric_of_torchmetrics_that_cannot_judge_is_refused():
    undecided, several, nested = user_tasks.StandIn(), user_tasks.StandIn(), user_tasks.StandIn()
    undecided.higher_is_better = None
    several.compute = lambda: torch.zeros(3)
    nested.inner = user_tasks.StandIn()
    for metric, complaint in (
        (undecided, "derive a class that sets higher_is_better"),
        (several, "gives several values"),
        (nested, "cannot be merged: its states lie in other metrics"),
    ):
        with pytest.raises(InputError, match=complaint):
            scores_of(torch.zeros(3, 1), torch.zeros(3, 1), metric)


@pytest.mark.parametrize(
    "name", ["classification.MulticlassF1Score", "regression.R2Score", "classification.BinaryAUROC"]
)
def test_metrics_of_torchmetrics_have_the_value_that_it_gives_itself(name):
    """They add states up, take means of them, and keep lists of predictions."""
    library = importlib.import_module("torchmetrics")
    module, kind = name.split(".")
    options = {"num_classes": 3} if "Multiclass" in kind else {}
    metric = getattr(getattr(library, module), kind)(**options)
    targets = torch.randn(31)
    outputs = targets + 0.3 * torch.randn(31)
    if module == "classification":
        outputs, targets = outputs.sigmoid(), (targets > 0).long()
    if options:
        outputs, targets = torch.randn(31, 3), torch.randint(0, 3, (31,))
    metric.update(outputs, targets)
    assert scores_of(outputs, targets, metric, part_size=7).value == pytest.approx(float(metric.compute()), rel=1e-5)


BOXES = {"boxes": torch.zeros(2, 4), "scores": torch.zeros(2), "labels": torch.zeros(2)}


@pytest.mark.parametrize("metric", ["top-1-error", "perplexity", "mean-iou"])
def test_detections_are_refused_by_other_metrics_with_the_one_that_fits(metric):
    (wanted,) = find_metrics([metric])
    with pytest.raises(InputError, match=r'needs .*outputs of 2 dictionaries .*, such as metrics = \["coco-box-ap"\]'):
        wanted.measure([BOXES, BOXES], [{}, {}])


@pytest.mark.parametrize("reason", [ImportError("no module"), RuntimeError("operator does not exist")])
def test_coco_metrics_without_their_library_are_refused_in_a_line(reason, monkeypatch):
    def fail(*_):
        raise reason

    monkeypatch.setattr("builtins.__import__", fail)
    for measure in AVERAGE_PRECISIONS:
        with pytest.raises(InputError, match=r"need faster-coco-eval: pip install 'bigbatch\[detection\]'"):
            AveragePrecision(measure.name)
    assert [measure.title for measure in AVERAGE_PRECISIONS][:2] == ["box AP", "box AP50"]
    assert {measure.better for measure in AVERAGE_PRECISIONS} == {"higher"}
