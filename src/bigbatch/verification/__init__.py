"""Verification: whether a recipe's training keeps the four precautions, and what in the user's code breaks them.

`verify` runs every check of `checks`. The checks stand on the other modules: the `subject` that is verified, a `trace`
of a model's layers, an optimizer on one `scratch` number, gradients as vectors, `reading` as some rank, and a
`loop_run` on the subject.
"""
