"""Optimizers.

`build` makes the optimizer that a recipe names, and `groups` says which parameters decay. `layerwise` has LARS and
LAMB. `absorbed_rate` sets the rate, and guards against momentum that has absorbed it. `weight_average` averages the
weights.
"""
