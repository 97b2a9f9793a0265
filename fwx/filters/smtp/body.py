"""The text of a message, from the reply to DATA up to the line with the dot alone (RFC 5321, 4.1.1.4 and 4.5.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_IN_FIELD = 65536
"""Bytes of a header field with all its lines, where header fields are searched."""

_BAD = re.compile(rb"\x00|\r(?!\n)|(?<!\r)\n")
_WORDS = {b"\x00": "a NUL", b"\r": "a bare CR", b"\n": "a bare LF"}


class BodyError(ValueError):
    """A message that may not pass: ``reply`` is what the client is told, ``str()`` what the log is."""

    def __init__(self, reply: str, words: str) -> None:
        self.reply = reply
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may be. A size of 0 is no limit; ``line`` counts bytes of a line with its CRLF."""

    size: int
    line: int
    headers: re.Pattern[bytes] | None
    body: re.Pattern[bytes] | None


class Body:
    """Takes the text of one message; only whole lines that have been checked come out of it.

    :ivar done: the dot has come. :ivar size: bytes of the message as RFC 1870, 6.1, counts them. :ivar rest: what came
        behind the dot, once it has.
    """

    __slots__ = ("_data", "_field", "_field_size", "_in_headers", "_limits", "done", "rest", "size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._data = b""
        self._field: list[bytes] = []
        self._field_size = 0
        self._in_headers = True
        self.done = False
        self.size = 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take *data*; return what may pass. :raises BodyError: nothing more may, the end least of all."""
        data = self._data + data
        if data.startswith(b".\r\n"):
            end, behind = 0, 3
        else:
            found = data.find(b"\r\n.\r\n")
            if found >= 0:
                end, behind = found + 2, found + 5
            else:
                end = behind = data.rfind(b"\r\n") + 2 if b"\r\n" in data else 0
        text, tail = data[:end], data[behind:]
        self._check(text)
        passed = self._search(text, at_end=behind != end)
        if behind != end:
            self.done = True
            self.rest, self._data = tail, b""
            return passed + b".\r\n"
        self._check_tail(tail)
        self._data = tail
        return passed

    def _check(self, text: bytes) -> None:
        lines = text.count(b"\r\n")
        if text.count(b"\n") != lines or text.count(b"\r") != lines or b"\x00" in text:
            raise _broken(text)
        if not text:
            return
        if max(map(len, text.split(b"\r\n"))) + 2 > self._limits.line:
            self._measure(text.split(b"\r\n"))
        self.size += len(text) - text.count(b"\r\n.") - text.startswith(b".")
        if 0 < self._limits.size < self.size:
            raise self._too_large()

    def _check_tail(self, tail: bytes) -> None:
        # The CR at the end may be half of a CRLF.
        if _BAD.search(tail[:-1] if tail.endswith(b"\r") else tail):
            raise _broken(tail)
        self._measure([tail.removesuffix(b"\r")])
        if 0 < self._limits.size < self.size + len(tail.removesuffix(b"\r")) - tail.startswith(b"."):
            raise self._too_large()

    def _measure(self, lines: list[bytes]) -> None:
        # The dot that stuffing adds does not count (4.5.3.1.6).
        if any(len(line) + 2 - line.startswith(b".") > self._limits.line for line in lines):
            raise BodyError("554 5.6.0 Line too long", f"a line of more than {self._limits.line} bytes in a message")

    def _too_large(self) -> BodyError:
        return BodyError("552 5.3.4 Message too big", f"a message of more than {self._limits.size} bytes")

    def _search(self, text: bytes, at_end: bool) -> bytes:
        """Search whole lines for what is refused; hold a header field back until it has come whole."""
        headers, body = self._limits.headers, self._limits.body
        if headers is None and body is None:
            return text
        if not self._in_headers and body is None:
            return text
        passed: list[bytes] = []
        for line in text.split(b"\r\n")[:-1]:
            if self._in_headers:
                self._search_field(line, passed)
            else:
                self._refuse_what(body, line, "the text")
                passed.append(line)
        if at_end and self._field:
            self._end_field(passed)
        return b"".join(line + b"\r\n" for line in passed)

    def _search_field(self, line: bytes, passed: list[bytes]) -> None:
        if not line.startswith((b" ", b"\t")) and self._field:
            self._end_field(passed)
        if not line:
            self._in_headers = False
            passed.append(line)
            return
        self._field.append(line)
        self._field_size += len(line) + 2
        if self._field_size > MOST_IN_FIELD:
            raise BodyError("554 5.6.0 Header field too long", f"a header field of more than {MOST_IN_FIELD} bytes")

    def _end_field(self, passed: list[bytes]) -> None:
        # Unfolded as RFC 5322, 2.2.3, has it.
        lines, self._field, self._field_size = self._field, [], 0
        self._refuse_what(self._limits.headers, b"".join(map(_unstuffed, lines)), "a header field")
        passed += lines

    def _refuse_what(self, pattern: re.Pattern[bytes] | None, line: bytes, where: str) -> None:
        found = None if pattern is None else pattern.search(_unstuffed(line))
        if found is not None:
            raise BodyError("554 5.7.1 Message refused by policy", f"{found[0][:60]!r} in {where} of a message")


def _unstuffed(line: bytes) -> bytes:
    return line[1:] if line.startswith(b".") else line


def _broken(text: bytes) -> BodyError:
    found = _BAD.search(text)
    words = "a bare CR" if found is None else _WORDS[found[0]]
    return BodyError(f"554 5.6.0 Message with {words}", f"{words} in a message")
