"""Randomness by key: words for what we draw ourselves, seeds for everybody's generators."""
