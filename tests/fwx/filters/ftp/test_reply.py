"""The replies of FTP: where one ends, and which data port it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.dialogue import ReplyError
from fwx.filters.ftp.reply import (
    MOST_IN_LINE,
    MOST_IN_REPLY,
    Replies,
    Reply,
    extended_port,
    passive_address,
)


def take(pieces: list[bytes]) -> tuple[list[bytes], str]:
    replies, taken = Replies(), []
    for piece in pieces:
        replies.feed(piece)
        try:
            while (reply := replies.next()) is not None:
                taken.append(bytes(reply))
        except ReplyError as error:
            return taken, str(error)
    return taken, ""


@pytest.mark.parametrize(
    "whole",
    [
        b"220 ready\r\n",
        b"220\r\n",
        b"211-Features:\r\n MDTM\r\n220 is a feature\r\n211-so is this\r\n2110\r\n211 End\r\n",
        b"230-hello\r\n\r\n230 \xc3\xbc\r\n",
        b"226-x\r\n226\r\n",
    ],
)
def test_a_reply(whole: bytes) -> None:
    data = whole + b"150 next\r\n"
    for place in range(len(data)):
        assert take([data[:place], data[place:]]) == ([whole, b"150 next\r\n"], "")
    assert take([data[place : place + 1] for place in range(len(data))]) == ([whole, b"150 next\r\n"], "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello\r\n", "no reply"),
        (b"22 x\r\n", "no reply"),
        (b"700 x\r\n", "no reply"),
        (b"2200 x\r\n", "no reply"),
        (b" 220 x\r\n", "no reply"),
        (b"220 x\n", "a bare LF"),
        (b"220-x\r\nbare\rCR\r\n220 x\r\n", "a bare CR"),
        (b"220 \x00\r\n", "a NUL"),
        (b"220 " + b"x" * MOST_IN_LINE, f"more than {MOST_IN_LINE} bytes"),
        (b"213-x\r\n" + b"y" * 998 + b"\r\n", ""),
        (b"213-x\r\n" + (b"y" * 998 + b"\r\n") * (MOST_IN_REPLY // 1000 + 1), f"more than {MOST_IN_REPLY} bytes"),
    ],
)
def test_no_reply(data: bytes, words: str) -> None:
    taken, wrong = take([data])
    assert taken == []
    assert words in wrong


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"227 Entering Passive Mode (192,0,2,1,4,1).", ("192.0.2.1", 1025)),
        (b"227 Entering Passive Mode 192,0,2,1,4,1", ("192.0.2.1", 1025)),
        (b"227 =192,0,2,1,255,255", ("192.0.2.1", 65535)),
        (b"227 Entering Passive Mode (192,0,2,1,4)", None),
        (b"227 Entering Passive Mode (192,0,2,1,4,1,1)", None),
        (b"227 Entering Passive Mode (192,0,2,256,4,1)", None),
        (b"227 Entering Passive Mode (192,0,2,010,4,1)", None),
        (b"227 Entering Passive Mode (192,0,2,1,0,0)", None),
        (b"227 Entering Passive Mode", None),
    ],
)
def test_passive(line: bytes, found: tuple[str, int] | None) -> None:
    assert passive_address(Reply(227, [line])) == found


@pytest.mark.parametrize(
    ("line", "port"),
    [
        (b"229 Entering Extended Passive Mode (|||6446|)", 6446),
        (b"229 (!!!1!)", 1),
        (b"229 (|||0|)", None),
        (b"229 (|||65536|)", None),
        (b"229 (|||06446|)", None),
        (b"229 (|1|192.0.2.9|6446|)", None),
        (b"229 (||192.0.2.9|6446|)", None),
        (b"229 |||6446|", None),
        (b"229 (|||6446!)", None),
    ],
)
def test_extended(line: bytes, port: int | None) -> None:
    assert extended_port(Reply(229, [line])) == port


@given(
    data=st.lists(st.sampled_from([b"220", b"-", b" ", b"x", b"\r\n", b"\r", b"\n", b"227 "]), max_size=14).map(
        b"".join
    )
)
def test_every_cut_is_the_same(data: bytes) -> None:
    whole = take([data])
    for place in range(len(data)):
        assert take([data[:place], data[place:]]) == whole


@given(text=st.binary(max_size=60))
def test_anything_names_a_port_or_none(text: bytes) -> None:
    found = passive_address(Reply(227, [b"227 " + text]))
    assert found is None or 0 < found[1] < 65536
    assert 0 < (extended_port(Reply(229, [b"229 " + text])) or 1) < 65536
