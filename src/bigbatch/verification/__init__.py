"""Verification: whether a recipe's training keeps the four precautions, and what in the user's code breaks them.

`verify` runs every check of `checks`. The checks use the other modules:
    subject: the model, loss and samples that are verified.
    samples: a part of a batch.
    trace: the input and output of a model's layers, sample by sample.
    scratch: an optimizer on a parameter of one number.
    gradient: gradients as vectors.
    reading: the samples that a rank reads.
    loop_run: a training loop on a copy of the model.
    check: the result of a check.
"""
