"""Hears a client, chooses the servers that fit, and has the first one of them that answers take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fwx import sdk
from fwx.filters.server_split.choice import Choice
from fwx.filters.server_split.connection import SplitConnection
from fwx.filters.server_split.hearing import (
    MISDIRECTED,
    TIMED_OUT,
    TOO_LARGE,
    UNAVAILABLE,
    FirstLine,
    Hearing,
    HearingError,
    HostName,
    Refusal,
    Unasked,
)
from fwx.filters.server_split.inside import Inside
from fwx.filters.server_split.options import SplitOptions

_FAREWELL_SECONDS = 2.0
_WIDEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client that has come.

    :ivar outside: the socket towards it. :ivar client: its address; :attr:`place`, the one that it has come to.
    :ivar remark: has its record say why it is turned away; :attr:`sent`, how many bytes went on to a server.
    """

    outside: sdk.AsyncSocket
    client: sdk.SocketAddress
    place: sdk.SocketAddress
    remark: Callable[[str], None]
    sent: Callable[[int], None]


class SplitEvents:
    """What the filter raises alerts of."""

    def __init__(self, firewall: sdk.IFWXFirewall) -> None:
        """*firewall* is what ``FilterInit`` got."""
        self._refused = sdk.define_event(firewall, "Split refused", source="server-split")
        self._silent = sdk.define_event(firewall, "Inside server silent", source="server-split")

    def refused(self, client: str, words: str) -> None:
        sdk.signal(self._refused, f"client {client}: {words}", key=client)

    def silent(self, server: str, client: sdk.SocketAddress) -> None:
        sdk.signal(self._silent, f"server {server} does not take {client}", key=server)


class StoppingError(Exception):
    """The service stops, and takes nobody any more."""


class _RefusedError(Exception):
    """The client is turned away."""

    def __init__(self, status: int, words: str) -> None:
        self.refusal = Refusal(status, words)
        super().__init__(words)


class Splitter:
    """Serves arrivals, each in a task of its own."""

    def __init__(
        self, options: SplitOptions, choice: Choice, inside: Mapping[str, Inside], events: SplitEvents
    ) -> None:
        """*inside* has the servers of the *options* by their addresses."""
        self._options = options
        self._choice = choice
        self._inside = inside
        self._events = events

    async def serve(self, arrival: Arrival) -> None:
        """Do everything for a client, up to its end. :raises StoppingError: it was turned away for that."""
        outside, hearing = arrival.outside, self._hearing()
        try:
            first = await self._hear(outside, hearing)
            if first is not None:
                connection = await self._join(arrival, self._chosen(arrival, hearing), first)
                await connection.ended
        except (HearingError, _RefusedError) as error:
            self.note(arrival, error.refusal.words)
            await _take_leave(outside, hearing.farewell(error.refusal.status))
        except StoppingError:
            await _take_leave(outside, hearing.farewell(UNAVAILABLE))
            raise
        finally:
            # What is over has been closed already.
            outside.close(True)

    def note(self, arrival: Arrival, words: str) -> None:
        """Have the log and an alert say why a client is turned away."""
        arrival.remark(f"server-split: {words}")
        self._events.refused(arrival.client.host, words)

    def _hearing(self) -> Hearing:
        options = self._options
        if options.by == "host":
            return HostName(options.bytes)
        refusal = options.refusal.encode()
        return FirstLine(refusal) if options.by == "line" else Unasked(refusal)

    async def _hear(self, outside: sdk.AsyncSocket, hearing: Hearing) -> bytes | None:
        """Listen to a client until it can be chosen for; return what it has said, ``None`` when it has gone.

        :raises HearingError: it says nothing that can be made out, or not in time.
        """
        options, said = self._options, bytearray()
        try:
            async with asyncio.timeout(options.seconds):
                while not hearing.done:
                    if len(said) >= options.bytes:
                        raise HearingError(TOO_LARGE, f"nothing to choose by in {options.bytes} bytes (bytes)")
                    data = bytes((await outside.receive()).GetBufferAndSize())
                    said += data
                    if data:
                        hearing.feed(data)
                    else:
                        hearing.end()
        except TimeoutError:
            words = f"nothing to choose by in {options.seconds:g} s, after {len(said)} bytes (seconds)"
            raise HearingError(TIMED_OUT, words) from None
        except sdk.COMError:
            return None
        return bytes(said)

    def _chosen(self, arrival: Arrival, hearing: Hearing) -> list[str]:
        """Return the servers to be tried. :raises _RefusedError: none fits."""
        choice, host = self._choice, arrival.client.host
        match hearing:
            case HostName(name=name):
                found, about = choice.by_host(name), f"host {_shown(name)}"
            case FirstLine(line=line):
                found, about = choice.by_line(line), f"line {_shown(line.decode('latin-1'))}"
            case _ if self._options.by == "address":
                found, about = choice.by_address(host), f"client {host}"
            case _:
                found, about = choice.in_turn(), "anybody"
        if not found:
            raise _RefusedError(MISDIRECTED, f"no server for {about}")
        return found

    async def _join(self, arrival: Arrival, servers: list[str], first: bytes) -> SplitConnection:
        """Connect to the first of *servers* that answers.

        :raises _RefusedError: none does, or the rules forbid it. :raises StoppingError: the service stops.
        """
        for server in servers:
            connection = SplitConnection(arrival.outside, first, arrival.sent)
            try:
                self._inside[server].connect(connection, arrival.client, arrival.place)
            except sdk.COMError as error:
                if error.hresult == sdk.FWX_E_TERMINATING:
                    raise StoppingError from error
                raise _RefusedError(UNAVAILABLE, f"server {server}: {error}") from error
            if await connection.joined:
                self._choice.answered(server)
                return connection
            self._choice.failed(server)
            self._events.silent(server, arrival.client)
        raise _RefusedError(UNAVAILABLE, f"none of {', '.join(servers)} answers")


async def _take_leave(outside: sdk.AsyncSocket, farewell: bytes) -> None:
    """Tell a client why it is turned away; a reset on top of what it still sends could overtake that."""
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            if farewell:
                await outside.send(farewell)
            outside.shutdown()
            async for _ in outside:
                """Too late."""
        outside.close()
    except (TimeoutError, sdk.COMError):
        outside.close(True)


def _shown(text: str | None) -> str:
    return "that nobody names" if text is None else repr(text[:_WIDEST_NAME])
