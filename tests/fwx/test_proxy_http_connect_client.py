"""HTTP CONNECT towards an upstream: what is sent, what each answer means, and lies."""

from __future__ import annotations

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces import SocketAddress
from fwx.proxy.http_connect import HttpConnectCodec
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.request import LONGEST_HANDSHAKE, Outcome
from fwx.proxy.upstream import Account, UpstreamError
from tests.fwx.targets import addresses, plain

TARGET = SocketAddress("www.example.org", 443)
ACCOUNT = Account("branch", "pä:ssword")
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


def asked(account: Account | None = None, target: SocketAddress = TARGET) -> HttpConnectClient:
    client = HttpConnectClient(target, account)
    client.start()
    return client


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        ("www.example.org:443", b"www.example.org:443"),
        ("192.0.2.1:80", b"192.0.2.1:80"),
        ("[2001:db8::1]:80", b"[2001:db8::1]:80"),
        ("bücher.example:80", b"xn--bcher-kva.example:80"),
    ],
)
def test_the_request(target: str, authority: bytes) -> None:
    """RFC 9110 section 9.3.6, RFC 9112 section 3.2.3."""
    sent = HttpConnectClient(SocketAddress.parse(target)).start()
    assert sent == b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n"


def test_the_account() -> None:
    """RFC 7617, in UTF-8."""
    sent = HttpConnectClient(TARGET, ACCOUNT).start()
    assert b"\r\nProxy-Authorization: Basic YnJhbmNoOnDDpDpzc3dvcmQ=\r\n" in sent
    with pytest.raises(ValueError, match="colon"):
        HttpConnectClient(TARGET, Account("a:b", "c"))


@pytest.mark.parametrize("host", ["a" * 64, "two words", "a\r\nX-Injected: b", "127.1"])
def test_what_nobody_can_be_asked_for(host: str) -> None:
    client = HttpConnectClient(SocketAddress(host, 80))
    with pytest.raises(socket.gaierror):
        client.start()
    assert client.on_target


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    "head",
    [
        OK,
        b"HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy/1.11\r\n\r\n",
        b"HTTP/1.1 299 \r\n\r\n",
        # framing says nothing in a success (RFC 9110 section 9.3.6)
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["plain", "1.0", "no phrase", "length", "chunked", "interim"],
)
def test_established(head: bytes, size: int) -> None:
    client = asked()
    data = head + b"220 ready"
    at = 0
    while not client.established:
        assert client.receive(data[at : at + size]) == b""
        at += size
    assert client.early + data[at:] == b"220 ready"


@pytest.mark.parametrize(
    ("status", "number", "on_target"),
    [
        (403, errno.EACCES, True),
        (404, errno.EHOSTUNREACH, True),
        (500, errno.EHOSTUNREACH, True),
        (502, errno.EHOSTUNREACH, True),
        (503, errno.EHOSTUNREACH, True),
        (504, errno.ETIMEDOUT, True),
        (408, errno.ETIMEDOUT, True),
        (301, errno.EPROTO, False),
        (400, errno.EPROTO, False),
        (405, errno.EPROTO, False),
        (600, errno.EPROTO, False),
    ],
)
def test_refusals(status: int, number: int, on_target: bool) -> None:
    """What the kernel would have said; the upstream's own phrase is not for the log."""
    client = asked()
    with pytest.raises(UpstreamError, match=f"HTTP status {status}") as failure:
        client.receive(f"HTTP/1.1 {status} Phrase\x1bof its own\r\nContent-Length: 9\r\n\r\nwhy".encode())
    assert (failure.value.errno, client.on_target, client.established) == (number, on_target, False)
    assert "own" not in failure.value.strerror


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("fwx; error=connection_refused", errno.ECONNREFUSED),
        ("fwx; error=http_request_denied", errno.EACCES),
        ("fwx; error=connection_timeout", errno.ETIMEDOUT),
        ('far; error=connection_refused; details="x", near; error=proxy_internal_error', errno.ECONNREFUSED),
        ("near; error=something_new", errno.EHOSTUNREACH),
        ("near", errno.EHOSTUNREACH),
    ],
)
def test_proxy_status(field: str, number: int) -> None:
    """RFC 9209: it says more than the status; the first member is the nearest to the target."""
    with pytest.raises(UpstreamError) as failure:
        asked().receive(f"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: {field}\r\n\r\n".encode())
    assert failure.value.errno == number


def test_a_name_that_the_upstream_cannot_resolve() -> None:
    with pytest.raises(socket.gaierror, match="dns_error") as failure:
        asked().receive(b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: fwx; error=dns_error\r\n\r\n")
    assert failure.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (None, "it wants a user name and password (HTTP status 407)"),
        (
            ACCOUNT,
            "it refuses the password of user 'branch', or wants another method than Basic (HTTP status 407)",
        ),
    ],
)
@pytest.mark.parametrize("status", [401, 407])
def test_refused_accounts(account: Account | None, words: str, status: int) -> None:
    """tinyproxy says 401 of a wrong password."""
    client = asked(account)
    words = words.replace("407", str(status))
    with pytest.raises(UpstreamError) as failure:
        client.receive(b'HTTP/1.1 %d No\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n' % status)
    assert (failure.value.errno, failure.value.strerror, client.on_target) == (errno.EACCES, words, False)
    assert ACCOUNT.password not in repr(failure.value)


@pytest.mark.parametrize(
    "said",
    [
        b"\x05\x00",
        b"220 smtp.example ESMTP\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Too low\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST_HANDSHAKE + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * LONGEST_HANDSHAKE,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 1000,
        b"\r\n" * LONGEST_HANDSHAKE,
    ],
    ids=range(10),
)
@pytest.mark.parametrize("size", [1, 1024, 100_000])
def test_lies(said: bytes, size: int) -> None:
    client = asked(ACCOUNT)

    def say() -> None:
        for at in range(0, len(said), size):
            client.receive(said[at : at + size])
            assert not client.established
        client.receive(b"\r\n\r\n")

    with pytest.raises(UpstreamError) as failure:
        say()
    assert (failure.value.errno, client.on_target) == (errno.EPROTO, False)


@given(addresses, st.binary(max_size=64), st.integers(1, 64))
def test_it_understands_our_own_server(target: SocketAddress, early: bytes, size: int) -> None:
    """Both codecs in one room, whatever the pieces."""
    client, server = HttpConnectClient(target, ACCOUNT), HttpConnectCodec()
    sending = client.start()
    for at in range(0, len(sending), size):
        server.receive(sending[at : at + size])
    assert server.request is not None
    assert plain(server.request.target) == plain(target)
    reply = server.succeeded(SocketAddress("127.0.0.1", 1))
    for at in range(0, len(reply), size):
        client.receive(reply[at : at + size] + (early if at + size >= len(reply) else b""))
    assert client.established
    assert client.early == early


@pytest.mark.parametrize(
    ("outcome", "number"),
    [
        (Outcome.DENIED, errno.EACCES),
        (Outcome.CONNECTION_REFUSED, errno.ECONNREFUSED),
        (Outcome.NETWORK_UNREACHABLE, errno.EHOSTUNREACH),
        (Outcome.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (Outcome.NAME_NOT_FOUND, socket.EAI_NONAME),
        (Outcome.TIMED_OUT, errno.ETIMEDOUT),
        (Outcome.BUSY, errno.EHOSTUNREACH),
        (Outcome.FAILED, errno.EHOSTUNREACH),
    ],
)
def test_our_own_servers_refusals(outcome: Outcome, number: int) -> None:
    """Another fwx tells the next one what its client would have been told (B8.2)."""
    client = asked()
    with pytest.raises(OSError) as failure:  # noqa: PT011  its number is looked at
        client.receive(HttpConnectCodec().refused(outcome))
    assert (failure.value.errno, client.on_target) == (number, True)


@given(st.binary(max_size=300).map(lambda tail: b"HTTP/1.1 " + tail) | st.binary(max_size=300), st.integers(1, 50))
def test_garbage(said: bytes, size: int) -> None:
    """Whatever an upstream says: an answer, a refusal, or more is awaited."""
    client = asked()
    for at in range(0, len(said), size):
        try:
            client.receive(said[at : at + size])
        except OSError:
            break
        if client.established:
            break
