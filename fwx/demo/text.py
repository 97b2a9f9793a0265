"""The text that the demonstration moves: any amount, made the same way on both sides, no two blocks alike."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

# Some letters change their length in upper case, and most of them are several bytes that a buffer's end may split.
_WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "Straße",
    "ﬁnal",
    "oﬃce",
    "ŉ",
    "ΐ",
    "déjà-vu",
    "naïve",
    "0123456789",
    "żółw",
]
_WORDS_PER_BLOCK = 2000


def blocks(seed: int, size: int) -> Iterator[bytes]:
    """Yield the text number *seed*, *size* bytes in all; the last letter may be cut."""
    # Not a secret: the two sides have to make the same text.
    body = " ".join(random.Random(seed).choices(_WORDS, k=_WORDS_PER_BLOCK)).encode()  # noqa: S311
    number = 0
    while size > 0:
        block = b"\n[text %d, block %d] %b" % (seed, number, body)
        yield block[:size]
        size -= len(block)
        number += 1


def in_upper_case(pieces: Iterable[bytes], appended: bytes) -> Iterator[bytes]:
    """Say what the filter ``upper-case`` makes of a text that comes in *pieces*, each of whole letters but the last."""
    for piece in pieces:
        yield piece.decode(errors="surrogateescape").upper().encode(errors="surrogateescape")
    yield appended
