"""HTTP CONNECT (RFC 9110 section 9.3.6) on the proxy's side."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NoReturn

import h11

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import LONGEST_HANDSHAKE, HandshakeError, Outcome, ProxyRequest, connect_target, quoted

# Status and the error type of Proxy-Status (RFC 9209 section 2.3).
_ANSWERS: Final = {
    Outcome.DENIED: (HTTPStatus.FORBIDDEN, "http_request_denied"),
    Outcome.CONNECTION_REFUSED: (HTTPStatus.BAD_GATEWAY, "connection_refused"),
    Outcome.NETWORK_UNREACHABLE: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    Outcome.HOST_UNREACHABLE: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    Outcome.NAME_NOT_FOUND: (HTTPStatus.BAD_GATEWAY, "dns_error"),
    Outcome.TIMED_OUT: (HTTPStatus.GATEWAY_TIMEOUT, "connection_timeout"),
    Outcome.BUSY: (HTTPStatus.SERVICE_UNAVAILABLE, "connection_limit_reached"),
    Outcome.FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "proxy_internal_error"),
}


class HttpConnectCodec:
    """The HTTP side of one connection of the proxy port; the caller has seen a letter as first byte."""

    __slots__ = ("_connection", "_received", "request")

    def __init__(self) -> None:
        self.request: ProxyRequest | None = None
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HANDSHAKE)
        self._received = 0

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""
        return "its HTTP request head was complete"

    def receive(self, data: bytes) -> bytes:
        """Take *data*, at least one byte, from the client; nothing is sent before the reply to the request.

        :raises HandshakeError: malformed head (400), head over 16 KiB (431), another method (501), another major
            version (505).
        """
        self._received += len(data)
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            _reject(HTTPStatus(error.error_status_hint), _without_client_data(error))
        if isinstance(event, h11.Request):
            early = self._connection.trailing_data[0]
            if self._received - len(early) > LONGEST_HANDSHAKE:
                _reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"head over {LONGEST_HANDSHAKE} bytes")
            self.request = _connect_request(event, early)
        return b""

    def succeeded(self, bound: SocketAddress) -> bytes:  # noqa: ARG002 - HTTP does not tell the local address
        """Return the 200 response; it has no body and no framing headers (RFC 9110 section 9.3.6)."""
        return b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refused(self, outcome: Outcome) -> bytes:
        """Return the response for *outcome*: 403, 502, 503, 504 or 500 with a ``Proxy-Status`` (RFC 9209)."""
        status, error = _ANSWERS[outcome]
        return _response(status, error, outcome.value)


def _connect_request(request: h11.Request, early: bytes) -> ProxyRequest:
    """Return the request that *request* stands for.

    :raises HandshakeError: the version, the method, a body or the target forbids it.
    """
    version, method = request.http_version.decode("ascii"), request.method.decode("ascii")
    if not version.startswith("1."):
        _reject(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{version} is not supported, only HTTP/1")
    if method != "CONNECT":
        reason = f"method {quoted(method)} is not supported, only CONNECT"
        _reject(HTTPStatus.NOT_IMPLEMENTED, reason, body=method != "HEAD")
    # CONNECT has no body (RFC 9110 section 9.3.6). One that announces a body leaves open whose the next bytes are.
    if _header(request, b"content-length") not in (b"", b"0") or _header(request, b"transfer-encoding"):
        _reject(HTTPStatus.BAD_REQUEST, "CONNECT announces a body")
    try:
        target = _parse_authority(request.target.decode("ascii"))
    except ValueError as error:
        _reject(HTTPStatus.BAD_REQUEST, f"CONNECT target: {error}")
    return ProxyRequest("HTTP", "connect", target, _printable(_header(request, b"user-agent")), early)


def _parse_authority(text: str) -> SocketAddress:
    """Parse ``host:port`` or ``[IPv6]:port`` (RFC 9112 section 3.2.3).

    :raises ValueError: *text* has another form, or host or port is not valid.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or bracketed != (":" in host) or not (port.isdigit() and len(port) <= 5):
        raise ValueError(f"{quoted(text)} is not host:port or [IPv6 address]:port")
    return connect_target(host[1:-1] if bracketed else host, int(port))


def _header(request: h11.Request, name: bytes) -> bytes:
    return next((value for key, value in request.headers if key == name), b"")


def _printable(value: bytes) -> str:
    """Decode a header for the log; h11 lets control characters such as ESC through."""
    return "".join(char if char.isprintable() else "?" for char in value.decode("latin-1"))


def _without_client_data(error: h11.RemoteProtocolError) -> str:
    # h11 quotes the offending line as a bytes literal; a header may hold credentials.
    return str(error).partition(": b")[0]


def _reject(status: HTTPStatus, reason: str, *, body: bool = True) -> NoReturn:
    """Refuse the request before any connection was tried.

    :raises HandshakeError: always, with the response as reply.
    """
    kind = "http_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "proxy_internal_response"
    raise HandshakeError(f"HTTP: {reason}", _response(status, kind, reason, body=body))


def _response(status: HTTPStatus, error: str, text: str, *, body: bool = True) -> bytes:
    content = f"{text}\n".encode("ascii")
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Proxy-Status: fwx; error={error}\r\n"
        "Content-Type: text/plain\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (content if body else b"")
