"""The errors that a command explains in one line, and the hint of the nearest known word."""


class InputError(ValueError):
    """Bad input: one line that says what is wrong and what to do. The command line ends with exit code 2."""


class PeerLostError(RuntimeError):
    """Another process of the group has ended or does not answer. That process's own error is the cause."""


class ReaderLostError(RuntimeError):
    """A process that reads data ahead has ended: the system has killed it, or its code has crashed."""


class DisagreementError(RuntimeError):
    """Processes that must hold the same weights do not: a machine is faulty."""


class NonFiniteError(RuntimeError):
    """A loss or gradient is NaN or infinite. Every repetition gives the same, so a restart does not help."""


class SaveError(RuntimeError):
    """Checkpoints cannot be saved. The last one that was saved can be used."""


class ProcessFailedError(RuntimeError):
    """A process that bigbatch has launched failed. The text is its traceback."""


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or its kind where it has none.

    >>> first_line(ValueError("a\nb")), first_line(NotImplementedError())
    ('a', 'NotImplementedError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def nearest(name: str, known: list[str]) -> str:
    """Return a hint that names the known word nearest to `name`, or lists them all.

    Capitals do not count, nor does "_" for "-".

    >>> nearest("learning_rat", ["learning_rate", "minibatch_size"])
    "did you mean 'learning_rate'?"
    >>> nearest("x", ["digits", "cifar10"])
    'known are: cifar10, digits'
    >>> nearest("AdamW", ["adam", "adamw"])
    "did you mean 'adamw'?"
    """
    from difflib import get_close_matches

    plain = {word.casefold().replace("_", "-"): word for word in known}
    matches = get_close_matches(name.casefold().replace("_", "-"), plain, n=1)
    return f"did you mean '{plain[matches[0]]}'?" if matches else "known are: " + ", ".join(sorted(known))
