"""Trackers as observers: TensorBoard, Weights & Biases, MLflow and trackio, each with its files in the run's folder.

Each function takes the run's folder and returns what is called with every line of metrics.jsonl; what that returns may
have a `close`. The environment's own variables, such as WANDB_MODE or MLFLOW_TRACKING_URI, come first.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

Log = Callable[[dict[str, float], int], None]

SCALARS: Final = ("loss", "learning_rate", "minibatch_size", "gradient_norm", "gain")


class Tracker:
    """What is called with each line, and closed at the end.

    Args:
        log: takes values by name, and the number of updates.
        close: ends the tracker's run.
    """

    def __init__(self, log: Log, close: Callable[[], object]) -> None:
        self.log, self.close = log, close

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Hand over the numbers of a line, if it has any."""
        values, iteration = numbers_of(record)
        if values:
            self.log(values, iteration)


def tensorboard(folder: Path) -> Tracker:
    """Write event files to FOLDER/tensorboard; `tensorboard --logdir FOLDER` shows them."""
    writer = _library("tensorboard", "torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(values: dict[str, float], iteration: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, iteration)

    return Tracker(log, writer.close)


def wandb(folder: Path) -> Tracker:
    """Write an offline run to FOLDER/wandb; `wandb sync` uploads it."""
    library = _library("wandb")
    os.environ.setdefault("WANDB_MODE", "offline")
    project = os.environ.get("WANDB_PROJECT", "bigbatch")
    run = library.init(project=project, name=folder.name, dir=str(folder), config=recipe_of(folder))
    return Tracker(lambda values, iteration: run.log(values, step=iteration), run.finish)


def mlflow(folder: Path) -> Tracker:
    """Log to FOLDER/mlflow/mlflow.db; `mlflow ui --backend-store-uri sqlite:///...` of that file shows it."""
    library = _library("mlflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        (folder / "mlflow").mkdir(exist_ok=True)
        library.set_tracking_uri(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    library.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "bigbatch"))
    library.start_run(run_name=folder.name)
    library.log_params(recipe_of(folder))
    return Tracker(lambda values, iteration: library.log_metrics(values, step=iteration), library.end_run)


def trackio(folder: Path) -> Tracker:
    """Log to a database in FOLDER/trackio; `TRACKIO_DIR=FOLDER/trackio trackio show` shows it."""
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    library = _library("trackio")
    run = library.init(project="bigbatch", name=folder.name, config=recipe_of(folder))
    return Tracker(lambda values, iteration: run.log(values, step=iteration), run.finish)


TRACKERS: Final[dict[str, Callable[[Path], Tracker]]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}


def numbers_of(record: Mapping[str, Any]) -> tuple[dict[str, float], int]:
    """Return the numbers of a line of metrics.jsonl by name, and the updates that were done by then.

    >>> numbers_of({"iteration": 4, "loss": 0.5, "learning_rate": 0.1, "skipped": False})
    ({'train/loss': 0.5, 'train/learning_rate': 0.1}, 5)
    >>> numbers_of({"epoch": 1, "iteration": 5, "loss": 0.5, "validation": {"top-1-error": 8.0}, "seconds": 2.0})
    ({'epoch': 1, 'epoch/loss': 0.5, 'epoch/seconds': 2.0, 'validation/top-1-error': 8.0}, 5)
    """
    if "epoch" in record:
        values = {"epoch": record["epoch"]}
        values |= {f"epoch/{name}": record.get(name) for name in ("loss", "seconds", "data_seconds")}
        values |= {f"validation/{name}": value for name, value in record.get("validation", {}).items()}
    else:
        values = {f"train/{name}": record.get(name) for name in SCALARS}
    # An update's number counts from 0; an epoch's line has the updates that are done.
    iteration = int(record.get("iteration") or 0) + ("epoch" not in record)
    return {name: value for name, value in values.items() if value is not None}, iteration


def recipe_of(folder: Path) -> dict[str, Any]:
    """Return the run's recipe, each field by its `section.field`."""
    with (folder / "recipe.toml").open("rb") as file:
        return dict(_flat(tomllib.load(file)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found


def _library(name: str, module: str = "") -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(module or name)
    except ImportError as error:
        msg = f"the observer {name} needs its library: pip install 'bigbatch[{name}]' ({error})"
        raise ImportError(msg) from error
