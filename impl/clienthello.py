"""The first bytes of a TLS client, read for the host name that it asks for (RFC 8446 4.1.2, RFC 6066 3)."""

from __future__ import annotations

from typing import Final, NamedTuple

HANDSHAKE: Final = 0x16
"""The first byte of every TLS client: the type of a handshake record."""

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
# Nobody's ClientHello comes near these. What is beyond is OpenSSL's to judge: reading byte by byte must cost little.
_LONGEST: Final = 1 << 14
_MOST_RECORDS: Final = 64


class Greeting(NamedTuple):
    """What is known so far. *name* is the host name; ``None`` where there is none, or the bytes are no ClientHello."""

    complete: bool
    name: str | None


_UNKNOWN: Final = Greeting(True, None)
_INCOMPLETE: Final = Greeting(False, None)


class _BadError(Exception):
    """The bytes are no ClientHello."""


class _Reader:
    """Takes fields from the front of *data*."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise _BadError
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """Take a vector whose length stands in *size* bytes before it."""
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self._data


def read_greeting(data: bytes) -> Greeting:
    """Read the first bytes of a client. What is no ClientHello counts as complete: OpenSSL will say what is wrong."""
    try:
        message = _message(data)
        return _INCOMPLETE if message is None else Greeting(True, _name(_Reader(message)))
    except _BadError:
        return _UNKNOWN


def _message(data: bytes) -> bytes | None:
    """Put the ClientHello together, which may be spread over records; ``None`` while bytes are missing."""
    message = bytearray()
    position = 0
    for _ in range(_MOST_RECORDS):
        start = position + _RECORD_HEADER
        if start > len(data):
            return None
        length = int.from_bytes(data[position + 3 : start], "big")
        if data[position] != HANDSHAKE or data[position + 1] != 3 or not 0 < length <= _LONGEST:
            raise _BadError
        position = start + length
        if position > len(data):
            return None
        message += data[start:position]
        if len(message) >= _MESSAGE_HEADER:
            size = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
            if message[0] != _CLIENT_HELLO or size > _LONGEST:
                raise _BadError
            if len(message) >= _MESSAGE_HEADER + size:
                return bytes(message[_MESSAGE_HEADER : _MESSAGE_HEADER + size])
    raise _BadError


def _name(hello: _Reader) -> str | None:
    hello.take(2 + 32)  # version and random
    hello.vector(1)  # session
    hello.vector(2)  # ciphers
    hello.vector(1)  # compression methods
    if not hello:
        return None
    extensions = hello.vector(2)
    while extensions:
        kind, extension = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = extension.vector(2)
            if names.number(1) != _HOST_NAME:
                return None
            return names.vector(2).rest().decode("ascii", "replace")
    return None
