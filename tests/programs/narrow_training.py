"""Train the digits with a net of 4 channels; with the argument "channels_last", in the layout that is not sound."""

import sys

import torch

from bigbatch.cli import main
from bigbatch.training import parts

if "channels_last" in sys.argv:
    parts.set_memory_format = lambda model: model.to(memory_format=torch.channels_last)
size = ("--minibatch-size", "64", "--epochs", "2", "--set", "model.width=4", "--processes", "1")
sys.exit(main(["train", "digits", *size, "--output", sys.argv[1]]))
