"""HTTP CONNECT on the proxy port: bytes in, request or error out. h11's client side judges every response."""

from __future__ import annotations

import h11
import pytest

from fwx.interfaces.address import SocketAddress
from fwx.proxy import HandshakeError, Outcome, ProxyHandshake, ProxyRequest
from fwx.proxy.request import LONGEST_HANDSHAKE

HEAD = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"


def connect_to(target: bytes) -> bytes:
    return b"CONNECT " + target + b" HTTP/1.1\r\nHost: ignored\r\n\r\n"


def head_of(size: int) -> bytes:
    start = HEAD + b"X-Filler: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def read_response(data: bytes, method: bytes = b"CONNECT") -> tuple[int, str, str]:
    """Return status, error type and text of the one response that *data* must consist of."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=b"example.com:443", headers=[(b"Host", b"example.com")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    assert headers["connection"] == "close"
    assert headers["content-type"] == "text/plain"
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    hop, _, error = headers["proxy-status"].partition("; error=")
    assert hop == "fwx"
    return response.status_code, error, body.decode()


def rejected(data: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        ProxyHandshake().receive(data)
    return caught.value


REQUESTS = {
    "name": (connect_to(b"Example.com:443"), SocketAddress("Example.com", 443), ""),
    "IPv4": (connect_to(b"192.0.2.1:80"), SocketAddress("192.0.2.1", 80), ""),
    "IPv6": (connect_to(b"[2001:DB8::0:1]:8443"), SocketAddress("2001:db8::1", 8443), ""),
    "IDNA form": (connect_to(b"xn--bcher-kva.example:1"), SocketAddress("xn--bcher-kva.example", 1), ""),
    "agent": (HEAD + b"User-Agent: curl/8.5\r\n\r\n", SocketAddress("example.com", 443), "curl/8.5"),
    "agent not printable": (HEAD + b"User-Agent: a\x9b\xe9\r\n\r\n", SocketAddress("example.com", 443), "a?\xe9"),
    "no body announced": (HEAD + b"Content-Length: 0\r\n\r\n", SocketAddress("example.com", 443), ""),
    "HTTP/1.0 without Host": (b"CONNECT a:22 HTTP/1.0\r\n\r\n", SocketAddress("a", 22), ""),
    "longest head": (head_of(LONGEST_HANDSHAKE), SocketAddress("example.com", 443), ""),
}


@pytest.mark.parametrize("early", [b"", b"\x16\x03\x01\r\n\r\n", bytes(3 * LONGEST_HANDSHAKE)], ids=len)
@pytest.mark.parametrize(("data", "target", "agent"), REQUESTS.values(), ids=REQUESTS)
def test_request(data: bytes, target: SocketAddress, agent: str, early: bytes) -> None:
    handshake = ProxyHandshake()
    assert handshake.receive(data + early) == b""
    assert handshake.request == ProxyRequest("HTTP", "connect", target, agent, early)
    handshake.eof()
    assert handshake.succeeded(SocketAddress("192.0.2.9", 1)) == b"HTTP/1.1 200 Connection established\r\n\r\n"


BAD_TARGETS = {
    "no port": b"example.com",
    "empty port": b"example.com:",
    "port 0": b"example.com:0",
    "port too large": b"example.com:65536",
    "long port": b"example.com:000443",
    "signed port": b"example.com:+443",
    "no host": b":443",
    "a URL": b"http://example.com:443",
    "a path": b"example.com:443/",
    "user": b"me@example.com:443",
    "IPv6 without brackets": b"2001:db8::1:443",
    "a name in brackets": b"[example.com]:443",
    "IPv4 in brackets": b"[192.0.2.1]:443",
    "empty brackets": b"[]:443",
    "half a bracket": b"[::1:443",
    "bracketed without port": b"[::1]",
    "scope": b"[fe80::1%25eth0]:443",
    "short IPv4": b"127.1:443",
    "long name": b"a." * 130 + b"a:443",
}


@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_bad_target(target: bytes) -> None:
    error = rejected(connect_to(target))
    assert error.reason.startswith("HTTP: CONNECT target: ")
    status, kind, text = read_response(error.reply)
    assert (status, kind) == (400, "http_request_error")
    assert f"HTTP: {text}" == f"{error.reason}\n"


BAD_HEADS = {
    "HTTP/2": (b"CONNECT a:1 HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/2.0 is not supported, only HTTP/1"),
    "no version": (b"CONNECT a:1\r\nHost: a\r\n\r\n", 400, "illegal request line"),
    "bare LF": (HEAD + b"X: y\n\r\n", 400, "a line ends with LF alone"),
    "nothing but LF": (b"CONNECT a:22 HTTP/1.1\nHost: a\n\n", 400, "a line ends with LF alone"),
    "bare CR": (HEAD + b"X: y\rz\r\n\r\n", 400, "a CR stands alone"),
    "folded line": (HEAD + b"X: y\r\n\tz\r\n\r\n", 400, "a line is folded"),
    "escape": (HEAD + b"User-Agent: a\x1b[2J\r\n\r\n", 400, "a control character"),
    "NUL": (HEAD + b"X: \0\r\n\r\n", 400, "a control character"),
    "blank before the colon": (HEAD + b"X : y\r\n\r\n", 400, "illegal header line"),
    "no Host": (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
    "two Hosts": (HEAD + b"Host: b\r\n\r\n", 400, "Found multiple Host"),
    "a body": (HEAD + b"Content-Length: 5\r\n\r\nhello", 400, "CONNECT announces a body"),
    "a chunked body": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "CONNECT announces a body"),
    "bad length": (HEAD + b"Content-Length: x\r\n\r\n", 400, "bad Content-Length"),
    "head too long": (head_of(LONGEST_HANDSHAKE + 1), 431, "head over 16384 bytes"),
    "endless head": (HEAD + b"X: " + b"x" * LONGEST_HANDSHAKE, 431, "head over 16384 bytes"),
}


@pytest.mark.parametrize(("data", "status", "reason"), BAD_HEADS.values(), ids=BAD_HEADS)
def test_bad_head(data: bytes, status: int, reason: str) -> None:
    error = rejected(data)
    assert error.reason.startswith(f"HTTP: {reason}")
    assert read_response(error.reply)[0] == status
    assert error.client_fault


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Proxy-Authorization : Basic c2VjcmV0", "illegal header line"),
        (b"Basic c2VjcmV0", "illegal header line"),
        (b"\x01Basic c2VjcmV0", "a control character"),
    ],
)
def test_a_malformed_header_is_not_quoted(line: bytes, reason: str) -> None:
    error = rejected(HEAD + line + b"\r\n\r\n")
    assert error.reason == f"HTTP: {reason}"
    assert b"c2VjcmV0" not in error.reply


@pytest.mark.parametrize(
    ("outcome", "status", "kind", "text"),
    [
        (Outcome.DENIED, 403, "http_request_denied", "denied by policy\n"),
        (Outcome.UNAUTHENTICATED, 403, "http_request_denied", "denied by policy\n"),
        (Outcome.CONNECTION_REFUSED, 502, "connection_refused", "connection refused\n"),
        (Outcome.NETWORK_UNREACHABLE, 502, "destination_ip_unroutable", "network unreachable\n"),
        (Outcome.HOST_UNREACHABLE, 502, "destination_ip_unroutable", "host unreachable\n"),
        (Outcome.NAME_NOT_FOUND, 502, "dns_error", "name not found\n"),
        (Outcome.TIMED_OUT, 504, "connection_timeout", "timed out\n"),
        (Outcome.BUSY, 503, "connection_limit_reached", "connection limit reached\n"),
        (Outcome.FAILED, 500, "proxy_internal_error", "internal failure\n"),
    ],
)
def test_refused(outcome: Outcome, status: int, kind: str, text: str) -> None:
    handshake = ProxyHandshake()
    handshake.receive(HEAD + b"\r\n")
    assert read_response(handshake.refused(outcome)) == (status, kind, text)


def test_closed_too_early() -> None:
    handshake = ProxyHandshake()
    handshake.receive(HEAD)
    with pytest.raises(HandshakeError, match="closed before its HTTP request head was complete"):
        handshake.eof()
