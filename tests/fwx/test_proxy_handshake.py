"""The proxy port's handshake whatever the protocol: recognition, splitting, hostile input."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwx.interfaces.address import SocketAddress
from fwx.proxy import HandshakeError, Outcome, ProxyHandshake, ProxyRequest
from fwx.proxy.request import LONGEST_HANDSHAKE

EARLY = b"\x16\x03\x01\x02\x00\x01\r\n\r\nearly"

CONVERSATIONS = {
    "SOCKS5 IPv4": b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50",
    "SOCKS5 IPv6": b"\x05\x02\x02\x00\x05\x01\x00\x04" + bytes(15) + b"\x01\x01\xbb",
    "SOCKS5 name": b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x01\xbb",
    "SOCKS5 BIND": b"\x05\x01\x00\x05\x02\x00\x01\xc0\x00\x02\x01\x00\x00",
    "SOCKS5 BIND for a name": b"\x05\x01\x00\x05\x02\x00\x03\x0bexample.com\x00\x00",
    "SOCKS4 BIND": b"\x04\x02\x00\x00\xc0\x00\x02\x01me\x00",
    "SOCKS4": b"\x04\x01\x00\x50\xc0\x00\x02\x01me\x00",
    "SOCKS4a": b"\x04\x01\x01\xbb\x00\x00\x00\x07\x00example.com\x00",
    "HTTP CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\n\r\n",
    "HTTP CONNECT 1.0": b"CONNECT [::1]:22 HTTP/1.0\r\n\r\n",
}

REFUSED = {
    "no method": b"\x05\x02\x01\x02",
    "UDP for a name": b"\x05\x01\x00\x05\x03\x00\x03\x01a\x00\x50",
    "bad name": b"\x05\x01\x00\x05\x01\x00\x03\x03a b\x01\xbb",
    "bare LF": b"CONNECT a:1 HTTP/1.1\r\nHost: a\n\r\n",
    "bare CR": b"CONNECT a:1 HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    "folded": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "bad target": b"CONNECT example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "bad header": b"CONNECT a:1 HTTP/1.1\r\nHost : a\r\n\r\n",
    "long head": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * LONGEST_HANDSHAKE,
    "SOCKS4 long user": b"\x04\x01\x00\x50\xc0\x00\x02\x01" + b"u" * 256,
}

chunks = st.lists(st.binary(max_size=600), max_size=12)
#: Random bytes that start like a protocol, so that they get past the first byte.
likely = st.builds(
    lambda start, rest: [start, *rest],
    st.sampled_from(
        [
            *(
                b"\x05",
                b"\x05\x01\x00",
                b"\x05\x01\x00\x05\x01\x00\x03",
                b"\x05\x01\x00\x05\x02\x00",
                b"CONNECT ",
                b"CONNECT a:1 HTTP/1.1\r\n",
            ),
            *(b"\x04\x01\x00\x50", b"\x04\x01\x00\x50\x00\x00\x00\x01"),
        ]
    ),
    chunks,
)


def converse(pieces: list[bytes]) -> tuple[ProxyRequest | None, bytes, bytes, str]:
    """Feed *pieces* to a handshake: request, bytes sent, bytes for the server, and the reason if it fails.

    What comes after the request goes to the server, as the service does it.
    """
    handshake = ProxyHandshake()
    sent = after = b""
    for piece in pieces:
        if handshake.request is not None:
            after += piece
            continue
        if handshake.forward is not None:
            return None, sent, b"", "plain HTTP"
        try:
            sent += handshake.receive(piece)
        except HandshakeError as error:
            return None, sent + error.reply, b"", error.reason
    if handshake.request is None:
        return None, sent, b"", ""
    request = handshake.request
    return request, sent, request.early + after, ""


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def without_early(request: ProxyRequest | None) -> tuple[object, ...]:
    assert request is not None
    return request.protocol, request.command, request.target, request.agent


def assert_same_conversation(data: bytes, pieces: list[bytes]) -> None:
    whole, in_pieces = converse([data + EARLY]), converse([*pieces, EARLY])
    assert without_early(in_pieces[0]) == without_early(whole[0])
    assert in_pieces[1:] == whole[1:]
    assert whole[2] == EARLY


@pytest.mark.parametrize("data", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_byte_by_byte(data: bytes) -> None:
    assert_same_conversation(data, [data[i : i + 1] for i in range(len(data))])


@pytest.mark.parametrize("data", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_every_truncation_is_noticed(data: bytes) -> None:
    for end in range(len(data)):
        handshake = ProxyHandshake()
        handshake.receive(data[:end])
        assert handshake.request is None
        with pytest.raises(HandshakeError, match=r"^the client closed before "):
            handshake.eof()


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refusals_byte_by_byte(data: bytes) -> None:
    whole = converse([data])
    assert whole[3]
    assert converse([data[i : i + 1] for i in range(len(data))]) == whole


@given(st.sampled_from(list(CONVERSATIONS.values())), st.lists(st.integers(min_value=0), max_size=8))
def test_any_split_gives_the_same(data: bytes, cuts: list[int]) -> None:
    assert_same_conversation(data, split(data, cuts))
    everything = data + EARLY
    assert converse(split(everything, cuts))[1:] == converse([everything])[1:]


@given(chunks | likely)
@example([b"\x05\x01\x00\x05\x01\x00\x03\x04::1\0\x00\x50"])
@example([b"CONNECT \xff:1 HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_hostile_input_gives_a_request_or_a_handshake_error(pieces: list[bytes]) -> None:
    request, sent, early, _ = converse(pieces)
    assert early == b"" or request is not None
    assert sent.startswith((b"\x05", b"HTTP/1.1 4", b"HTTP/1.1 5", b"\x00\x5b")) or sent == b""


@pytest.mark.parametrize(
    ("data", "reason", "reply"),
    [
        (b"\x16\x03\x01\x02\x00", "TLS (first byte 0x16) on the proxy port", b""),
        (b"\x00", "first byte 0x00 is neither SOCKS nor HTTP", b""),
        (b"\r\nCONNECT a:1 HTTP/1.1\r\n\r\n", "first byte 0x0d is neither SOCKS nor HTTP", b""),
        (b"\xe9", "first byte 0xe9 is neither SOCKS nor HTTP", b""),
    ],
)
def test_other_protocols(data: bytes, reason: str, reply: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        ProxyHandshake().receive(data)
    assert caught.value.reason.startswith(reason)
    assert caught.value.reply == reply


def test_nothing_received() -> None:
    handshake = ProxyHandshake()
    assert handshake.receive(b"") == b""
    with pytest.raises(HandshakeError, match=r"^the client closed before it sent anything$"):
        handshake.eof()


def test_nothing_is_taken_after_the_request() -> None:
    handshake = ProxyHandshake()
    handshake.receive(CONVERSATIONS["SOCKS5 IPv4"])
    with pytest.raises(RuntimeError, match="handshake is over"):
        handshake.receive(b"x")


def test_nothing_is_taken_after_a_failure() -> None:
    handshake = ProxyHandshake()
    with pytest.raises(HandshakeError):
        handshake.receive(b"\x05\x00")
    with pytest.raises(RuntimeError, match="handshake is over"):
        handshake.receive(CONVERSATIONS["SOCKS5 IPv4"])


def test_no_reply_without_a_request() -> None:
    handshake = ProxyHandshake()
    handshake.receive(b"\x05")
    with pytest.raises(RuntimeError, match="no request"):
        handshake.succeeded(SocketAddress("192.0.2.1", 1))
    with pytest.raises(RuntimeError, match="no request"):
        handshake.refused(Outcome.FAILED)


@pytest.mark.parametrize("data", [b"GET http://a/ HTTP/1.1", b"CONNECTED", b"CO\r", b"connect a:1 HTTP/1.1", b"x"])
def test_plain_http_is_no_handshake(data: bytes) -> None:
    """It is told from CONNECT as soon as it can be, and nothing that was read is lost."""
    handshake = ProxyHandshake()
    sent = b""
    for number in range(len(data)):
        sent += data[number : number + 1]
        assert handshake.receive(data[number : number + 1]) == b""
        if handshake.forward is not None:
            break
    assert handshake.forward == sent
    assert handshake.request is None
    with pytest.raises(RuntimeError, match="handshake is over"):
        handshake.receive(b"x")


def test_the_start_of_connect_is_awaited() -> None:
    handshake = ProxyHandshake()
    handshake.receive(b"CONN")
    with pytest.raises(HandshakeError, match="closed before its HTTP request head was complete"):
        handshake.eof()
