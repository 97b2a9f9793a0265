"""SOCKS5 towards an upstream: what is sent, what each answer means, and lies."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces import SocketAddress
from fwx.proxy.request import Outcome
from fwx.proxy.socks5 import Socks5Codec
from fwx.proxy.socks5_client import Socks5Client
from fwx.proxy.socks5_codes import BIND
from fwx.proxy.upstream import Account, UpstreamError
from tests.fwx.targets import addresses, plain

TARGET = SocketAddress("192.0.2.1", 443)
ACCOUNT = Account("branch", "pässword")
GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"
LOGIN = b"\x01\x06branch\x09p\xc3\xa4ssword"
BOUND = b"\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38"


def talk(client: Socks5Client, data: bytes, size: int = 1) -> bytes:
    """Give *data* in pieces of *size*; return all that the client sent."""
    sent = client.start()
    for start in range(0, len(data), size):
        sent += client.receive(data[start : start + size])
    return sent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("account", "said", "sent"),
    [
        (None, b"\x05\x00", GREETING + REQUEST),
        (ACCOUNT, b"\x05\x02\x01\x00", b"\x05\x02\x00\x02" + LOGIN + REQUEST),
        # where the upstream wants none, it does not get the password
        (ACCOUNT, b"\x05\x00", b"\x05\x02\x00\x02" + REQUEST),
    ],
    ids=["no account", "account", "account not wanted"],
)
def test_the_conversation(account: Account | None, said: bytes, sent: bytes, size: int) -> None:
    """RFC 1928 sections 3 to 6, RFC 1929, in pieces of any size; what follows the reply is the server's."""
    client = Socks5Client(TARGET, account)
    assert talk(client, said, size) == sent
    assert (client.established, client.on_target) == (False, True)
    data, at = BOUND + b"220 ready", 0
    while not client.established:
        assert client.receive(data[at : at + size]) == b""
        at += size
    assert client.bound == SocketAddress("10.0.0.1", 1080)
    assert client.early + data[at:] == b"220 ready"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("192.0.2.1:80", b"\x01\xc0\x00\x02\x01"),
        ("[2001:db8::1]:80", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("www.example.org:80", b"\x03\x0fwww.example.org"),
        ("bücher.example:80", b"\x03\x15xn--bcher-kva.example"),
        ("a" * 63 + ".b" * 90 + ":80", b"\x03\xf3" + b"a" * 63 + b".b" * 90),
    ],
)
def test_targets(target: str, host: bytes) -> None:
    sent = talk(Socks5Client(SocketAddress.parse(target)), b"\x05\x00")
    assert sent == GREETING + b"\x05\x01\x00" + host + b"\x00\x50"


@pytest.mark.parametrize("host", ["a" * 64, "a." * 127 + "aa", "two words", "a\r\nb", "127.1", "ü" * 70, "é..x"])
def test_what_nobody_can_be_asked_for(host: str) -> None:
    client = Socks5Client(SocketAddress(host, 80))
    with pytest.raises(socket.gaierror) as failure:
        client.start()
    assert failure.value.errno == socket.EAI_NONAME
    assert client.on_target


@pytest.mark.parametrize(
    ("reply", "bound"),
    [
        (b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", SocketAddress("127.0.0.1", 80)),
        (b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x00\x50", SocketAddress("::1", 80)),
        (b"\x05\x00\x00\x03\x04here\x00\x50", None),
        (b"\x05\x00\x00\x03\x00\x00\x50", None),
        (b"\x05\x00\x00\x03\xff" + bytes(255) + b"\x00\x50", None),
        (b"\x05\x00\x07\x01\x00\x00\x00\x00\x00\x00", SocketAddress("0.0.0.0", 0)),
    ],
    ids=["IPv4", "IPv6", "name", "empty name", "longest name", "reserved byte"],
)
@pytest.mark.parametrize("early", [b"", b"\x05\x00", bytes(4000)])
def test_replies(reply: bytes, bound: SocketAddress | None, early: bytes) -> None:
    client = Socks5Client(TARGET)
    talk(client, b"\x05\x00")
    client.receive(reply + early)
    assert (client.established, client.bound, client.early) == (True, bound, early)


@pytest.mark.parametrize(
    ("code", "number", "on_target"),
    [
        (1, errno.EHOSTUNREACH, True),
        (2, errno.EACCES, True),
        (3, errno.ENETUNREACH, True),
        (4, errno.EHOSTUNREACH, True),
        (5, errno.ECONNREFUSED, True),
        (6, errno.ETIMEDOUT, True),
        (7, errno.EPROTO, False),
        (8, errno.EAFNOSUPPORT, True),
        (9, errno.EPROTO, False),
        (0xFF, errno.EPROTO, False),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\x00\x01\x00\x00\x00\x00\x00\x00"], ids=["cut", "whole"])
def test_refusals(code: int, number: int, on_target: bool, rest: bytes) -> None:
    """RFC 1928 section 6: what the kernel would have said; the code is enough, some servers send no more."""
    client = Socks5Client(TARGET)
    talk(client, b"\x05\x00")
    with pytest.raises(UpstreamError, match=f"SOCKS5 reply 0x{code:02x}") as failure:
        client.receive(bytes((5, code)) + rest)
    assert (failure.value.errno, client.on_target, client.established) == (number, on_target, False)


@pytest.mark.parametrize(
    ("said", "number", "words"),
    [
        (b"\x04\x00", errno.EPROTO, "its answer starts with 0x04, which is no SOCKS5"),
        (b"HTTP/1.1 400", errno.EPROTO, "its answer starts with 0x48, which is no SOCKS5"),
        (b"\x05\x01", errno.EPROTO, "it chose the SOCKS5 method 0x01, which was not offered"),
        (b"\x05\x80", errno.EPROTO, "it chose the SOCKS5 method 0x80, which was not offered"),
        (b"\x05\xff", errno.EACCES, "it takes no user name and password (SOCKS5 method 0xff)"),
        (b"\x05\x02\x05\x00", errno.EPROTO, "its answer to the user name starts with 0x05, not 01"),
        (b"\x05\x02\x01\x01", errno.EACCES, "it refuses the password of user 'branch'"),
        (b"\x05\x02\x01\xff", errno.EACCES, "it refuses the password of user 'branch'"),
    ],
)
def test_lies_and_refused_accounts(said: bytes, number: int, words: str) -> None:
    """They are the upstream's own matter, and no word of the password is told."""
    for size in (1, 100):
        client = Socks5Client(TARGET, ACCOUNT)
        with pytest.raises(UpstreamError) as failure:
            talk(client, said, size)
        assert (failure.value.errno, failure.value.strerror) == (number, words)
        assert not client.on_target
        assert ACCOUNT.password not in f"{failure.value!r} {client!r} {ACCOUNT!r}"


@pytest.mark.parametrize("said", [b"\x05\x02", b"\x05\xff"])
def test_an_account_is_missing(said: bytes) -> None:
    client = Socks5Client(TARGET)
    with pytest.raises(UpstreamError) as failure:
        talk(client, said)
    assert failure.value.errno == (errno.EPROTO if said[1] == 2 else errno.EACCES)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"\x04", "its reply starts with 0x04, not 05"),
        (b"\x00\x5a", "its reply starts with 0x00, not 05"),
        (b"\x05\x00\x00\x02\x00", "its reply has the address type 0x02"),
        (b"\x05\x00\x00\x00\x00", "its reply has the address type 0x00"),
    ],
)
def test_a_reply_that_makes_no_sense(reply: bytes, words: str) -> None:
    client = Socks5Client(TARGET)
    talk(client, b"\x05\x00")
    with pytest.raises(UpstreamError, match=words) as failure:
        client.receive(reply)
    assert (failure.value.errno, client.on_target) == (errno.EPROTO, False)


@pytest.mark.parametrize("account", [("", "x"), ("u", ""), ("u" * 256, "x"), ("u", "ü" * 128)])
def test_accounts_that_do_not_fit(account: tuple[str, str]) -> None:
    """RFC 1929: one byte for each length."""
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        Socks5Client(TARGET, Account(*account))
    assert Socks5Client(TARGET, Account("u" * 255, "ü" * 127)).start() == b"\x05\x02\x00\x02"


bound_addresses = st.builds(
    SocketAddress,
    st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)),
    st.integers(0, 0xFFFF),
)


@given(addresses, bound_addresses, st.binary(max_size=64), st.integers(1, 32))
def test_it_understands_our_own_server(target: SocketAddress, bound: SocketAddress, early: bytes, size: int) -> None:
    """Both codecs in one room, whatever the pieces."""
    client, server = Socks5Client(target), Socks5Codec()
    sending = client.start()
    while server.request is None:
        answers = b"".join(server.receive(sending[at : at + size]) for at in range(0, len(sending), size))
        sending = b"" if server.request is not None else client.receive(answers)
    assert plain(server.request.target) == plain(target)
    assert server.request.early == b""
    reply = server.succeeded(bound)
    for at in range(0, len(reply), size):
        client.receive(reply[at : at + size] + (early if at + size >= len(reply) else b""))
    assert client.established
    assert client.bound is not None
    assert plain(client.bound) == plain(bound)
    assert client.early == early


@pytest.mark.parametrize("outcome", Outcome)
def test_our_own_servers_refusals(outcome: Outcome) -> None:
    client = Socks5Client(TARGET)
    talk(client, b"\x05\x00")
    with pytest.raises(UpstreamError):
        client.receive(Socks5Codec().refused(outcome))


@given(st.binary(max_size=600), st.integers(1, 50), st.booleans())
def test_garbage(said: bytes, size: int, has_account: bool) -> None:
    """Whatever an upstream says: an answer, a refusal, or more is awaited; what is held stays small."""
    client = Socks5Client(TARGET, ACCOUNT if has_account else None)
    client.start()
    for at in range(0, len(said), size):
        try:
            client.receive(said[at : at + size])
        except UpstreamError:
            break
        assert len(client._buffer) <= 262 + size
        if client.established:
            break


PEER_COMES = b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x00\x14"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("target", [TARGET, SocketAddress("0.0.0.0", 0), SocketAddress("::1", 0)], ids=str)
def test_bind(target: SocketAddress, size: int) -> None:
    """RFC 1928 section 6: two replies, in pieces of any size; what follows the second one is the peer's."""
    client = Socks5Client(target, None, BIND)
    assert talk(client, b"\x05\x00", size).startswith(GREETING + b"\x05\x02\x00")
    data, at, bound = BOUND + PEER_COMES + b"220 ready", 0, []
    for _ in range(2):
        while not client.established:
            assert client.receive(data[at : at + size]) == b""
            at += size
        bound.append(client.bound)
        if len(bound) == 1:
            client.expect_peer()
    assert bound == [SocketAddress("10.0.0.1", 1080), SocketAddress("::1", 20)]
    assert client.early + data[at:] == b"220 ready"


@pytest.mark.parametrize(
    ("second", "number"),
    [(b"\x05\x06\x00\x01" + bytes(6), errno.ETIMEDOUT), (b"\x05\x05", errno.ECONNREFUSED), (b"HTTP", errno.EPROTO)],
)
@pytest.mark.parametrize("together", [True, False])
def test_nobody_comes(second: bytes, number: int, together: bool) -> None:
    client = Socks5Client(TARGET, None, BIND)
    talk(client, b"\x05\x00", 2)
    client.receive(BOUND + second * together)
    with pytest.raises(UpstreamError) as caught:  # noqa: PT012  either call may say it
        client.expect_peer()
        client.receive(second)
    assert caught.value.errno == number
    assert not client.established
