"""How long something takes: in epochs, in iterations of the reference, or in samples."""

from typing import Final

EPOCHS, ITERATIONS, SAMPLES = "epochs", "iterations", "samples"
UNITS: Final = (EPOCHS, ITERATIONS, SAMPLES)


def in_epochs(amount: float, unit: str, *, iterations_per_epoch: int, minibatch_size: int, reference: int) -> float:
    """Return a duration in epochs. At every minibatch size it takes as many samples.

    Args:
        amount: of the unit.
        unit: "epochs"; "iterations", counted at the reference's minibatch size; or "samples".
        iterations_per_epoch: updates of an epoch at `minibatch_size`.
        minibatch_size: samples per update (kn).
        reference: samples per update of the reference.

    >>> [in_epochs(64_000, unit, iterations_per_epoch=40, minibatch_size=1024, reference=128) for unit in UNITS]
    [64000, 200.0, 1.5625]
    """
    if unit == EPOCHS:
        return amount
    samples = amount * reference if unit == ITERATIONS else amount
    return samples / minibatch_size / iterations_per_epoch
