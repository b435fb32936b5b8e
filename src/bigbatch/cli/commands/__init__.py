"""A module for each command of `bigbatch`."""
