"""A check: what was tested, whether it passed, and the numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bigbatch.errors import InputError


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was tested.
        status: "pass" or "fail".
        text: one line with the numbers; for a failure it says what breaks the rule, and where.
    """

    name: str
    status: Literal["pass", "fail"]
    text: str

    @property
    def is_passed(self) -> bool:
        """Whether the rule holds."""
        return self.status == "pass"


def passed(name: str, text: str) -> Check:
    """Return a check that passed."""
    return Check(name, "pass", text)


def failed(name: str, text: str) -> Check:
    """Return a check that failed."""
    return Check(name, "fail", text)


def checked(name: str, check: Callable[[], Check]) -> Check:
    """Run a check. Where bigbatch refuses to train at all, the check fails with that line."""
    try:
        return check()
    except InputError as error:
        return failed(name, str(error))
