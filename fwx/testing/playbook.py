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
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

from fwx.interfaces import FwxFirewallEventSource, SocketAddress, fwxSourceWSP
from fwx.testing.firewall import MemoryFirewall
from fwx.testing.sockets import CLIENT, SERVER

Side = Literal["client", "server"]
Transport = Literal["tcp", "udp"]
_SIDES: tuple[Side, ...] = ("client", "server")
_WIDTH = 58
# Of a longer line so much is shown, and so much of that comes before what differs.
_LONGEST = 200
_BEFORE = 40


class PlaybookError(AssertionError):
    """The conversation went otherwise than written, or a playbook was never played."""


class Playbook:
    """One connection's script. Every method but :meth:`play` adds a step and returns the playbook.

    :ivar happened: once it was played, what came at the opening and after each step.
    """

    def __init__(
        self,
        firewall: MemoryFirewall,
        *,
        target: SocketAddress = SERVER,
        client: str = CLIENT.host,
        transport: Transport = "tcp",
        source: FwxFirewallEventSource = fwxSourceWSP,
        user: str = "",
        groups: tuple[str, ...] = (),
    ) -> None:
        """*firewall* has the filters that the conversation goes through; *client* asks for *target*.

        :param transport: with ``"udp"`` what is sent and got are datagrams, one for each step.
        :param source: the way in: through the proxy port, or ``fwxSourceNAT``. :param user: whom the client has
            authenticated itself as, with *groups*; nobody if it is empty.
        """
        self._firewall = firewall
        self._target = target
        self._client = client
        self._is_udp = transport == "udp"
        self._who: dict[str, Any] = {"source": source, "user": user, "groups": groups}
        self.happened: tuple[Column, ...] = ()
        self._steps: list[tuple[str, Callable[[Any, _Reader], None]]] = []
        # What is expected after so many steps; 0 is the opening of the connection.
        self._expected: list[Column] = [Column()]
        self.played = False

    def __del__(self) -> None:
        # A constructor that failed leaves nothing to play.
        if not getattr(self, "played", True):
            raise PlaybookError("a playbook was written and never played: call play()")

    # What happens.

    def client_sends(self, data: bytes) -> Self:
        return self._does(f"client sends {data!r}", lambda opened, reader: opened.client.send(data, reader.take))

    def server_sends(self, data: bytes) -> Self:
        return self._does(
            f"server sends {data!r}", lambda opened, reader: opened.established()[1].send(data, reader.take)
        )

    def client_ends(self) -> Self:
        """The client sends no more, and goes on receiving."""
        return self._does("client ends", lambda opened, _: opened.client.shutdown())

    def server_ends(self) -> Self:
        """The server sends no more, and goes on receiving."""
        return self._does("server ends", lambda opened, _: opened.established()[1].shutdown())

    def client_resets(self) -> Self:
        return self._does("client resets", lambda opened, _: opened.client.reset())

    def server_resets(self) -> Self:
        return self._does("server resets", lambda opened, _: opened.established()[1].reset())

    def passes(self, seconds: float) -> Self:
        """Time passes."""
        return self._does(f"{seconds:g} s pass", lambda *_: self._firewall.loop.advance(seconds))

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
        self._expected[-1].alerts = count
        return self

    def calls(self, *calls: str) -> Self:
        """The data filters make exactly these calls, such as ``external.Send(5)``; without this step any are right."""
        self._expected[-1].calls = list(calls)
        return self

    def play(self, *, timely: bool = True) -> Any:
        """Let it happen and compare; return the connection for further questions: a
        :class:`~fwx.testing.MemoryConnection`, or a :class:`~fwx.testing.MemoryDatagramConnection`.

        :param timely: what is expected comes before the next step. Otherwise all that matters is what each side gets in
            the end, and how it ends: for filters that take their time, and conversations of which both sides talk.
        :raises PlaybookError: something else happened; prints what was written and what happened side by side.
        """
        self.played = True
        firewall = self._firewall
        before, faults, calls = len(firewall.alerts), len(firewall.faults), len(firewall.observer.calls)
        ask = firewall.open_datagrams if self._is_udp else firewall.open
        opened = ask(self._target, self._client, **self._who)
        reader = _Reader(opened, firewall, before, calls)
        failures: list[list[str]] = []
        columns: list[Column] = []
        for place, expected in enumerate(self._expected):
            failures.append(self._act(place - 1, opened, reader) if place else [])
            columns.append(reader.read(expected))
        self.happened = tuple(columns)
        written = self._lines(self._expected, [[] for _ in columns], timely)
        happened = self._lines(columns, failures, timely)
        happened += [f"!! a filter failed: {words}" for words in firewall.faults[faults:]]
        if written != happened:
            raise PlaybookError(_side_by_side(written, happened))
        return opened

    def _lines(self, columns: list[Column], failures: list[list[str]], timely: bool) -> list[str]:
        """Say what *columns* hold: each behind its step, or all of them behind the last one."""
        steps = [self._opening, *(f">> {words}" for words, _ in self._steps)]
        together = Column.of(columns)
        lines: list[str] = []
        for step, failed, column in zip(steps, failures, columns, strict=True):
            lines += [*failed, step, *(column.lines(self._is_udp) if timely else ())]
        return lines if timely else lines + together.lines(self._is_udp)

    @property
    def _opening(self) -> str:
        return f">> client {self._client} asks for {self._target}"

    def _act(self, place: int, opened: Any, reader: _Reader) -> list[str]:
        """Have a step happen; return what is to be said where it was not possible."""
        words, act = self._steps[place]
        try:
            act(opened, reader)
        except (AssertionError, OSError) as error:
            return [f"!! {words} was not possible: {error}"]
        return []

    def _does(self, words: str, act: Callable[[Any, _Reader], None]) -> Self:
        self._steps.append((words, act))
        self._expected.append(Column())
        return self

    def _expects(self, side: Side, data: bytes) -> Self:
        self._expected[-1].data[side].append(data)
        return self

    def _expects_end(self, side: Side, words: str) -> Self:
        self._expected[-1].events.add(f"{side} {words}")
        return self


class Column:
    """What is expected between two steps, or what happened there.

    :ivar data: what each side gets. :ivar events: other things, such as ``client sees the end``.
    :ivar alerts: how many.
    :ivar calls: those of the data filters, ``None`` where any are right; compared if ``is_compared``.
    """

    def __init__(self) -> None:
        self.data: dict[Side, list[bytes]] = {side: [] for side in _SIDES}
        self.events: set[str] = set()
        self.alerts = 0
        self.calls: list[str] | None = None
        self.is_compared = True

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Self:
        """Return all of *columns* in one, but for the calls."""
        whole = cls()
        for column in columns:
            for side in _SIDES:
                whole.data[side] += column.data[side]
            whole.events |= column.events
            whole.alerts += column.alerts
        return whole

    def lines(self, is_udp: bool) -> list[str]:
        """Say it; what is got is one piece, or datagrams."""
        lines = []
        for side, pieces in self.data.items():
            got = pieces if is_udp else [data for data in [b"".join(pieces)] if data]
            lines += [f"<< {side} gets {data!r}" for data in got]
        lines += [f"<< {event}" for event in sorted(self.events)]
        lines += [f"<< {self.alerts} alerts"] if self.alerts else []
        return lines + [f"   {call}" for call in (self.calls or () if self.is_compared else ())]


class _Reader:
    """Reads what has happened since the last step."""

    def __init__(self, opened: Any, firewall: MemoryFirewall, alerts: int, calls: int) -> None:
        """*alerts* and *calls* are how many there were before the connection."""
        self._opened = opened
        self._firewall = firewall
        self._alerts = alerts
        self._calls = calls
        self._seen: set[str] = set()
        self._column = Column()

    def take(self) -> bool:
        """Have both sides read what is there, in the middle of a step; tell whether there was anything."""
        taken = False
        for side, peer in self._peers():
            data = peer.receive()
            if data:
                taken = True
                self._column.data[side] += [data] if isinstance(data, bytes) else data
        return taken

    def read(self, expected: Column) -> Column:
        self.take()
        column, self._column = self._column, Column()
        if self._opened.refused is not None:
            self._note(column, "refused")
        for side, peer in self._peers():
            if side == "client" and self._opened.refused is not None:
                continue
            if peer.ended:
                self._note(column, f"{side} sees the end")
            if peer.was_reset:
                self._note(column, f"{side} sees a reset")
        column.alerts = len(self._firewall.alerts) - self._alerts
        self._alerts = len(self._firewall.alerts)
        calls = self._firewall.observer.calls
        made, self._calls = calls[self._calls :], len(calls)
        column.calls, column.is_compared = made, expected.calls is not None
        return column

    def _peers(self) -> list[tuple[Side, Any]]:
        peers: list[tuple[Side, Any]] = [("client", self._opened.client), ("server", self._opened.server)]
        return [(side, peer) for side, peer in peers if peer is not None]

    def _note(self, column: Column, event: str) -> None:
        if event not in self._seen:
            self._seen.add(event)
            column.events.add(event)


def _side_by_side(written: list[str], happened: list[str]) -> str:
    rows = ["the conversation went otherwise than written", "", _row(" ", "written", "happened")]
    matcher = difflib.SequenceMatcher(None, written, happened, autojunk=False)
    for kind, first, last, start, stop in matcher.get_opcodes():
        left, right = written[first:last], happened[start:stop]
        mark = " " if kind == "equal" else "!"
        for one, other in itertools.zip_longest(left, right, fillvalue=""):
            rows.append(_row(mark, *_shortened(one, other)))
    return "\n".join(rows)


def _shortened(one: str, other: str) -> tuple[str, str]:
    """Return two lines that stand side by side; of long ones what is around their first difference."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    differs = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(differs - _BEFORE, 0)
    return _window(one, start), _window(other, start)


def _window(line: str, start: int) -> str:
    stop = start + _LONGEST
    if len(line) <= _LONGEST:
        return line
    head = line[: line.find("'") + 1] if start else ""
    return f"{head}{'...' if start else ''}{line[start:stop]}{f'... ({len(line)} characters)' if line[stop:] else ''}"


def _row(mark: str, left: str, right: str) -> str:
    return f"{mark} {left:<{_WIDTH}} | {right}".rstrip()
