"""The head of an HTTP/1 message as bytes: found, checked to the letter, and what both uses of HTTP read from it.

h11 takes some liberties that RFC 9112 allows a recipient: a bare LF as the end of a line, folded lines. Two parties
that differ in such a liberty see two different messages, so a head that uses one is refused before h11 gets it.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import h11

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import LONGEST_HANDSHAKE, Credentials, connect_target, quoted

_END: Final = b"\r\n\r\n"
# What no line may hold; a CR or a CRLF at the very end is not judged yet.
_WRONG: Final = (
    (re.compile(rb"(?<!\r)\n"), "a line ends with LF alone"),
    (re.compile(rb"\r(?=[^\n])"), "a CR stands alone"),
    (re.compile(rb"\n[ \t]"), "a line is folded"),
    (re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"), "a control character"),
)


class HeadError(Exception):
    """A head that is refused."""

    def __init__(self, reason: str, *, too_long: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.too_long = too_long


class HeadBuffer:
    """Collects bytes up to the end of a head."""

    __slots__ = ("_data", "_seen")

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0

    def __len__(self) -> int:
        """The number of bytes that are held."""
        return len(self._data)

    def add(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes | None:
        """Return the head with the empty line at its end, once it is complete; what follows it stays.

        :raises HeadError: the head holds what it may not, or is longer than :data:`LONGEST_HANDSHAKE`. The first fault
            counts, however the bytes were split.
        """
        data = self._data
        # The last bytes are looked at again: with what has come they may be the end, or wrong.
        start = max(self._seen - len(_END), 0)
        end = data.find(_END, start)
        stop = min(len(data) if end < 0 else end + len(_END), LONGEST_HANDSHAKE)
        faults = [(found.start(), words) for wrong, words in _WRONG if (found := wrong.search(data, start, stop))]
        if faults:
            raise HeadError(min(faults)[1])
        if end + len(_END) > LONGEST_HANDSHAKE or (end < 0 and len(data) > LONGEST_HANDSHAKE):
            raise HeadError(f"head over {LONGEST_HANDSHAKE} bytes", too_long=True)
        self._seen = len(data)
        if end < 0:
            return None
        head = bytes(data[:stop])
        del data[:stop]
        self._seen = 0
        return head

    def take_all(self) -> bytes:
        """Return what is held, without a look at it."""
        data, self._seen = bytes(self._data), 0
        self._data.clear()
        return data


def parse_authority(text: str, default_port: int | None = None) -> SocketAddress:
    """Parse ``host:port`` or ``[IPv6]:port`` (RFC 9112 section 3.2.3); the port may be left out where it has a default.

    :raises ValueError: *text* has another form, or host or port is not valid.
    """
    host, colon, port = text.rpartition(":")
    if default_port is not None and (not colon or text.endswith("]")):
        host, port = text, str(default_port)
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or bracketed != (":" in host) or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise ValueError(f"{quoted(text)} is not host:port or [IPv6 address]:port")
    return connect_target(host[1:-1] if bracketed else host, int(port))


def basic_credentials(message: h11.Request) -> Credentials | None:
    """Return what ``Proxy-Authorization`` of the Basic scheme says (RFC 7617); ``None`` without it.

    :raises ValueError: there are two of them, or one that is malformed. The message quotes nothing of it.
    """
    values = [value for name, value in message.headers if name == b"proxy-authorization"]
    if len(values) > 1:
        raise ValueError("two Proxy-Authorization fields")
    scheme, _, encoded = (values[0] if values else b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        raise ValueError("Proxy-Authorization is not base64") from None
    if not colon:
        raise ValueError("Proxy-Authorization has no colon between user and password")
    return Credentials.of(user, password)


def field(message: h11.Request | h11.Response | h11.InformationalResponse, name: bytes) -> bytes:
    """Return the value of the first field called *name*, in lower case; empty without one."""
    return next((value for key, value in message.headers if key == name), b"")


def without_data(error: h11.ProtocolError) -> str:
    """Return what h11 found wrong, without the line that it quotes as a bytes literal: a field may hold a password."""
    return str(error).partition(": b")[0]
