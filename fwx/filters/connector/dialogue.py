"""What the two sides of a primary connection say: lines that pass as they are, and signals among them."""

from __future__ import annotations

from typing import Protocol

from fwx import sdk
from fwx.filters.connector.announcer import RefusedError
from fwx.filters.connector.signals import Place, Side, SignalError, Signals
from fwx.filters.lines import LineError, Lines

MOST_AT_ONCE = 64
"""Signals in what comes at one time; every other connection waits until the service has announced them."""


class Announces(Protocol):
    """What announces secondary connections, such as :class:`fwx.filters.connector.announcer.Announcer`."""

    def announce(self, place: Place) -> sdk.SocketAddress:
        """Have it let through; return where the other side has to go for it. :raises RefusedError: it is not."""


class Dialogue:
    """The state of one primary connection (:class:`fwx.filters.conversation.Dialogue`).

    What is refused is not passed on: the client gets the answer in its place, and where there is none the connection
    ends.
    """

    held = closing = secured = False

    def __init__(self, signals: Signals, announcer: Announces, line_length: int, answer: bytes = b"") -> None:
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.notes: list[str] = []
        self.remarks: list[str] = []
        self.over = False
        self._left = MOST_AT_ONCE
        self._signals = signals
        self._announcer = announcer
        self._answer = answer
        self._client, self._server = (Lines(lambda _: line_length, takes_lf=True) for _ in range(2))

    def from_client(self, data: bytes | memoryview) -> None:
        self._take("client", self._client, data, self.to_server)

    def from_server(self, data: bytes | memoryview) -> None:
        self._take("server", self._server, data, self.to_client)

    def go_on(self) -> None:
        """Nothing is ever held back."""

    def give_up(self) -> None:
        """The client is owed nothing."""

    def awaited(self) -> None:
        """No line waits for anything."""

    def _take(self, side: Side, lines: Lines, data: bytes | memoryview, other: bytearray) -> None:
        if self.over:
            return
        lines.feed(data)
        self._left = MOST_AT_ONCE
        while not self.over:
            try:
                cut = lines.next_with_end()
            except LineError as error:
                self.notes.append(f"the {side}: {error}")
                self.over = True
                return
            if cut is None:
                return
            line, end = cut
            try:
                other += self._passed(side, line) + end
            except (SignalError, RefusedError) as error:
                self._refuse(f"the {side}: {error}")
                self._left -= 1
            if self._left < 0:
                self.notes.append(f"the {side}: more than {MOST_AT_ONCE} signals at once")
                self.over = True

    def _passed(self, side: Side, line: bytes) -> bytes:
        """Return the line that the other side gets; what it announces is announced first."""
        place = self._signals.read(side, line)
        if place is None:
            return line
        told = self._announcer.announce(place)
        self._left -= 1
        return place.line_with(told)

    def _refuse(self, words: str) -> None:
        self.notes.append(words)
        if self._answer:
            self.to_client += self._answer
        else:
            self.over = True
