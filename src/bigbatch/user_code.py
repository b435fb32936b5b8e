"""The user's own models, data sets and optimizers, named as `package.module:callable`."""

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from bigbatch.errors import InputError


def is_user_code(name: str) -> bool:
    """Tell whether a name in a recipe means the user's own code."""
    return ":" in name


def load_callable(name: str) -> Callable[..., Any]:
    """Import the callable that `package.module:callable` names, from the current folder too.

    This runs the user's module. A recipe that names one is trusted as code is.

    Raises:
        InputError: no such module, or no such callable in it.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        msg = f"'{name}' is not of the form package.module:callable"
        raise InputError(msg)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the user's module exists, and fails on an import of its own
        msg = f"'{name}': there is no module '{error.name}' in the current folder or the environment"
        raise InputError(msg) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        msg = f"'{name}': module '{module_name}' has no callable '{attribute}'"
        raise InputError(msg)
    loaded: Callable[..., Any] = found
    return loaded


def takes_argument(name: str, argument: str) -> bool:
    """Tell whether the callable has a parameter of this name.

    Raises:
        InputError: there is no such callable.
    """
    try:
        return argument in inspect.signature(load_callable(name)).parameters
    except ValueError:  # some callables written in C have no signature
        return False


def call_user_code(name: str, /, *positional: object, **named: object) -> Any:  # noqa: ANN401 - whatever it returns
    """Call the callable that `package.module:callable` names.

    Raises:
        InputError: there is none, or it does not take these arguments. Its own errors are passed on unchanged.
    """
    function = load_callable(name)
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError as error:
        msg = f"'{name}' does not take these arguments: {error}"
        raise InputError(msg) from error
    except ValueError:  # some callables written in C have no signature
        pass
    return function(*positional, **named)
