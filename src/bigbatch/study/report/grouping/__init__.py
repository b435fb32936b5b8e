"""Runs put in order: what can be compared, which recipe, which minibatch size."""
