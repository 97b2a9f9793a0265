"""The lines of FTP: CRLF and nothing else ends one, and Telnet's commands are taken out, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.ftp.lines import Lines
from fwx.filters.lines import LineError

Taken = tuple[list[bytes], str, int]


def take(pieces: list[bytes], limit: int = 20) -> Taken:
    """The lines, what was wrong, and how many bytes are left."""
    lines, taken = Lines(limit), []
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
        (b"NO\r\x00OP\r\n", [], "a bare CR in a line", -1),
        (b"NO\x00OP\r\n", [], "a NUL in a line", -1),
        (b"x" * 18 + b"\r\n", [b"x" * 18], "", 0),
        (b"x" * 19 + b"\r\n", [], "a line of more than 20 bytes", -1),
        (b"x" * 21, [], "a line of more than 20 bytes", -1),
        # An interrupt (RFC 959, 4.1.3), whole and with either of its bytes gone as urgent data.
        (b"\xff\xf4\xff\xf2ABOR\r\n", [b"ABOR"], "", 0),
        (b"\xff\xf4\xffABOR\r\n", [b"ABOR"], "", 0),
        (b"\xf4\xff\xf2ABOR\r\n", [b"ABOR"], "", 0),
        (b"\xff\xf4\xf2ABOR\r\n", [b"ABOR"], "", 0),
        # Options (RFC 854): nobody answers.
        (b"\xff\xfb\x01NO\xff\xfd\x0dOP\xff\xf1\r\n", [b"NOOP"], "", 0),
        (b"NO\xff\xfa\x18\x01\r\n\x00\xff\xff\xff\xf0OP\r\n", [b"NOOP"], "", 0),
        (b"CWD \xff\xff\r\n", [b"CWD \xff\xff"], "", 0),
        # Inside a word they are no way to hide one.
        (b"PO\xff\xf1RT 1\r\n", [b"PORT 1"], "", 0),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines(data: bytes, lines: list[bytes], wrong: str, left: int, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert take(pieces) == (lines, wrong, left)


PARTS = [b"\r\n", b"\r", b"\n", b"\x00", b"a", b"abc", b"\xff", b"\xfa", b"\xf0", b"\xf2", b"\xf4", b"\xfd"]


@given(data=st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join))
def test_every_cut_is_the_same(data: bytes) -> None:
    whole = take([data])
    assert take([data[place : place + 1] for place in range(len(data))]) == whole
    for place in range(len(data)):
        assert take([data[:place], data[place:]]) == whole


@given(data=st.binary(max_size=60))
def test_what_comes_out_has_no_ends_inside(data: bytes) -> None:
    for line in take([data], 100)[0]:
        assert not set(line) & set(b"\r\n\x00")
