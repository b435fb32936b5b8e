"""The `arguments` of a section: keyword arguments of the user's own callable."""

from collections.abc import Mapping

from bigbatch.errors import InputError
from bigbatch.user_code import is_user_code


def check_arguments(section: str, name: str, arguments: Mapping[str, object], *, takes_arguments: bool = False) -> None:
    """Refuse arguments that nothing would read, and arguments that TOML cannot hold.

    Args:
        section: of the recipe, for the error.
        name: what the section names: a word of bigbatch or `package.module:callable`.
        arguments: of the callable.
        takes_arguments: whether a word of bigbatch means something that takes arguments, too.

    Raises:
        InputError: `name` is no callable of the user's, or a value is not plain.
    """
    if arguments and not (takes_arguments or is_user_code(name)):
        msg = f"{section}.arguments is for package.module:callable; '{name}' takes none"
        raise InputError(msg)
    if not _is_plain(arguments):
        msg = f"{section}.arguments must be plain values: numbers, strings, true or false, lists and tables of them"
        raise InputError(msg)


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str)
