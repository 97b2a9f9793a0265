"""What a client says first, read as far as it takes to choose a server; not a byte of it is changed."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import h11

from fwx import sdk

_TLS_HANDSHAKE = 0x16
_ALERT = b"\x15\x03\x03\x00\x02\x02"
_NO_HOST = frozenset(b"/?#@\\")  # what ends a host, or stands before one, in a target (RFC 3986, 3.2)
_UNRECOGNIZED_NAME, _INTERNAL_ERROR = b"\x70", b"\x50"


class Refusal(NamedTuple):
    """Why a client is turned away. ``status`` is the one of HTTP; ``words`` are for the log."""

    status: int
    words: str


MISDIRECTED, UNAVAILABLE, TIMED_OUT, BAD_REQUEST, TOO_LARGE = 421, 503, 408, 400, 431
_REASONS = {
    MISDIRECTED: "Misdirected Request",
    UNAVAILABLE: "Service Unavailable",
    TIMED_OUT: "Request Timeout",
    BAD_REQUEST: "Bad Request",
    TOO_LARGE: "Request Header Fields Too Large",
}


class HearingError(Exception):
    """The client says what nobody can make out: :attr:`refusal`."""

    def __init__(self, status: int, words: str) -> None:
        self.refusal = Refusal(status, words)
        super().__init__(words)


class Hearing(Protocol):
    """Listens to one client.

    :ivar done: enough is known.
    """

    done: bool

    def feed(self, data: bytes) -> None:
        """Take what has come. :raises HearingError: it is nothing that can be made out."""

    def end(self) -> None:
        """The client says no more. :raises HearingError: it was not enough."""

    def farewell(self, status: int) -> bytes:
        """Return what the client is told that is turned away; *status* is the one of HTTP for it."""


class Unasked:
    """For what is known without a word of the client's."""

    def __init__(self, refusal: bytes) -> None:
        """*refusal* is what the client is told that is turned away."""
        self.done = True
        self._refusal = refusal

    def feed(self, data: bytes) -> None:
        """Nobody listens."""

    def end(self) -> None:
        """Nobody listens."""

    def farewell(self, status: int) -> bytes:
        return self._refusal


class FirstLine(Unasked):
    """Listens for a line, which ends with LF or CRLF, or with the end of all that the client says.

    :ivar line: what it says, without its end.
    """

    def __init__(self, refusal: bytes) -> None:
        super().__init__(refusal)
        self.done = False
        self.line = b""

    def feed(self, data: bytes) -> None:
        line, end, _ = data.partition(b"\n")
        self.line += line
        if end:
            self.end()

    def end(self) -> None:
        self.line = self.line.removesuffix(b"\r")
        self.done = True


class HostName:
    """Listens for the name of a host: in the first request of HTTP, or in the ClientHello of TLS (SNI).

    :ivar name: the name; ``None`` where the client says none.
    """

    def __init__(self, limit: int) -> None:
        """*limit* is the most bytes of a head of HTTP."""
        self.done = False
        self.name: str | None = None
        self._limit = limit
        self._hello: bytes | None = None
        self._http: h11.Connection | None = None

    def feed(self, data: bytes) -> None:
        if self._hello is None and self._http is None:
            if data[:1] == bytes([_TLS_HANDSHAKE]):
                self._hello = b""
            else:
                self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limit)
        if self._hello is not None:
            self._hello += data
            self._read_hello(self._hello)
        elif self._http is not None:
            self._http.receive_data(data)
            self._read_head(self._http)

    def end(self) -> None:
        raise HearingError(BAD_REQUEST, "the client ended before it had asked for a host")

    def farewell(self, status: int) -> bytes:
        if self._hello is not None:
            return _ALERT + (_UNRECOGNIZED_NAME if status == MISDIRECTED else _INTERNAL_ERROR)
        if self._http is None:
            return b""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return head.encode()

    def _read_hello(self, data: bytes) -> None:
        greeting = sdk.read_greeting(data)
        if greeting.fault:
            raise HearingError(BAD_REQUEST, greeting.fault)
        self.done, self.name = greeting.complete, greeting.name

    def _read_head(self, http: h11.Connection) -> None:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            status = TOO_LARGE if error.error_status_hint == TOO_LARGE else BAD_REQUEST
            raise HearingError(status, f"no request of HTTP: {error}") from error
        if isinstance(event, h11.Request):
            if not event.http_version.startswith(b"1."):
                raise HearingError(BAD_REQUEST, f"HTTP/{event.http_version.decode()}, expected HTTP/1.0 or 1.1")
            self.name = _asked_for(event)
            self.done = True


def _asked_for(request: h11.Request) -> str | None:
    """Return the host of *request*: that of its target, where there is one (RFC 9112, 3.2.2), else its field Host."""
    fields = [value for name, value in request.headers if name == b"host"]
    target = request.target.decode("latin-1")
    try:
        if "://" in target and not target.startswith("/"):
            return urlsplit(target).hostname
        if fields and not _NO_HOST.isdisjoint(fields[0]):  # the server would understand something else
            raise ValueError(fields[0])
        return urlsplit(f"//{fields[0].decode('latin-1')}").hostname if fields else None
    except ValueError as error:
        raise HearingError(BAD_REQUEST, f"no host: {error}") from error
