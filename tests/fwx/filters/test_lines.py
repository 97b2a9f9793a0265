"""Lines: CRLF and nothing else ends one, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.lines import LineError, Lines

Taken = tuple[list[bytes], str, int]


def take(pieces: list[bytes], limit: int = 20) -> Taken:
    """The lines, what was wrong, and how many bytes are left."""
    lines, taken = Lines(lambda _: limit), []
    for piece in pieces:
        lines.feed(piece)
        try:
            while (line := lines.next()) is not None:
                taken.append(line)
        except LineError as error:
            return taken, str(error), -1
    return taken, "", len(lines)


@pytest.mark.parametrize(
    ("data", "lines", "wrong", "left"),
    [
        (b"NOOP\r\n", [b"NOOP"], "", 0),
        (b"\r\n\r\n", [b"", b""], "", 0),
        (b"NOOP\r\nQU", [b"NOOP"], "", 2),
        (b"NOOP\r", [], "", 5),
        (b"NOOP\n", [], "a bare LF in a line", -1),
        (b"ONE\r\nTWO\nTHREE\r\n", [b"ONE"], "a bare LF in a line", -1),
        (b"NO\rOP\r\n", [], "a bare CR in a line", -1),
        (b"NOOP\r\r\n", [], "a bare CR in a line", -1),
        (b"NO\x00OP\r\n", [], "a NUL in a line", -1),
        (b"x" * 18 + b"\r\n", [b"x" * 18], "", 0),
        (b"x" * 19 + b"\r\n", [], "a line of more than 20 bytes", -1),
        (b"x" * 20, [], "", 20),
        (b"x" * 21, [], "a line of more than 20 bytes", -1),
        (b"x" * 30 + b"\n", [], "a line of more than 20 bytes", -1),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines(data: bytes, lines: list[bytes], wrong: str, left: int, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert take(pieces) == (lines, wrong, left)


@given(data=st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"\x00", b"a", b"abc"]), max_size=12).map(b"".join))
def test_every_cut_is_the_same(data: bytes) -> None:
    whole = take([data])
    assert take([data[place : place + 1] for place in range(len(data))]) == whole
    for place in range(len(data)):
        assert take([data[:place], data[place:]]) == whole
