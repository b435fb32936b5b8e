"""The tokens of a text, their two parts, and how many sequences these give. It needs no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from bigbatch.data.text_files import TextFiles, find_texts
from bigbatch.data.tokenizers import BYTES, CHARACTERS, Tokenizer, Tokens, find_tokenizer
from bigbatch.errors import InputError
from bigbatch.recipe import Data

UNITS: Final = {BYTES: "bytes", CHARACTERS: "characters"}  # what a token is called


@dataclass(frozen=True)
class Part:
    """Neighbouring tokens of a text: what is trained on, or what is validated on.

    Attributes:
        tokens: of the text.
        first: the place of the part's first token.
        count: of its tokens.
    """

    tokens: Tokens
    first: int
    count: int


@dataclass(frozen=True)
class TokenizedText:
    """A text as tokens.

    Attributes:
        train: what is trained on.
        validation: what is validated on: the text's last part, or a text of its own.
        tokenizer: which tokens they are.
        fingerprint: SHA-256 of the tokenizer and the files' content.
    """

    train: Part
    validation: Part
    tokenizer: Tokenizer
    fingerprint: str


def tokenize(recipe: Data) -> TokenizedText:
    """Read the text that a recipe names.

    Raises:
        InputError: no such text or tokenizer, or a part that is shorter than a sequence.
    """
    text, validation_text = find_texts(recipe.path)
    tokenizer = find_tokenizer(recipe.tokenizer, text)
    tokens = tokenizer.encode(text)
    if validation_text:
        other = tokenizer.encode(validation_text)
        train, validation = Part(tokens, 0, len(tokens)), Part(other, 0, len(other))
    else:
        split = split_place(recipe, len(tokens))
        train, validation = Part(tokens, 0, split), Part(tokens, split, len(tokens) - split)
    num_sequences(recipe, train.count, f"{text}: the training part")
    where, way_out = f"{validation_text or text}: the validation part", "raise data.validation_share"
    num_sequences(recipe, validation.count, where, way_out="" if validation_text else way_out)
    return TokenizedText(train, validation, tokenizer, _fingerprint(tokenizer, text, validation_text))


def count_sequences(recipe: Data) -> int:
    """Return the training samples of a text, without its tokens where they need not be made.

    Raises:
        InputError: there is no such text, or it is too short.
    """
    text, validation_text = find_texts(recipe.path)
    if recipe.tokenizer == BYTES:
        count = text.num_bytes
    elif recipe.tokenizer == CHARACTERS:
        count = text.count_characters()
    else:
        count = len(find_tokenizer(recipe.tokenizer, text).encode(text))
    train = count if validation_text else split_place(recipe, count)
    return num_sequences(recipe, train, f"{text}: the training part")


def split_place(recipe: Data, num_tokens: int) -> int:
    """Return where the validation part of a single text begins."""
    return int(num_tokens * (1 - recipe.validation_share))


def num_sequences(recipe: Data, num_tokens: int, where: str, *, way_out: str = "") -> int:
    """Return how many whole sequences there are, of which each token but the text's first is a target once.

    Raises:
        InputError: not even one.
    """
    length = recipe.sequence_length
    if num_tokens <= length:
        unit = UNITS.get(recipe.tokenizer, "tokens")
        msg = (
            f"{where} has {num_tokens} {unit}, but one sequence takes {length} and the one that follows; lower "
            f"data.sequence_length{f', {way_out}' if way_out else ''} or add text"
        )
        raise InputError(msg)
    return (num_tokens - 1) // length


def _fingerprint(tokenizer: Tokenizer, *texts: TextFiles | None) -> str:
    digest = sha256(f"{tokenizer.size}\0{tokenizer.identity}".encode(errors="surrogatepass"))
    for part in _contents(texts):
        digest.update(part)
    return digest.hexdigest()


def _contents(texts: tuple[TextFiles | None, ...]) -> Iterator[bytes | memoryview]:
    for text in texts:
        if text:
            yield f"\0{text.num_bytes}\0".encode()
            yield from (block.data for block in text.blocks())
