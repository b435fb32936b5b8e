"""Verification: whether a recipe's training keeps the four precautions, and what in the user's code breaks them.

`verify` runs every check of `checks`. The other modules are what checks stand on: the `subject` that is verified, a
`trace` of a model's layers, an optimizer on one `scratch` number, gradients as vectors, what a process of some rank is
`reading`, and what a `loop_run` came to.
"""
