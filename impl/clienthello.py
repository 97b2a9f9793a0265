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
    """What is known so far.

    :ivar complete: nothing more is needed. :ivar name: the host name; ``None`` where there is none, or the bytes are no
        ClientHello. :ivar fault: why they are none, in words; empty for one, and while it is incomplete.
    """

    complete: bool
    name: str | None
    fault: str = ""


_INCOMPLETE: Final = Greeting(False, None)
_MALFORMED: Final = "the client's ClientHello is malformed"


class _BadError(Exception):
    """The bytes are no ClientHello; the text says why."""


class _Reader:
    """Takes fields from the front of *data*."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise _BadError(_MALFORMED)
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
    """Read the first bytes of a client; called again with all of them when more have come.

    What is no ClientHello counts as complete: nothing that follows could make it one.
    """
    try:
        message = _message(data)
        return _INCOMPLETE if message is None else Greeting(True, _name(_Reader(message)))
    except _BadError as error:
        return Greeting(True, None, str(error))


def described(first: bytes) -> str:
    """Say what the *first* bytes of a stream look like that is no TLS, for the log; at least one is needed."""
    if first[0] in (4, 5):
        kind = ", as SOCKS has it"
    elif first[:4] == b"SSH-":
        kind = ", as SSH has it"
    elif first[:6] == b"PROXY " or first[:4] == b"\r\n\r\n":
        kind = ", as the PROXY protocol has it"
    elif first[:1].isalpha():
        kind = ", as HTTP has it"
    else:
        kind = ""
    return f"first byte 0x{first[0]:02x}{kind}"


def _message(data: bytes) -> bytes | None:
    """Put the ClientHello together, which may be spread over records; ``None`` while bytes are missing."""
    if data and data[0] != HANDSHAKE:
        raise _BadError(f"the client does not speak TLS: {described(data)}")
    message = bytearray()
    position = 0
    for _ in range(_MOST_RECORDS):
        start = position + _RECORD_HEADER
        if start > len(data):
            return None
        length = int.from_bytes(data[position + 3 : start], "big")
        if data[position] != HANDSHAKE or data[position + 1] != 3 or not 0 < length <= _LONGEST:
            raise _BadError(_MALFORMED)
        position = start + length
        if position > len(data):
            return None
        message += data[start:position]
        if len(message) >= _MESSAGE_HEADER:
            size = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
            if message[0] != _CLIENT_HELLO:
                raise _BadError(_MALFORMED)
            if size > _LONGEST:
                raise _BadError(f"the client's ClientHello has {size} bytes, more than {_LONGEST}")
            if len(message) >= _MESSAGE_HEADER + size:
                return bytes(message[_MESSAGE_HEADER : _MESSAGE_HEADER + size])
    raise _BadError(f"the client's ClientHello is spread over more than {_MOST_RECORDS} records")


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
