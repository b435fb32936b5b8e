"""The command line of `bigbatch`: commands, the options that they share, and what they print."""

from bigbatch.cli.entry import main, start

__all__ = ["main", "start"]
