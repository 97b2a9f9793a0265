"""Playbooks: a conversation through filters, written as a script, compared with what happened.

::

    book = Playbook(firewall)
    book.client_sends(b"hello").server_gets(b"HELLO")
    book.server_ends().client_sees_end()
    book.play()

What is sent happens in the order of the script. Between two such steps the order of what is expected does not matter;
what is not expected must not happen.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Literal, Self

from fwx.interfaces import SocketAddress
from fwx.testing.firewall import MemoryConnection, MemoryFirewall
from fwx.testing.memory import MemoryPeer
from fwx.testing.sockets import CLIENT, SERVER

Side = Literal["client", "server"]
_SIDES: tuple[Side, ...] = ("client", "server")
_WIDTH = 58


class PlaybookError(AssertionError):
    """The conversation went otherwise than written, or a playbook was never played."""


class Playbook:
    """One connection's script. Every method but :meth:`play` adds a step and returns the playbook."""

    def __init__(self, firewall: MemoryFirewall, *, target: SocketAddress = SERVER, client: str = CLIENT.host) -> None:
        """*firewall* has the filters that the conversation goes through; *client* asks for *target*."""
        self._firewall = firewall
        self._target = target
        self._client = client
        self._steps: list[tuple[str, Callable[[MemoryConnection], None]]] = []
        # What is expected after so many steps; 0 is the opening of the connection.
        self._expected: list[_Column] = [_Column()]
        self.played = False

    def __del__(self) -> None:
        # A constructor that failed leaves nothing to play.
        if not getattr(self, "played", True):
            raise PlaybookError("a playbook was written and never played: call play()")

    # What happens.

    def client_sends(self, data: bytes) -> Self:
        return self._does(f"client sends {data!r}", lambda opened: opened.client.send(data))

    def server_sends(self, data: bytes) -> Self:
        return self._does(f"server sends {data!r}", lambda opened: opened.established()[1].send(data))

    def client_ends(self) -> Self:
        """The client sends no more, and goes on receiving."""
        return self._does("client ends", lambda opened: opened.client.shutdown())

    def server_ends(self) -> Self:
        """The server sends no more, and goes on receiving."""
        return self._does("server ends", lambda opened: opened.established()[1].shutdown())

    def client_resets(self) -> Self:
        return self._does("client resets", lambda opened: opened.client.reset())

    def server_resets(self) -> Self:
        return self._does("server resets", lambda opened: opened.established()[1].reset())

    def passes(self, seconds: float) -> Self:
        """Time passes."""
        return self._does(f"{seconds:g} s pass", lambda _: self._firewall.loop.advance(seconds))

    # What is expected of it.

    def client_gets(self, data: bytes) -> Self:
        return self._expects("client", data)

    def server_gets(self, data: bytes) -> Self:
        return self._expects("server", data)

    def client_sees_end(self) -> Self:
        return self._expects_end("client", "sees the end")

    def server_sees_end(self) -> Self:
        return self._expects_end("server", "sees the end")

    def client_sees_reset(self) -> Self:
        return self._expects_end("client", "sees a reset")

    def server_sees_reset(self) -> Self:
        return self._expects_end("server", "sees a reset")

    def refused(self) -> Self:
        """The connection is refused; the client's connection ends."""
        self._expected[-1].events.add("refused")
        return self

    def alerts(self, count: int = 1) -> Self:
        """So many alerts are raised."""
        self._expected[-1].counts["alerts"] = count
        return self

    def calls(self, *calls: str) -> Self:
        """The data filters make exactly these calls, such as ``external.Send(5)``; without this step any are right."""
        self._expected[-1].calls = list(calls)
        return self

    def play(self) -> MemoryConnection:
        """Let it happen and compare; return the connection for further questions.

        :raises PlaybookError: something else happened; prints what was written and what happened side by side.
        """
        self.played = True
        firewall = self._firewall
        before, faults, calls = len(firewall.alerts), len(firewall.faults), len(firewall.observer.calls)
        opened = self._firewall.open(self._target, self._client)
        reader = _Reader(opened, self._firewall, before, calls)
        lines = [self._opening, *(f">> {words}" for words, _ in self._steps)]
        written: list[str] = []
        happened: list[str] = []
        for place, expected in enumerate(self._expected):
            if place:
                self._act(place - 1, opened, happened)
            actual = reader.read(expected)
            written += [lines[place], *expected.lines()]
            happened += [lines[place], *actual.lines()]
        happened += [f"!! a filter failed: {words}" for words in self._firewall.faults[faults:]]
        if written != happened:
            raise PlaybookError(_side_by_side(written, happened))
        return opened

    @property
    def _opening(self) -> str:
        return f">> client {self._client} asks for {self._target}"

    def _act(self, place: int, opened: MemoryConnection, happened: list[str]) -> None:
        words, act = self._steps[place]
        try:
            act(opened)
        except (AssertionError, OSError) as error:
            happened.append(f"!! {words} was not possible: {error}")

    def _does(self, words: str, act: Callable[[MemoryConnection], None]) -> Self:
        self._steps.append((words, act))
        self._expected.append(_Column())
        return self

    def _expects(self, side: Side, data: bytes) -> Self:
        self._expected[-1].data[side] += data
        return self

    def _expects_end(self, side: Side, words: str) -> Self:
        self._expected[-1].events.add(f"{side} {words}")
        return self


class _Column:
    """What is expected between two steps, or what happened there."""

    def __init__(self) -> None:
        self.data: dict[Side, bytes] = dict.fromkeys(_SIDES, b"")
        self.events: set[str] = set()
        self.counts: dict[str, int] = {"alerts": 0}
        self.calls: list[str] | None = None

    def lines(self) -> list[str]:
        lines = [f"<< {side} gets {data!r}" for side, data in self.data.items() if data]
        lines += [f"<< {event}" for event in sorted(self.events)]
        lines += [f"<< {count} {name}" for name, count in self.counts.items() if count]
        return lines + [f"   {call}" for call in self.calls or ()]


class _Reader:
    """Reads what has happened since the last step."""

    def __init__(self, opened: MemoryConnection, firewall: MemoryFirewall, alerts: int, calls: int) -> None:
        """*alerts* and *calls* are how many there were before the connection."""
        self._opened = opened
        self._firewall = firewall
        self._alerts = alerts
        self._calls = calls
        self._seen: set[str] = set()

    def read(self, expected: _Column) -> _Column:
        column = _Column()
        if self._opened.refused is not None:
            self._note(column, "refused")
        for side, peer in (("client", self._opened.client), ("server", self._opened.server)):
            if peer is not None:
                self._read_peer(column, "client" if side == "client" else "server", peer)
        column.counts["alerts"] = len(self._firewall.alerts) - self._alerts
        self._alerts = len(self._firewall.alerts)
        calls = self._firewall.observer.calls
        made, self._calls = calls[self._calls :], len(calls)
        column.calls = made if expected.calls is not None else None
        return column

    def _read_peer(self, column: _Column, side: Side, peer: MemoryPeer) -> None:
        column.data[side] = peer.receive()
        if side == "client" and self._opened.refused is not None:
            return
        if peer.ended:
            self._note(column, f"{side} sees the end")
        if peer.was_reset:
            self._note(column, f"{side} sees a reset")

    def _note(self, column: _Column, event: str) -> None:
        if event not in self._seen:
            self._seen.add(event)
            column.events.add(event)


def _side_by_side(written: list[str], happened: list[str]) -> str:
    rows = ["the conversation went otherwise than written", "", _row(" ", "written", "happened")]
    matcher = difflib.SequenceMatcher(None, written, happened, autojunk=False)
    for kind, first, last, start, stop in matcher.get_opcodes():
        left, right = written[first:last], happened[start:stop]
        mark = " " if kind == "equal" else "!"
        for place in range(max(len(left), len(right))):
            one = left[place] if place < len(left) else ""
            rows.append(_row(mark, one, right[place] if place < len(right) else ""))
    return "\n".join(rows)


def _row(mark: str, left: str, right: str) -> str:
    return f"{mark} {left:<{_WIDTH}} | {right}".rstrip()
