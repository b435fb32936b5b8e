"""One process of a group: train recipes, one after the other, in one launch.

Usage: train_law.py FOLDER SETTINGS ITERATIONS; SETTINGS is a JSON object of name -> list of settings over the preset
digits, and each is trained for so many iterations in FOLDER/name.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group(
    "gloo", store=dist.FileStore(os.environ["BIGBATCH_STORE"], world_size), rank=rank, world_size=world_size
)
torch.set_num_threads(1)
machine = Machine(Processes(rank, world_size), torch.device("cpu"), threads=1)
for name, settings in json.loads(sys.argv[2]).items():
    train(
        with_settings(digits(), settings),
        RunFolder(Path(sys.argv[1]) / name),
        machine,
        stop_after_iteration=int(sys.argv[3]),
    )
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
