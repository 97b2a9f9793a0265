"""The filter ``server-split``: its listening sockets, the connections of its rules, and who of all that may come."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from fwx import sdk
from fwx.filters.server_split.choice import Choice
from fwx.filters.server_split.connection import uncounted
from fwx.filters.server_split.inside import Inside
from fwx.filters.server_split.options import SplitOptions
from fwx.filters.server_split.splitter import Arrival, SplitEvents, Splitter, StoppingError

_BACKLOG = 1024
_SHORTAGE_SECONDS = 0.1


@sdk.implementer(sdk.IFWXFilter)
class ServerSplit(sdk.ConnectionFilter):
    """The filter object. Clients come to its own sockets, and by the connections of the rules that name it."""

    Options = SplitOptions
    EVENTS = ("Split refused", "Inside server silent")
    events = sdk.fwx_Connect_Tcp

    def __init__(self, options: SplitOptions) -> None:
        self._options = options
        self._listening: list[sdk.AsyncSocket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: Counter[str] = Counter()
        self._inside: dict[str, Inside] = {}
        self._splitter: Splitter | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        options = self._options
        is_client = options.sessions == "client"
        for server in options.servers:
            address = sdk.SocketAddress.parse(server.address)
            self._inside[server.address] = Inside(firewall, address, is_client=is_client)
        choice = Choice(options, asyncio.get_running_loop().time)
        self._splitter = Splitter(options, choice, self._inside, SplitEvents(firewall))
        try:
            for place in options.listen:
                self._listen(firewall, sdk.SocketAddress.parse(place))
        except sdk.COMError:
            self.ended()
            raise
        for listening in self._listening:
            self._start(firewall, self._accept(firewall, listening))

    def ended(self) -> None:
        self._stop_listening()
        for task in self._tasks:
            task.cancel()
        for inside in self._inside.values():
            inside.close()
        self._inside.clear()
        self._splitter = None

    def data_filter(self, asked: sdk.AskedConnection) -> None:
        """Play the server that a client asks for (B3.33), in the place of being between it and the client."""
        if asked.target.address is None:
            # The rules are told the place, and know addresses; a name has none before somebody looks it up.
            asked.connection.Deny(0)
            return
        asked.connection.EmulateForConnect(ServerPart(self, asked.target), None)
        asked.connection.SetSocketName(asked.target, None)

    async def serve(self, arrival: Arrival) -> None:
        """Do everything for a client, up to its end."""
        host, splitter = arrival.client.host, self._splitter
        if splitter is None:
            arrival.outside.close(True)
            return
        words = self._too_many(host)
        if words:
            splitter.note(arrival, words)
            arrival.outside.close(True)
            return
        self._clients[host] += 1
        try:
            await splitter.serve(arrival)
        except StoppingError:
            self._stop_listening()
        finally:
            self._clients[host] -= 1
            if not self._clients[host]:
                del self._clients[host]

    def _too_many(self, host: str) -> str:
        options = self._options
        if self._clients.total() >= options.connections:
            return f"there are {options.connections} connections (connections)"
        if options.per_client and self._clients[host] >= options.per_client:
            return f"{host} has {options.per_client} connections (per_client)"
        return ""

    def _listen(self, firewall: sdk.IFWXFirewall, place: sdk.SocketAddress) -> None:
        socket = firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        self._listening.append(sdk.AsyncSocket(socket))
        socket.Bind(place, None, None)
        socket.Listen(_BACKLOG)

    async def _accept(self, firewall: sdk.IFWXFirewall, listening: sdk.AsyncSocket) -> None:
        record: Any = sdk.IRecorded
        while self._listening:
            try:
                outside, client, place = await listening.accept()
            except sdk.COMError:
                # Descriptors or memory have run out, or the peer has gone already.
                await asyncio.sleep(_SHORTAGE_SECONDS)
                continue
            remark = record(outside.socket).remark
            self._start(firewall, self.serve(Arrival(outside, client, place, remark, uncounted)))

    def _start(self, firewall: sdk.IFWXFirewall, coroutine: Any) -> None:
        task = sdk.spawn(firewall, coroutine, name="server-split")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_listening(self) -> None:
        """Who comes now is turned away by the kernel."""
        listening, self._listening = self._listening, []
        for each in listening:
            each.close()


class ServerPart(sdk.AsyncDataFilter):
    """Plays the server towards one client (B3.33), for whom a server is chosen."""

    def __init__(self, owner: ServerSplit, place: sdk.SocketAddress) -> None:
        self._owner: ServerSplit | None = owner
        self._place = place

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        record: Any = sdk.IRecorded
        known = record(connection)

        def count(size: int) -> None:
            with suppress(sdk.COMError):  # the client's connection has ended, the server's not yet
                connection.IncrementBytesSentCounter(size)

        if self._owner is not None:
            await self._owner.serve(Arrival(internal, known.client, self._place, known.remark, count))

    def Detach(self) -> None:
        super().Detach()
        self._owner = None
