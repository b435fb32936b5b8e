"""What a process of some rank reads: `python -m bigbatch.verification.reading recipe.toml`, with RANK set."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.batch import batch_digest
from bigbatch.data.dataset import read
from bigbatch.data.load import load_data
from bigbatch.data.own_order import OwnOrder
from bigbatch.errors import InputError
from bigbatch.processes.interpreter import python_command
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import read_recipe, to_toml
from bigbatch.rules.randomness.keyed import augmentation_key

NUM_READ: Final = 32
ERROR: Final = "error"


def read_as_rank(recipe: Recipe, rank: int, world_size: int) -> dict[str, Any]:
    """Return what `describe_samples` says in a process that has this rank.

    It is another process, because a module may read its rank when it is imported.

    Raises:
        InputError: the data cannot be loaded there.
    """
    place = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world_size}
    with tempfile.TemporaryDirectory(prefix="bigbatch-verify-") as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(to_toml(recipe))
        done = subprocess.run(  # noqa: S603 - our own program
            [*python_command(), "-m", "bigbatch.verification.reading", str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **{name: str(value) for name, value in place.items()}},
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise InputError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    result: dict[str, Any] = json.loads(lines[-1])
    if ERROR in result:
        raise InputError(result[ERROR])
    return result


def describe_samples(recipe: Recipe) -> dict[str, Any]:
    """Return the number of training samples, digests of some of them, evenly spread, and one of their own order."""
    splits = load_data(recipe.data)
    data = splits.train
    key = augmentation_key(recipe.seed_of("augmentation"), 0)
    digests = {int(i): batch_digest(read(data, np.array([i]), key)).hex() for i in spread(len(data))}
    order = OwnOrder(splits.order, len(data), recipe.seed_of("order")) if splits.order else None
    orders = [batch_digest(order(epoch)).hex() for epoch in (0, 1)] if order else []
    return {"num_samples": len(data), "digests": digests, "order": orders}


def spread(num_samples: int) -> NDArray[np.int64]:
    """Return the numbers of some samples, evenly spread.

    >>> spread(3).tolist()
    [0, 1, 2]
    """
    return np.unique(np.linspace(0, num_samples - 1, NUM_READ).astype(np.int64))


def main() -> None:
    """Print what this process reads, as the last line of its output."""
    recipe = read_recipe(Path(sys.argv[1]))
    try:
        result = describe_samples(recipe)
    except InputError as error:
        result = {ERROR: str(error)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
