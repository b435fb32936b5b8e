"""How numbers are computed: as fast as each machine can, or with the same bits on every processor."""

from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import check_choice

NATIVE, PORTABLE = NUMERICS = ("native", "portable")
NOT_PORTABLE: Final = f"with numerics = {PORTABLE}, a run has the same bits on every x86-64 processor with AVX2"


def check_numerics(numerics: str, *, precision: str, is_compiled: bool) -> None:
    """Refuse an unknown word, and what can have the same bits on one kind of machine only.

    Raises:
        InputError: says what to change.
    """
    check_choice("numerics", numerics, NUMERICS)
    if numerics != PORTABLE:
        return
    if precision == "tf32":
        msg = f"{NOT_PORTABLE}, and precision = tf32 is for GPUs; set precision=float32 or numerics={NATIVE}"
        raise InputError(msg)
    if is_compiled:
        msg = f"{NOT_PORTABLE}, but torch.compile makes code for one; set model.compile=false or numerics={NATIVE}"
        raise InputError(msg)
