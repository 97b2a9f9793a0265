"""Lines of FTP's control stream, which is one of Telnet (RFC 959, 2.3 and 5.3; RFC 854): they end with CRLF."""

from __future__ import annotations

import re
from enum import Enum, auto

_STOPS = re.compile(rb"\x00|\r\n|\r|\n")
_WORDS = {b"\x00": "a NUL", b"\r": "a bare CR", b"\n": "a bare LF"}
_IAC, _SE, _SB = 0xFF, 0xF0, 0xFA
# What is left at the start of a line when the urgent byte of an interrupt has gone its own way (RFC 959, 4.1.3): of
# IAC IP IAC DM any one may be lacking.
_LEFT_OF_INTERRUPT = b"\xf2\xf4\xff"


class LineError(ValueError):
    """A line that breaks the rules: ``str()`` says how."""


class _Place(Enum):
    """Where in a command of Telnet the stream is."""

    TEXT = auto()
    COMMAND = auto()
    OPTION = auto()
    SUBNEGOTIATION = auto()
    SUBNEGOTIATION_COMMAND = auto()


class Telnet:
    """Takes the commands of Telnet out of a stream. Nobody answers them: no option is ever agreed on."""

    __slots__ = ("_place",)

    def __init__(self) -> None:
        self._place = _Place.TEXT

    def strip(self, data: bytes | memoryview) -> bytes:
        """Return *data* without them; a byte 255 of the text stays doubled."""
        data = bytes(data)
        if self._place is _Place.TEXT and _IAC not in data:
            return data
        text = bytearray()
        for byte in data:
            self._take(byte, text)
        return bytes(text)

    def _take(self, byte: int, text: bytearray) -> None:
        match self._place:
            case _Place.TEXT if byte == _IAC:
                self._place = _Place.COMMAND
            case _Place.TEXT:
                text.append(byte)
            case _Place.COMMAND:
                self._place = _Place.TEXT
                if byte == _IAC:
                    text += b"\xff\xff"
                elif byte == _SB:
                    self._place = _Place.SUBNEGOTIATION
                elif byte > _SB:
                    self._place = _Place.OPTION
                elif byte < _SE:  # its command was the urgent byte
                    text.append(byte)
            case _Place.OPTION:
                self._place = _Place.TEXT
            case _Place.SUBNEGOTIATION if byte == _IAC:
                self._place = _Place.SUBNEGOTIATION_COMMAND
            case _Place.SUBNEGOTIATION_COMMAND:
                self._place = _Place.TEXT if byte == _SE else _Place.SUBNEGOTIATION


class Lines:
    """Cuts a stream into lines. What is wrong is found at the same byte however the stream comes in pieces."""

    __slots__ = ("_data", "_limit", "_telnet")

    def __init__(self, limit: int) -> None:
        """*limit* is the most bytes of a line, CRLF included."""
        self._data = bytearray()
        self._limit = limit
        self._telnet = Telnet()

    def __len__(self) -> int:
        """Bytes that no line has been made of."""
        return len(self._data)

    def feed(self, data: bytes | memoryview) -> None:
        self._data += self._telnet.strip(data)

    def clear(self) -> None:
        """Forget what no line has been made of."""
        self._data.clear()

    def next(self) -> bytes | None:
        """Return the next line without its CRLF, ``None`` if it has not come whole.

        :raises LineError: a NUL, a CR or LF that is not part of a CRLF, or a line over the limit.
        """
        data = self._data
        found = _STOPS.search(data)
        if found is not None and found[0] == b"\r" and found.end() == len(data):
            found = None  # its LF may be on the way
        length = len(data) if found is None else found.end()
        if length > self._limit:
            raise LineError(f"a line of more than {self._limit} bytes")
        if found is None:
            return None
        if found[0] != b"\r\n":
            raise LineError(f"{_WORDS[found[0]]} in a line")
        line = bytes(data[: found.start()])
        del data[: found.end()]
        return line.lstrip(_LEFT_OF_INTERRUPT)
