"""The replies of an FTP server (RFC 959, 4.2), and those of them that name a data port (RFC 959, RFC 2428)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwx.filters.dialogue import ReplyError
from fwx.filters.ftp.lines import Lines
from fwx.filters.lines import LineError

MOST_IN_LINE = 16384
"""Bytes of a line, CRLF included: a path of 4096 bytes, quoted, finds room in it."""
MOST_IN_REPLY = 262144
"""Bytes of one reply. One of many lines is the listing that ``STAT`` gives."""

_FIRST = re.compile(rb"([1-6][0-9][0-9])(?:([ -]).*)?", re.DOTALL)
_PASSIVE = re.compile(rb"(?<![0-9,])" + rb",".join([rb"(0|[1-9][0-9]{0,2})"] * 6) + rb"(?![0-9,])")
_EXTENDED = re.compile(rb"\(([!-~])\1\1([1-9][0-9]{0,4})\1\)")


@dataclass(slots=True)
class Reply:
    """One reply: its code, and its lines as they came, without their CRLF."""

    code: int
    lines: list[bytes]

    def __bytes__(self) -> bytes:
        return b"".join(line + b"\r\n" for line in self.lines)


class Replies:
    """Cuts what a server says into replies."""

    __slots__ = ("_lines", "_reply", "_size")

    def __init__(self) -> None:
        self._lines = Lines(MOST_IN_LINE)
        self._reply: Reply | None = None
        self._size = 0

    def __len__(self) -> int:
        """Bytes and lines that no reply has been made of."""
        return len(self._lines) + (0 if self._reply is None else len(self._reply.lines))

    def feed(self, data: bytes | memoryview) -> None:
        self._lines.feed(data)

    def next(self) -> Reply | None:
        """Return the next reply, ``None`` if it has not come whole.

        :raises ReplyError: it is none, or it is too long.
        """
        while (line := self._next_line()) is not None:
            if self._reply is None:
                found = _FIRST.fullmatch(line)
                if found is None:
                    raise ReplyError(f"{line[:60]!r} is no reply")
                reply = Reply(int(found[1]), [line])
                if found[2] != b"-":
                    return reply
                self._reply, self._size = reply, len(line)
                continue
            reply = self._reply
            reply.lines.append(line)
            self._size += len(line) + 2
            if line == b"%d" % reply.code or line.startswith(b"%d " % reply.code):
                self._reply = None
                return reply
            if self._size > MOST_IN_REPLY:
                raise ReplyError(f"a reply of more than {MOST_IN_REPLY} bytes")
        return None

    def _next_line(self) -> bytes | None:
        try:
            return self._lines.next()
        except LineError as error:
            raise ReplyError(str(error)) from error


def passive_address(reply: Reply) -> tuple[str, int] | None:
    """Return the host and the port that a reply 227 names; ``None`` if it names none, or port 0."""
    found = _PASSIVE.search(reply.lines[-1])
    numbers = [] if found is None else [int(number) for number in found.groups()]
    if not numbers or max(numbers) > 255 or numbers[4:] == [0, 0]:
        return None
    return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]


def extended_port(reply: Reply) -> int | None:
    """Return the port that a reply 229 names; ``None`` if it names none, or an address beside it."""
    found = _EXTENDED.search(reply.lines[-1])
    port = 0 if found is None else int(found[2])
    return port if 0 < port < 65536 else None
