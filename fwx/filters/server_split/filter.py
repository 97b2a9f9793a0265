"""The filter ``server-split``: listens outside, hears a client, and has an inside server take it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

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

_BACKLOG = 1024
_FAREWELL_SECONDS = 2.0
_SHORTAGE_SECONDS = 0.1
_WIDEST_NAME = 100


class _RefusedError(Exception):
    """The client is turned away."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.words)


@sdk.implementer(sdk.IFWXFilter)
class ServerSplit(sdk.Unknown):
    """The filter object. It asks for no events: clients come to its own sockets (B1.12)."""

    Options = SplitOptions

    def __init__(self, options: SplitOptions) -> None:
        self._options = options
        self._listening: list[sdk.AsyncSocket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: Counter[str] = Counter()
        self._inside: dict[str, Inside] = {}
        self._firewall: Any = None
        self._choice: Any = None
        self._refused: sdk.EventDefinition | None = None
        self._silent: sdk.EventDefinition | None = None

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        options = self._options
        self._firewall = pIFWXFirewall
        self._refused = sdk.define_event(pIFWXFirewall, "Split refused", source="server-split")
        self._silent = sdk.define_event(pIFWXFirewall, "Inside server silent", source="server-split")
        self._choice = Choice(options, asyncio.get_running_loop().time)
        is_client = options.sessions == "client"
        for server in options.servers:
            address = sdk.SocketAddress.parse(server.address)
            self._inside[server.address] = Inside(pIFWXFirewall, address, is_client=is_client)
        try:
            for place in options.listen:
                self._listen(sdk.SocketAddress.parse(place))
        except sdk.COMError:
            self._close()
            raise
        for listening in self._listening:
            self._start(self._accept(listening))
        return sdk.FwxFilterHookEvents(0)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return SplitSession()

    def FilterShutdown(self) -> None:
        self._close()

    def _listen(self, place: sdk.SocketAddress) -> None:
        socket = self._firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        self._listening.append(sdk.AsyncSocket(socket))
        socket.Bind(place, None, None)
        socket.Listen(_BACKLOG)

    def _close(self) -> None:
        """Take nobody any more, and let go of everybody."""
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for task in self._tasks:
            task.cancel()
        for inside in self._inside.values():
            inside.close()
        self._inside.clear()
        self._firewall = None

    def _start(self, coroutine: Any) -> None:
        task = sdk.spawn(self._firewall, coroutine, name="server-split")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # A client's way.

    async def _accept(self, listening: sdk.AsyncSocket) -> None:
        while self._listening:
            try:
                accepted = await listening.accept()
            except sdk.COMError:
                # Descriptors or memory have run out, or the peer has gone already.
                await asyncio.sleep(_SHORTAGE_SECONDS)
                continue
            host = accepted.remote.host
            words = self._too_many(host)
            if words:
                self._note(accepted, words)
                accepted.socket.close(True)
            else:
                self._clients[host] += 1
                self._start(self._serve(accepted))

    def _too_many(self, host: str) -> str:
        options = self._options
        if self._clients.total() >= options.connections:
            return f"there are {options.connections} connections (connections)"
        if options.per_client and self._clients[host] >= options.per_client:
            return f"{host} has {options.per_client} connections (per_client)"
        return ""

    async def _serve(self, accepted: sdk.Accepted) -> None:
        outside = accepted.socket
        hearing = self._hearing()
        try:
            first = await self._hear(outside, hearing)
            if first is not None:
                connection = await self._join(accepted, self._chosen(accepted, hearing), first)
                await connection.ended
        except (HearingError, _RefusedError) as error:
            self._note(accepted, error.refusal.words)
            await _take_leave(outside, hearing.farewell(error.refusal.status))
        finally:
            # What is over has been closed already.
            outside.close(True)
            self._leave(accepted.remote.host)

    def _leave(self, host: str) -> None:
        self._clients[host] -= 1
        if not self._clients[host]:
            del self._clients[host]

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

    def _chosen(self, accepted: sdk.Accepted, hearing: Hearing) -> list[str]:
        """Return the servers to be tried. :raises _RefusedError: none fits."""
        choice: Choice = self._choice
        match hearing:
            case HostName(name=name):
                found, about = choice.by_host(name), f"host {_shown(name)}"
            case FirstLine(line=line):
                found, about = choice.by_line(line), f"line {_shown(line.decode('latin-1'))}"
            case _ if self._options.by == "address":
                found, about = choice.by_address(accepted.remote.host), f"client {accepted.remote.host}"
            case _:
                found, about = choice.in_turn(), "anybody"
        if not found:
            raise _RefusedError(Refusal(MISDIRECTED, f"no server for {about}"))
        return found

    async def _join(self, accepted: sdk.Accepted, servers: list[str], first: bytes) -> SplitConnection:
        """Connect to the first of *servers* that answers. :raises _RefusedError: none does, or the rules forbid it."""
        outside, client, place = accepted
        choice: Choice = self._choice
        for server in servers:
            connection = SplitConnection(outside, first)
            try:
                self._inside[server].connect(connection, client, place)
            except sdk.COMError as error:
                if error.hresult == sdk.FWX_E_TERMINATING:
                    self._stop_listening()
                raise _RefusedError(Refusal(UNAVAILABLE, f"server {server}: {error}")) from error
            if await connection.joined:
                choice.answered(server)
                return connection
            choice.failed(server)
            if self._silent is not None:
                sdk.signal(self._silent, f"server {server} does not take {client}", key=server)
        raise _RefusedError(Refusal(UNAVAILABLE, f"none of {', '.join(servers)} answers"))

    def _stop_listening(self) -> None:
        """The service stops: who comes now is turned away by the kernel."""
        listening, self._listening = self._listening, []
        for each in listening:
            each.close()

    def _note(self, accepted: sdk.Accepted, words: str) -> None:
        record: Any = sdk.IRecorded
        record(accepted.socket.socket).remark(f"server-split: {words}")
        if self._refused is not None:
            sdk.signal(self._refused, f"client {accepted.remote.host}: {words}", key=accepted.remote.host)


@sdk.implementer(sdk.IFWXSessionFilter)
class SplitSession(sdk.Unknown):
    """There are no events, so there is nothing to do."""

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> sdk.HRESULT:
        return sdk.E_NOTIMPL

    def Detach(self) -> None:
        """Nothing is held."""


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
