"""Passwords on the proxy port: RFC 1929 within SOCKS5, Basic authentication with CONNECT."""

from __future__ import annotations

from base64 import b64encode
from typing import Literal

import h11
import pytest

from fwx.interfaces.address import SocketAddress
from fwx.proxy import AuthenticationError, Credentials, HandshakeError, Outcome, ProxyHandshake

BOTH, NONE, PASSWORD = b"\x05\x02\x00\x02", b"\x05\x01\x00", b"\x05\x01\x02"
TARGET = SocketAddress("192.0.2.1", 80)
REQUEST = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"


def password(user: bytes, secret: bytes) -> bytes:
    return b"\x01" + bytes((len(user),)) + user + bytes((len(secret),)) + secret


def connect(*lines: bytes) -> bytes:
    return b"\r\n".join((b"CONNECT 192.0.2.1:80 HTTP/1.1", b"Host: x", *lines)) + b"\r\n\r\n"


def basic(pair: bytes) -> bytes:
    return b"Proxy-Authorization: Basic " + b64encode(pair)


def refusal(data: bytes, demand: Literal["off", "optional", "required"] = "required") -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        ProxyHandshake(demand).receive(data)
    return caught.value


CREDENTIALS = {
    "plain": (b"ann", b"secret", Credentials("ann", b"secret")),
    "UTF-8": ("zoë".encode(), "gehëim".encode(), Credentials("zoë", "gehëim".encode())),
    "Latin-1": (b"zo\xeb", b"\xff\xfe", Credentials("zoë", b"\xff\xfe")),
    "a colon in the password": (b"ann", b"a:b", Credentials("ann", b"a:b")),
    "no password": (b"ann", b"", Credentials("ann", b"")),
    "nothing": (b"", b"", Credentials("", b"")),
    "longest": (b"u" * 255, b"p" * 255, Credentials("u" * 255, b"p" * 255)),
}


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(("user", "secret", "credentials"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_socks5(user: bytes, secret: bytes, credentials: Credentials, step: int) -> None:
    """The request may come with the password or after it; it is looked at when the password was found right."""
    handshake = ProxyHandshake("required")
    data = PASSWORD + password(user, secret)
    sent = b"".join(handshake.receive(data[at : at + step]) for at in range(0, len(data), step))
    assert sent == b"\x05\x02"
    assert handshake.credentials == credentials
    assert handshake.request is None
    with pytest.raises(RuntimeError, match="no more data is expected"):
        handshake.receive(b"x")
    assert handshake.accepted() == b"\x01\x00"
    assert handshake.credentials is None
    assert handshake.receive(REQUEST + b"early") == b""
    assert handshake.request is not None
    assert (handshake.request.target, handshake.request.early) == (TARGET, b"early")


def test_socks5_all_at_once() -> None:
    handshake = ProxyHandshake("required")
    assert handshake.receive(PASSWORD + password(b"a", b"b") + REQUEST + b"early") == b"\x05\x02"
    assert handshake.request is None
    assert handshake.accepted() == b"\x01\x00"
    assert handshake.request is not None
    assert handshake.request.early == b"early"


def test_socks5_rejected() -> None:
    """RFC 1929 section 2: a status other than 0, and the end."""
    handshake = ProxyHandshake("required")
    handshake.receive(PASSWORD + password(b"a", b"b") + REQUEST)
    assert handshake.rejected() == b"\x01\x01"
    assert handshake.request is None
    for call in (handshake.rejected, handshake.accepted):
        with pytest.raises(RuntimeError, match="no credentials"):
            call()
    with pytest.raises(RuntimeError, match="no more data"):
        handshake.receive(REQUEST)


def test_a_bad_request_behind_a_right_password() -> None:
    handshake = ProxyHandshake("required")
    handshake.receive(PASSWORD + password(b"a", b"b") + b"\x05\x09\x00\x01")
    with pytest.raises(HandshakeError, match="command 0x09") as caught:
        handshake.accepted()
    assert caught.value.reply == b"\x01\x00\x05\x07\x00\x01" + bytes(6)
    assert handshake.is_over


@pytest.mark.parametrize(
    ("demand", "greeting", "reply"),
    [
        ("off", NONE, b"\x05\x00"),
        ("off", BOTH, b"\x05\x00"),
        ("off", PASSWORD, None),
        ("optional", NONE, b"\x05\x00"),
        ("optional", BOTH, b"\x05\x02"),
        ("optional", PASSWORD, b"\x05\x02"),
        ("optional", b"\x05\x01\x01", None),
        ("required", NONE, None),
        ("required", BOTH, b"\x05\x02"),
        ("required", PASSWORD, b"\x05\x02"),
        ("required", b"\x05\x00", None),
    ],
)
def test_the_method(demand: Literal["off", "optional", "required"], greeting: bytes, reply: bytes | None) -> None:
    """RFC 1928 section 3: who offers a password is asked for it; 0xff where nothing fits."""
    if reply is not None:
        assert ProxyHandshake(demand).receive(greeting) == reply
        return
    error = refusal(greeting, demand)
    assert error.reply == b"\x05\xff"
    assert "lack" in error.reason
    assert isinstance(error, AuthenticationError) == (demand == "required")


@pytest.mark.parametrize("first", [0, 5, 255])
def test_another_version_of_the_password(first: int) -> None:
    error = refusal(PASSWORD + bytes((first,)))
    assert (error.reason, error.reply) == (f"SOCKS5 password starts with 0x{first:02x}, not 01", b"\x05\x02\x01\x01")


def test_closed_within_the_password() -> None:
    handshake = ProxyHandshake("required")
    handshake.receive(PASSWORD + password(b"ann", b"secret")[:-1])
    with pytest.raises(HandshakeError, match="closed before its SOCKS5 password was complete"):
        handshake.eof()


@pytest.mark.parametrize("demand", ["optional", "required"])
@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_connect(demand: Literal["optional", "required"], scheme: bytes) -> None:
    """RFC 7617: the request is known when the password was found right."""
    handshake = ProxyHandshake(demand)
    assert handshake.receive(connect(basic(b"ann:a:b").replace(b"Basic", scheme)) + b"early") == b""
    assert handshake.credentials == Credentials("ann", b"a:b")
    assert handshake.request is None
    assert handshake.accepted() == b""
    assert handshake.request is not None
    assert (handshake.request.target, handshake.request.early) == (TARGET, b"early")


def test_connect_where_nobody_is_asked() -> None:
    handshake = ProxyHandshake("off")
    handshake.receive(connect(b"Proxy-Authorization: Basic !"))
    assert handshake.request is not None
    assert handshake.credentials is None


@pytest.mark.parametrize("lines", [(), (b"Authorization: Basic YTpi",), (b"Proxy-Authorization: Bearer YTpi",)])
def test_connect_without_a_password(lines: tuple[bytes, ...]) -> None:
    handshake = ProxyHandshake("optional")
    handshake.receive(connect(*lines))
    assert handshake.request is not None
    error = refusal(connect(*lines))
    assert isinstance(error, AuthenticationError)
    assert challenge(error.reply) == b'Basic realm="fwx"'


def test_connect_rejected() -> None:
    handshake = ProxyHandshake("required")
    handshake.receive(connect(basic(b"a:b")))
    assert challenge(handshake.rejected()) == b'Basic realm="fwx"'


@pytest.mark.parametrize("demand", ["optional", "required"])
def test_connect_denied_for_want_of_a_user(demand: Literal["optional", "required"]) -> None:
    handshake = ProxyHandshake(demand)
    handshake.receive(connect(basic(b"a:b")))
    handshake.accepted()
    assert challenge(handshake.refused(Outcome.UNAUTHENTICATED)) == b'Basic realm="fwx"'


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((b"Proxy-Authorization: Basic !",), "Proxy-Authorization is not base64"),
        ((b"Proxy-Authorization: Basic YQ",), "Proxy-Authorization is not base64"),
        ((b"Proxy-Authorization: Basic",), "Proxy-Authorization has no colon"),
        ((basic(b"ann"),), "Proxy-Authorization has no colon"),
        ((basic(b"a:b"), basic(b"a:b")), "two Proxy-Authorization fields"),
    ],
)
def test_a_malformed_password(lines: tuple[bytes, ...], reason: str) -> None:
    """It is quoted nowhere."""
    error = refusal(connect(*lines), "optional")
    assert error.reason.startswith(f"HTTP: {reason}")
    assert error.reply.startswith(b"HTTP/1.1 400 ")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("ann", b"secret"))


def challenge(reply: bytes) -> bytes:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=b"CONNECT", target=b"x:1", headers=[(b"Host", b"x")]))
    client.receive_data(reply)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == 407
    return dict(response.headers)[b"proxy-authenticate"]
