"""Lines of FTP's control stream, which is one of Telnet (RFC 959, 2.3 and 5.3; RFC 854): they end with CRLF."""

from __future__ import annotations

from enum import Enum, auto

from fwx.filters import lines

_IAC, _SE, _SB = 0xFF, 0xF0, 0xFA
# What is left at the start of a line when the urgent byte of an interrupt has gone its own way (RFC 959, 4.1.3): of
# IAC IP IAC DM any one may be lacking.
_LEFT_OF_INTERRUPT = b"\xf2\xf4\xff"


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


class Lines(lines.Lines):
    """Cuts a stream into lines, as its base does, without the commands of Telnet in it."""

    __slots__ = ("_telnet",)

    def __init__(self, limit: int) -> None:
        """*limit* is the most bytes of a line, CRLF included."""
        super().__init__(lambda _: limit)
        self._telnet = Telnet()

    def feed(self, data: bytes | memoryview) -> None:
        super().feed(self._telnet.strip(data))

    def next(self) -> bytes | None:
        line = super().next()
        return None if line is None else line.lstrip(_LEFT_OF_INTERRUPT)
