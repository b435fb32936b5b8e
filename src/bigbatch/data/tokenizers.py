"""From a text to numbers: its bytes, its characters, or the tokens of a tokenizer that somebody has made."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.text_files import MappedBytes, TextFiles
from bigbatch.errors import InputError, first_line, nearest
from bigbatch.paths import is_file, is_folder

BYTES, CHARACTERS = "bytes", "characters"
NUM_BYTES: Final = 256
NUM_CODES: Final = 0x110000  # of Unicode
NUM_SHOWN: Final = 200  # characters


class Tokens(Protocol):
    """The tokens of a text, read at any places."""

    def __len__(self) -> int:
        """Return their number."""
        ...

    def __getitem__(self, places: NDArray[np.int64], /) -> NDArray[Any]:
        """Return the tokens at these places."""
        ...


@dataclass(frozen=True)
class Tokenizer:
    """How a text becomes tokens.

    Attributes:
        size: tokens are 0 to size - 1.
        identity: what it is recognised by.
        note: a line about it for the run's log.
        encode: maps a text to its tokens.
    """

    size: int
    identity: str
    note: str
    encode: Callable[[TextFiles], Tokens]


def find_tokenizer(name: str, text: TextFiles) -> Tokenizer:
    """Return the tokenizer that a recipe names.

    Args:
        name: "bytes", "characters", a file or a folder.
        text: to train on; its characters are those that "characters" knows.

    Raises:
        InputError: there is no such tokenizer, or it cannot be read.
    """
    if name == BYTES:
        return Tokenizer(NUM_BYTES, BYTES, "the tokens are 256 bytes", MappedBytes)
    if name == CHARACTERS:
        return _characters_of(text)
    if is_file(Path(name)):
        return _from_file(Path(name))
    if is_folder(Path(name)):
        return _from_folder(Path(name))
    msg = f"data.tokenizer '{name}' is neither a file nor a folder; {nearest(name, [BYTES, CHARACTERS])}"
    raise InputError(msg)


def _characters_of(text: TextFiles) -> Tokenizer:
    """Number the characters of the text by their code."""
    seen = np.zeros(NUM_CODES, bool)
    for piece in text.pieces():
        seen[_codes(piece)] = True
    alphabet = "".join(map(chr, np.flatnonzero(seen)))
    numbers = np.zeros(NUM_CODES, np.min_scalar_type(len(alphabet)))  # 0 is no character's, so one more
    numbers[seen] = np.arange(1, len(alphabet) + 1)

    def encode(other: TextFiles) -> Tokens:
        return _joined((_numbered(piece, numbers, other) for piece in other.pieces()), len(alphabet))

    more = f" and {len(alphabet) - NUM_SHOWN} more" if len(alphabet) > NUM_SHOWN else ""
    note = f"the tokens are {len(alphabet)} characters: {alphabet[:NUM_SHOWN]!r}{more}"
    return Tokenizer(len(alphabet), f"{CHARACTERS} {alphabet}", note, encode)


def _codes(piece: str) -> NDArray[np.uint32]:
    return np.frombuffer(piece.encode("utf-32-le"), "<u4")


def _numbered(piece: str, numbers: NDArray[Any], text: TextFiles) -> NDArray[Any]:
    found: NDArray[Any] = numbers[_codes(piece)]
    if not found.all():
        unknown = piece[int(np.argmin(found))]
        msg = (
            f"{text} has the character {unknown!r} (U+{ord(unknown):04X}), which the training text has not; "
            f'remove it, or set data.tokenizer = "{BYTES}"'
        )
        raise InputError(msg)
    return found - 1


def _from_file(path: Path) -> Tokenizer:
    """Read a file of Hugging Face's tokenizers."""
    library = _library("tokenizers")
    try:
        found = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        msg = f"{path} is no tokenizer.json of Hugging Face's tokenizers: {first_line(error)}"
        raise InputError(msg) from error
    found.no_truncation()
    found.no_padding()
    return _of_a_library(
        path, found.get_vocab(), found.to_str(), lambda piece: found.encode(piece, add_special_tokens=False).ids
    )


def _from_folder(path: Path) -> Tokenizer:
    """Read a folder with transformers' AutoTokenizer, which asks no network."""
    library = _library("transformers")
    try:
        found = library.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # whatever its many classes raise
        msg = f"{path} holds no tokenizer that transformers' AutoTokenizer reads: {first_line(error)}"
        raise InputError(msg) from error
    vocabulary, backend = found.get_vocab(), getattr(found, "backend_tokenizer", None)
    identity = backend.to_str() if backend else json.dumps(vocabulary, sort_keys=True)
    options = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
    return _of_a_library(path, vocabulary, identity, lambda piece: found(piece, **options)["input_ids"])


def _of_a_library(
    path: Path, vocabulary: dict[str, int], identity: str, tokens_of: Callable[[str], Sequence[int]]
) -> Tokenizer:
    """Return a tokenizer that encodes a text piece by piece, without special tokens, and keeps no list of all."""
    if not vocabulary:
        msg = f"{path} is a tokenizer without tokens; train it first"
        raise InputError(msg)
    size = max(vocabulary.values()) + 1  # some numbers may be nobody's

    def encode(text: TextFiles) -> Tokens:
        return _joined((np.array(tokens_of(piece), np.int64) for piece in text.pieces()), size)

    digest = sha256(identity.encode(errors="surrogatepass")).hexdigest()
    return Tokenizer(size, f"tokenizer {digest}", f"the tokens are the {size} of {path}", encode)


def _joined(parts: Iterable[NDArray[Any]], size: int) -> NDArray[Any]:
    """Return parts as one array of the smallest type for numbers below `size`."""
    kind = np.min_scalar_type(size - 1)
    return np.concatenate([part.astype(kind) for part in parts])


def _library(name: str) -> Any:  # noqa: ANN401 - a module without types
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:
        msg = f"this data.tokenizer needs {name}: pip install 'bigbatch[transformers]' ({first_line(error)})"
        raise InputError(msg) from error
