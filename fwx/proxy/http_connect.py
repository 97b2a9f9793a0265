"""HTTP CONNECT (RFC 9110 section 9.3.6) on the proxy's side."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NoReturn

import h11

from fwx.interfaces.address import SocketAddress
from fwx.proxy.http_answer import Answer
from fwx.proxy.http_head import HeadBuffer, HeadError, basic_credentials, field, parse_authority, without_data
from fwx.proxy.request import (
    LONGEST_HANDSHAKE,
    AuthenticationError,
    Credentials,
    Demand,
    HandshakeError,
    Outcome,
    ProxyRequest,
    printable,
)

_WRONG_PASSWORD: Final = Answer(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "user or password is wrong").closing()


class HttpConnectCodec:
    """CONNECT on one connection of the proxy port; the caller has seen the method."""

    __slots__ = ("_demand", "_head", "_request", "credentials", "request")

    def __init__(self, demand: Demand = "off") -> None:
        self.request: ProxyRequest | None = None
        self.credentials: Credentials | None = None
        self._demand: Demand = demand
        self._head = HeadBuffer()
        # The request whose client has still to be known.
        self._request: ProxyRequest | None = None

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""
        return "its HTTP request head was complete"

    def receive(self, data: bytes) -> bytes:
        """Take *data*, at least one byte, from the client; nothing is sent before the reply to the request.

        :raises HandshakeError: malformed head (400), no authentication where it is required (407), head over 16 KiB
            (431), another major version (505).
        """
        self._head.add(data)
        try:
            head = self._head.take()
        except HeadError as error:
            _reject(head_status(error), error.reason)
        if head is not None:
            self._take(_parse(head), self._head.take_all())
        return b""

    def accepted(self) -> bytes:
        """Make the request known; nothing is sent."""
        self.credentials = None
        self.request = self._request
        return b""

    def rejected(self) -> bytes:
        """Return the 407 response for wrong credentials."""
        return _WRONG_PASSWORD

    def succeeded(self, bound: SocketAddress) -> bytes:  # noqa: ARG002 - HTTP does not tell the local address
        """Return the 200 response; it has no body and no framing headers (RFC 9110 section 9.3.6)."""
        return b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refused(self, outcome: Outcome) -> bytes:
        """Return the response for *outcome*: 403, 407, 502, 503, 504 or 500 with a ``Proxy-Status`` (RFC 9209)."""
        return Answer.to(outcome, self._demand).closing()

    def _take(self, head: h11.Request, early: bytes) -> None:
        request = _connect_request(head, early)
        try:
            credentials = None if self._demand == "off" else basic_credentials(head)
        except ValueError as error:
            _reject(HTTPStatus.BAD_REQUEST, str(error))
        if credentials is not None:
            self._request, self.credentials = request, credentials
        elif self._demand == "required":
            reason = "authentication is required"
            raise AuthenticationError(
                f"HTTP: {reason}", Answer(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, reason).closing()
            )
        else:
            self.request = request


def head_status(error: HeadError) -> HTTPStatus:
    """Return the status that answers a refused head."""
    return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if error.too_long else HTTPStatus.BAD_REQUEST


def _parse(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HANDSHAKE)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        _reject(HTTPStatus(error.error_status_hint), without_data(error))
    assert isinstance(event, h11.Request)
    return event


def _connect_request(request: h11.Request, early: bytes) -> ProxyRequest:
    """Return the request that *request* stands for.

    :raises HandshakeError: the version, a body or the target forbids it.
    """
    version = request.http_version.decode("ascii")
    if not version.startswith("1."):
        _reject(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{version} is not supported, only HTTP/1")
    # CONNECT has no body (RFC 9110 section 9.3.6). One that announces a body leaves open whose the next bytes are.
    if field(request, b"content-length") not in (b"", b"0") or field(request, b"transfer-encoding"):
        _reject(HTTPStatus.BAD_REQUEST, "CONNECT announces a body")
    try:
        target = parse_authority(request.target.decode("ascii"))
    except ValueError as error:
        _reject(HTTPStatus.BAD_REQUEST, f"CONNECT target: {error}")
    agent = printable(field(request, b"user-agent").decode("latin-1"))
    return ProxyRequest("HTTP", "connect", target, agent, early)


def _reject(status: HTTPStatus, reason: str) -> NoReturn:
    """Refuse the request before any connection was tried.

    :raises HandshakeError: always, with the response as reply.
    """
    raise HandshakeError(f"HTTP: {reason}", Answer(status, reason).closing())
