"""What programs begin with, however the beginning comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.exe_block.signatures import KINDS, Head, Signatures

ALL = Signatures(KINDS, [bytes.fromhex("504b0304")])
USUAL = Signatures(("dos", "elf", "mach-o"), ())


def taken(signatures: Signatures, pieces: list[bytes]) -> list[str]:
    """What each piece has told."""
    head = Head(signatures)
    return [head.feed(memoryview(piece)) for piece in pieces]


@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        (b"MZ", "a program for DOS or Windows"),
        (b"ZM", "a program for DOS or Windows"),
        (b"\x7fELF", "an ELF program"),
        (b"\xfe\xed\xfa\xce", "a Mach-O program or a Java class"),
        (b"\xcf\xfa\xed\xfe", "a Mach-O program or a Java class"),
        (b"\xca\xfe\xba\xbe", "a Mach-O program or a Java class"),
    ],
)
def test_programs(beginning: bytes, words: str) -> None:
    """B12.1: the first two bytes, and those of other systems' programs."""
    assert taken(USUAL, [beginning]) == [words]
    assert taken(USUAL, [beginning + b"\x00" * 100]) == [words]
    assert taken(USUAL, [b" " + beginning]) == [""]
    assert taken(USUAL, [beginning[:-1] + b"?"]) == [""]


@pytest.mark.parametrize("data", [b"", b"M", b"mz", b"a text", b"#!/bin/sh", b"PK\x03\x04", b"\x7fEL", b"%PDF"])
def test_other_files(data: bytes) -> None:
    assert taken(USUAL, [data]) == [""]


def test_what_is_asked_for_besides() -> None:
    assert taken(ALL, [b"#!/bin/sh"]) == ["a script"]
    assert taken(ALL, [b"PK\x03\x04..."]) == ["a file that begins with 504b0304"]
    assert taken(Signatures((), [b"PK"]), [b"MZ"]) == [""]


BEGINNINGS = [b"MZx", b"ZM", b"\x7fELF.", b"\xca\xfe\xba\xbe", b"#!"]


@given(data=st.one_of(st.binary(max_size=12), st.sampled_from(BEGINNINGS)), cuts=st.lists(st.integers(0, 12)))
def test_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    """It is told with the piece that makes it certain, and is the same as of the whole."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    told = [words for words in taken(ALL, pieces) if words]
    (whole,) = taken(ALL, [data])
    assert told[:1] == ([whole] if whole else [])
    assert set(told) <= {whole}
