"""The sentences of a Markdown text, without code, tables, headings and pictures."""

import re
from collections.abc import Iterator

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"([-*]|\d+\.) ")
NO_PROSE = re.compile(r"#|\||!|\[\w+\]: ")  # headings, tables, pictures, targets of links
ABBREVIATIONS = re.compile(r"\b(et al|e\.g|i\.e|eq|vs)\.")
END = re.compile(r"(?<=[.!?])[)*\"']*\s+")


def sentences(text: str) -> list[str]:
    r"""Return the sentences; an item of a list ends one, and a piece of code counts as one word.

    >>> sentences("# Title\nOne `a b` is 0.5. Two (see\n[three](x.md)).\n- Four: five\n\n| six |")
    ['One CODE is 0.5.', 'Two (see three).', 'Four: five']
    """
    return [sentence for paragraph in _paragraphs(text) for sentence in END.split(_spoken(paragraph)) if sentence]


def num_words(sentence: str) -> int:
    """Return the number of words: what has a letter or a digit in it.

    >>> num_words("The error is 8.29 ± 0.12 % - of five seeds.")
    8
    """
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [code for name, code in FENCE.findall(text) if name == language]


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in (*FENCE.sub("", text).splitlines(), ""):
        words = line.strip()
        if not words or NO_PROSE.match(words) or ITEM.match(words):
            yield " ".join(lines)
            lines = []
        if not NO_PROSE.match(words):
            lines.append(ITEM.sub("", words, count=1) if ITEM.match(words) else words)
    yield " ".join(lines)


def _spoken(paragraph: str) -> str:
    text = re.sub(r"`[^`]*`", "CODE", paragraph)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)|\[([^]]*)\]\[[^]]*\]", r"\1\2", text)
    return ABBREVIATIONS.sub(r"\1", text).strip()
