"""HTTP CONNECT (RFC 9110 section 9.3.6) on the client's side, with Basic authentication where there is an account."""

from __future__ import annotations

import errno
import re
import socket
from base64 import b64encode
from http import HTTPStatus
from typing import Final

import h11

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import LONGEST_HANDSHAKE
from fwx.proxy.upstream import Account, UpstreamError, askable

# tinyproxy says 401 of a wrong password, and 407 where there is none.
_OF_THE_ACCOUNT: Final = frozenset({HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.UNAUTHORIZED})
_REFUSALS: Final = {
    HTTPStatus.FORBIDDEN: errno.EACCES,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: errno.EACCES,
    HTTPStatus.REQUEST_TIMEOUT: errno.ETIMEDOUT,
    HTTPStatus.GATEWAY_TIMEOUT: errno.ETIMEDOUT,
    # Servers say these of every connection that they cannot make.
    HTTPStatus.NOT_FOUND: errno.EHOSTUNREACH,
    HTTPStatus.INTERNAL_SERVER_ERROR: errno.EHOSTUNREACH,
    HTTPStatus.BAD_GATEWAY: errno.EHOSTUNREACH,
    HTTPStatus.SERVICE_UNAVAILABLE: errno.EHOSTUNREACH,
}
# Error types of Proxy-Status (RFC 9209 section 2.3), which says more than a status.
_ERROR_TYPE: Final = re.compile(r";\s*error=([a-z_]+)")
_ERROR_TYPES: Final = {
    "http_request_denied": errno.EACCES,
    "destination_ip_prohibited": errno.EACCES,
    "connection_refused": errno.ECONNREFUSED,
    "connection_terminated": errno.ECONNRESET,
    "destination_ip_unroutable": errno.EHOSTUNREACH,
    "destination_unavailable": errno.EHOSTUNREACH,
    "connection_timeout": errno.ETIMEDOUT,
    "dns_timeout": errno.ETIMEDOUT,
}
_NO_SUCH_NAME: Final = frozenset({"dns_error", "destination_not_found"})


class HttpConnectClient:
    """Asks one upstream for one connection, as :class:`fwx.impl.passage.Handshake`; no I/O.

    :ivar established: the upstream has connected.
    :ivar on_target: what goes wrong may be the target's fault: not its form, and not the account.
    :ivar early: what came behind its response.
    """

    __slots__ = ("_account", "_connection", "_received", "_target", "early", "established", "on_target")

    def __init__(self, target: SocketAddress, account: Account | None = None) -> None:
        """:param target: an address or a name. :param account: sent with the request.

        :raises ValueError: a user name with a colon, which ends it (RFC 7617 section 2).
        """
        if account is not None and ":" in account.user:
            raise ValueError("a user name for HTTP has no colon in it")
        self._target = target
        self._account = account
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HANDSHAKE)
        self._received = 0
        self.established = False
        self.on_target = True
        self.early = b""

    def start(self) -> bytes:
        """Return the request.

        :raises socket.gaierror: the target is no name that anybody could resolve.
        """
        authority = str(askable(self._target))
        headers = [("Host", authority)]
        if self._account is not None:
            secret = b64encode(f"{self._account.user}:{self._account.password}".encode()).decode("ascii")
            headers.append(("Proxy-Authorization", f"Basic {secret}"))
        request = h11.Request(method="CONNECT", target=authority, headers=headers)
        return (self._connection.send(request) or b"") + (self._connection.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the upstream; there is nothing to send to it any more.

        :raises OSError: the upstream refuses (``UpstreamError``, or :class:`socket.gaierror` for a name that it says it
            cannot resolve), or what it says makes no sense.
        """
        self._received += len(data)
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._connection.next_event()
        except h11.RemoteProtocolError:
            # What h11 says quotes the upstream's words, which are not for the log.
            raise self._nonsense("what it says is no HTTP response") from None
        early = self._connection.trailing_data[0] if isinstance(event, h11.Response) else b""
        if self._received - len(early) > LONGEST_HANDSHAKE:
            raise self._nonsense(f"its response has a head of more than {LONGEST_HANDSHAKE} bytes")
        if isinstance(event, h11.Response):
            self._judge(event)
            self.established = True
            self.early = early
        return b""

    def _judge(self, response: h11.Response) -> None:
        """Take note of *response*. :raises OSError: it is no success."""
        status = response.status_code
        if not response.http_version.startswith(b"1."):
            raise self._nonsense("its response is of another version than HTTP/1")
        if 200 <= status < 300:
            return
        if status in _OF_THE_ACCOUNT:
            self.on_target = False
            wants = "wants a user name and password"
            if self._account is not None:
                wants = f"refuses the password of user {self._account.user!r}, or wants another method than Basic"
            raise UpstreamError(errno.EACCES, f"it {wants} (HTTP status {status})")
        words = f"HTTP status {status}{_phrase(status)}"
        kind = _error_type(response)
        if kind in _NO_SUCH_NAME:
            raise socket.gaierror(socket.EAI_NONAME, f"{words}, {kind}")
        if kind in _ERROR_TYPES:
            raise UpstreamError(_ERROR_TYPES[kind], f"{words}, {kind}")
        if status not in _REFUSALS:
            raise self._nonsense(words)
        raise UpstreamError(_REFUSALS[HTTPStatus(status)], words)

    def _nonsense(self, words: str) -> UpstreamError:
        """Return the error for what no upstream should say."""
        self.on_target = False
        return UpstreamError(errno.EPROTO, words)


def _phrase(status: int) -> str:
    """Return the status's own words; an upstream's are not for the log."""
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _error_type(response: h11.Response) -> str:
    """Return the error type of ``Proxy-Status`` that was written nearest to the target, or nothing."""
    lines = [value.decode("latin-1") for name, value in response.headers if name == b"proxy-status"]
    found = _ERROR_TYPE.search(", ".join(lines))
    return "" if found is None else found[1]
