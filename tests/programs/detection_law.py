"""Train recipes one after the other in one group of processes; each leaves the folder of its run beside its file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "vision"))

from bigbatch.processes.join import joined
from bigbatch.recipe.file import read_recipe
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

with joined() as machine:
    for path in map(Path, sys.argv[1:]):
        train(read_recipe(path), RunFolder(path.parent / f"{path.stem}-p{machine.processes.world_size}"), machine)
