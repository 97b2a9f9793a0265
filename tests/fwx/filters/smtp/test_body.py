"""The text of a message: where it ends, what may not be in it, how large it is, and what is looked for."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.smtp.body import MOST_IN_FIELD, Body, BodyError, Limits

OPEN = Limits(0, 1000, None, None)


def take(pieces: list[bytes], limits: Limits = OPEN) -> tuple[bytes, bool, bytes, str]:
    """What passed, whether the end came, what was behind it, and what the client was told."""
    body, passed = Body(limits), b""
    for number, piece in enumerate(pieces):
        try:
            passed += body.feed(piece)
        except BodyError as error:
            return passed, body.done, b"", error.reply
        if body.done:
            return passed, True, body.rest + b"".join(pieces[number + 1 :]), ""
    return passed, False, b"", ""


def one_by_one(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


@pytest.mark.parametrize(
    ("data", "passed", "rest"),
    [
        (b".\r\n", b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n.\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n.\r\n", b"QUIT\r\n"),
        (b"a\r\n..\r\n.\r\n", b"a\r\n..\r\n.\r\n", b""),
        (b"..\r\n.b\r\n.\r\n", b"..\r\n.b\r\n.\r\n", b""),
        (b"\r\n.\r\n.\r\n", b"\r\n.\r\n", b".\r\n"),
        (b"x" * 998 + b"\r\n.\r\n", b"x" * 998 + b"\r\n.\r\n", b""),
        (b"." + b"x" * 998 + b"\r\n.\r\n", b"." + b"x" * 998 + b"\r\n.\r\n", b""),
    ],
)
def test_the_end(data: bytes, passed: bytes, rest: bytes) -> None:
    assert take([data]) == (passed, True, rest, "")
    assert take(one_by_one(data)) == (passed, True, rest, "")


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n"])
def test_smuggling(end: bytes) -> None:
    """What some servers take for the end, and this is none (CVE-2023-51764): the rest would be another message."""
    data = b"Subject: x\r\n\r\nhello" + end + b"MAIL FROM:<admin@example.org>\r\n.\r\n"
    for pieces in ([data], one_by_one(data)):
        passed, done, _, reply = take(pieces)
        assert not done
        assert reply.startswith("554 5.6.0 Message with")
        assert b"MAIL" not in passed


@pytest.mark.parametrize("data", [b"x" * 999 + b"\r\n", b"x" * 1200, b"." + b"x" * 999 + b"\r\n"])
def test_long_lines(data: bytes) -> None:
    assert take([data])[3] == take(one_by_one(data))[3] == "554 5.6.0 Line too long"


@pytest.mark.parametrize(("size", "passes"), [(10, False), (11, True), (12, True)])
def test_the_size(size: int, passes: bool) -> None:
    """RFC 1870, 6.1: CRLF counts, the stuffing dot and the end do not."""
    data = b"1234\r\n..78\r\n.\r\n"
    for pieces in ([data], one_by_one(data)):
        told = take(pieces, Limits(size, 1000, None, None))
        assert (told[1], told[3]) == (passes, "" if passes else "552 5.3.4 Message too big")


def test_the_size_is_noticed_before_the_line_ends() -> None:
    assert take([b"x" * 50], Limits(49, 1000, None, None))[3] == "552 5.3.4 Message too big"


WORDS = Limits(0, 1000, re.compile(rb"^subject:.*casino", re.IGNORECASE), re.compile(rb"secret", re.IGNORECASE))


@pytest.mark.parametrize(
    ("data", "passes"),
    [
        (b"Subject: hello\r\n\r\nworld\r\n.\r\n", True),
        (b"Subject: Casino\r\n\r\nworld\r\n.\r\n", False),
        (b"Subject: a\r\n casino\r\n\r\nworld\r\n.\r\n", False),
        (b"Subject: ca\r\nX: sino\r\n\r\nworld\r\n.\r\n", True),
        (b"Subject: casino\r\n.\r\n", False),
        (b"Subject: hello\r\n.\r\n", True),
        (b"Subject: secret\r\n\r\nworld\r\n.\r\n", True),
        (b"A: b\r\n\r\na SECRET\r\n.\r\n", False),
        (b"A: b\r\n\r\n..secret\r\n.\r\n", False),
        (b"A: b\r\n\r\nSubject: casino\r\n.\r\n", True),
        (b".\r\n", True),
    ],
)
def test_words(data: bytes, passes: bool) -> None:
    for pieces in ([data], one_by_one(data)):
        passed, done, rest, reply = take(pieces, WORDS)
        if passes:
            assert (passed, done, rest, reply) == (data, True, b"", "")
        else:
            assert (done, reply) == (False, "554 5.7.1 Message refused by policy")
            assert not re.search(rb"casino|secret", passed, re.IGNORECASE)


def test_a_header_field_is_bounded() -> None:
    data = b"Subject: x\r\n" + b" y\r\n" * (MOST_IN_FIELD // 2)
    assert take([data], WORDS)[3] == "554 5.6.0 Header field too long"


PARTS = st.sampled_from(
    [b"\r\n", b".", b"a", b"Subject: casino", b"secret", b"\r\n.\r\n", b"..", b"\n", b"\r", b"\x00"]
)


@given(data=st.lists(PARTS, max_size=12).map(b"".join), cuts=st.lists(st.integers(0, 60), max_size=4))
@pytest.mark.parametrize("limits", [OPEN, WORDS, Limits(20, 82, None, None)])
def test_every_cut_is_the_same(limits: Limits, data: bytes, cuts: list[int]) -> None:
    """What passes before a refusal may differ; that nothing passes behind it, and the refusal, may not."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    whole, cut = take([data], limits), take(pieces, limits)
    assert (whole[1] and not whole[3]) == (cut[1] and not cut[3])
    if whole[1] and not whole[3]:
        assert whole == cut
    assert data.startswith(whole[0])
    assert data.startswith(cut[0])
