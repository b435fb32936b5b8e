"""Evaluate a finished or interrupted run again on its validation data, or export its weights for other programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigbatch.checkpoint.loading import Like, RefusedError, load_checkpoint, load_last_good
from bigbatch.checkpoint.manifest import Manifest, manifest_path
from bigbatch.checkpoint.saving import best_checkpoint
from bigbatch.checkpoint.weights import WeightsHashes, export_weights
from bigbatch.data.dataset import Splits
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_state
from bigbatch.processes.join import Machine
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.metrics import OLD_NAME
from bigbatch.training.evaluation import Evaluation, Scores
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.restore import restore_model


@dataclass(frozen=True)
class RunEvaluation:
    """The result of a run's checkpoint on the validation data.

    Attributes:
        checkpoint: its path, without a suffix.
        iteration: updates done before it.
        scores: of its averaged weights, if it has an average.
        hashes: of its weights.
    """

    checkpoint: str
    iteration: int
    scores: Scores
    hashes: WeightsHashes

    def to_json(self) -> dict[str, object]:
        """Return it as plain values; a top-1 error has its old name, too."""
        judge, validation = self.scores.measures[0], self.scores.to_json()
        return {
            "checkpoint": self.checkpoint,
            "iteration": self.iteration,
            "num_samples": self.scores.num_samples,
            "metric": judge.to_json(),
            "result": validation[judge.name],
            "validation": validation,
            **({OLD_NAME: self.scores.value} if judge == TOP_1_ERROR else {}),
            **self.hashes.to_json(),
        }


@dataclass(frozen=True)
class Export:
    """Weights that were written for other programs.

    Attributes:
        iteration: updates done before the checkpoint.
        hashes: of the weights. With an average, the file holds the averaged ones.
    """

    iteration: int
    hashes: WeightsHashes


def evaluate_run(folder: RunFolder, machine: Machine, *, loader_workers: int = 0, best: bool = False) -> RunEvaluation:
    """Evaluate the last or the best checkpoint of a run on its validation data, with the averaged weights if any.

    Raises:
        InputError: the folder holds no run, or no checkpoint that can be used; or a metric does not fit.
    """
    manifest, model, data, hashes = _load_model(folder, machine.device, best=best)
    evaluation = Evaluation.of(folder.recipe, loader_workers=loader_workers)
    scores = evaluation.scores(model, data.validation, machine.processes)
    checkpoint = str(manifest_path(folder.checkpoints, manifest.iteration).with_suffix(""))
    return RunEvaluation(checkpoint, manifest.iteration, scores, hashes)


def export_run(folder: RunFolder, target: Path, *, best: bool = False) -> Export:
    """Write the weights of a run's last or best checkpoint as a safetensors file; the averaged ones if any.

    Raises:
        InputError: the folder holds no run, no checkpoint can be used, or the file cannot be written.
    """
    manifest, state = _load(folder, None, best=best)
    hashes = _hashes(state)
    origin = {"iteration": str(manifest.iteration), **hashes.to_json(), "recipe": manifest.recipe}
    export_weights(_evaluated(state), target, metadata=origin)
    return Export(manifest.iteration, hashes)


def _hashes(state: Mapping[str, Any]) -> WeightsHashes:
    return WeightsHashes.of(state["model"], state.get("average"))


def _evaluated(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's weights as they were evaluated: with the averages if there are any."""
    return {**state["model"], **state.get("average", {})}


def _load_model(
    folder: RunFolder, device: torch.device, *, best: bool
) -> tuple[Manifest, nn.Module, Splits, WeightsHashes]:
    _check_run(folder)
    data = load_data(folder.recipe.data)
    model = build_recipe_model(folder.recipe, num_classes=data.num_classes, in_channels=data.in_channels).to(device)
    manifest, state = _load(folder, plain_state(model), best=best)
    restore_model(model, {**state, "model": _evaluated(state)})
    return manifest, model, data, _hashes(state)


def _load(folder: RunFolder, like: Like, *, best: bool) -> tuple[Manifest, dict[str, Any]]:
    _check_run(folder)
    path = best_checkpoint(folder.checkpoints) if best else None
    try:
        if path:
            return load_checkpoint(path, recipe=folder.recipe, like=like)
        found, _ = load_last_good(folder.checkpoints, recipe=folder.recipe, like=like)
    except RefusedError as error:
        msg = f"the best checkpoint {path} cannot be used: {error}"
        raise InputError(msg) from error
    if found is None:
        msg = f"{folder.path} has no checkpoint yet"
        raise InputError(msg)
    return found


def _check_run(folder: RunFolder) -> None:
    if not folder.exists():
        msg = f"{folder.path} holds no run"
        raise InputError(msg)
