"""What the proxy port itself answers in HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fwx.proxy.request import Demand, Outcome

#: What a client is asked for (RFC 7617 section 2).
CHALLENGE: Final = (b"Proxy-Authenticate", b'Basic realm="fwx"')

# Status and the error type of Proxy-Status (RFC 9209 section 2.3).
_ANSWERS: Final = {
    Outcome.DENIED: (HTTPStatus.FORBIDDEN, "http_request_denied"),
    Outcome.UNAUTHENTICATED: (HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "http_request_denied"),
    Outcome.CONNECTION_REFUSED: (HTTPStatus.BAD_GATEWAY, "connection_refused"),
    Outcome.NETWORK_UNREACHABLE: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    Outcome.HOST_UNREACHABLE: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    Outcome.NAME_NOT_FOUND: (HTTPStatus.BAD_GATEWAY, "dns_error"),
    Outcome.TIMED_OUT: (HTTPStatus.GATEWAY_TIMEOUT, "connection_timeout"),
    Outcome.BUSY: (HTTPStatus.SERVICE_UNAVAILABLE, "connection_limit_reached"),
    Outcome.FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "proxy_internal_error"),
}
# For what is refused before any outcome: malformed, or not done here.
_STATUS_ERRORS: Final = {
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "http_request_denied",
    HTTPStatus.NOT_IMPLEMENTED: "proxy_internal_response",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "proxy_internal_response",
    HTTPStatus.BAD_GATEWAY: "http_protocol_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "connection_limit_reached",
}


class Answer:
    """One response of the proxy port's own: status, header fields, body."""

    __slots__ = ("content", "fields", "status")

    def __init__(self, status: HTTPStatus, text: str, error: str | None = None) -> None:
        """*text*, ASCII, is the body. *error* is the type of Proxy-Status; that of the status when left out."""
        self.status = status
        self.content = f"{text}\n".encode("ascii")
        kind = error or _STATUS_ERRORS.get(status, "http_request_error")
        self.fields: list[tuple[bytes, bytes]] = [
            (b"Proxy-Status", f"fwx; error={kind}".encode("ascii")),
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", str(len(self.content)).encode("ascii")),
        ]
        if status is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            self.fields.append(CHALLENGE)

    @classmethod
    def to(cls, outcome: Outcome, demand: Demand) -> Answer:
        """Make the answer for *outcome*. Where nobody is authenticated, it asks for no user either."""
        if outcome is Outcome.UNAUTHENTICATED and demand == "off":
            outcome = Outcome.DENIED
        status, error = _ANSWERS[outcome]
        return cls(status, outcome.value, error)

    def closing(self, *, body: bool = True) -> bytes:
        """Return the response as bytes; it says that the connection ends. Without *body* for a HEAD request."""
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}".encode("ascii")]
        lines += [b": ".join(pair) for pair in (*self.fields, (b"Connection", b"close"))]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (self.content if body else b"")
