"""The sockets of one UDP connection towards the outside, and what the packet filter has open for them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.datagramsocket import keep_bursts
from fwx.impl.packetfilter import Claim, Opening
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.transport import DatagramTransport

_ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  as sendto does it

Event = Callable[["DatagramTransport", int], None]
Failed = Callable[[int, str], None]


class DatagramServers:
    """One socket for each family, made when it is needed first."""

    __slots__ = ("_claims", "_engine", "_event", "_failed", "_sockets")

    def __init__(self, engine: Engine, event: Event, failed: Failed) -> None:
        """*event* is called with a socket and a mask; *failed* with a Winsock error and words when the packet filter
        could not open what it was to open."""
        self._engine = engine
        self._event = event
        self._failed = failed
        self._sockets: dict[int, DatagramTransport] = {}
        self._claims: dict[SocketAddress, Claim] = {}

    def __iter__(self) -> Iterator[DatagramTransport]:
        return iter(self._sockets.values())

    @property
    def names(self) -> tuple[SocketAddress, ...]:
        """The addresses that are bound."""
        return tuple(SocketAddress.from_sockaddr(server.getsockname()) for server in self)

    @property
    def name(self) -> SocketAddress | None:
        """The address of the IPv4 one where there are two; ``None`` where there is none."""
        server = self._sockets.get(socket.AF_INET) or self._sockets.get(socket.AF_INET6)
        return None if server is None else SocketAddress.from_sockaddr(server.getsockname())

    def add(self, server: DatagramTransport, family: int) -> None:
        """Take *server*, which is bound."""
        self._sockets[family] = server
        server.watch(partial(self._event, server))

    def of(self, family: int) -> DatagramTransport:
        """Return the socket of *family*. :raises OSError: it cannot be made."""
        server = self._sockets.get(family)
        if server is None:
            server = self._engine.network.datagram(family)
            try:
                server.bind((_ANYWHERE[socket.AddressFamily(family)], 0))
            except OSError:
                server.close(True)
                raise
            self.add(server, family)
        return server

    def open_to(self, address: SocketAddress) -> None:
        """Open the own port to *address* alone (B4.21). :raises OSError: it cannot be."""
        local = SocketAddress.from_sockaddr(self.of(address.family).getsockname())
        self._claim(address, Opening(FWX_PROTOCOL_UDP, local, address))

    def open_to_all(self, bursts: bool) -> None:
        """Open the own ports to everybody (B6.18). *bursts*: keep 64 KiB for the reader (B6.21).

        :raises OSError: they cannot be opened.
        """
        for server in self if bursts else ():
            keep_bursts(server)
        for place in self.names:
            self._claim(place, Opening(FWX_PROTOCOL_UDP, place))

    def close_to(self, address: SocketAddress) -> None:
        """Close what was opened for *address*, if anything was."""
        claim = self._claims.pop(address, None)
        if claim is not None:
            self._engine.packet_filter.close(claim)

    def close(self) -> None:
        """Close the sockets, and what is open for them."""
        for server in self:
            server.close(True)
        for address in list(self._claims):
            self.close_to(address)

    def clear(self) -> None:
        """Forget the sockets, which are closed."""
        self._sockets.clear()

    def _claim(self, address: SocketAddress, opening: Opening) -> None:
        """Claim *opening*, for *address*: the peer's, or the own one where it is for everybody."""
        if address in self._claims:
            return
        claim = self._claims[address] = Claim(opening, partial(self._answered, address))
        try:
            self._engine.packet_filter.open(claim)
        except OSError:
            del self._claims[address]
            raise

    def _answered(self, address: SocketAddress, code: int) -> None:
        """The packet filter has opened the way; or it could not, and the connection may not go on."""
        if code:
            self._claims.pop(address, None)
            self._failed(code, f"the packet filter did not open the way to {address}")
