"""The sockets of one UDP connection towards the outside, and what the packet filter has open for them."""

from __future__ import annotations

import errno
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
    """One socket for each family, and for each address that a filter has asked for, made when it is needed first."""

    __slots__ = ("_claims", "_engine", "_event", "_failed", "_foreign", "_placed", "_sockets")

    def __init__(self, engine: Engine, event: Event, failed: Failed) -> None:
        """*event* is called with a socket and a mask; *failed* with a Winsock error and words when the packet filter
        could not open what it was to open."""
        self._engine = engine
        self._event = event
        self._failed = failed
        self._sockets: dict[int, DatagramTransport] = {}
        # The families of which the socket was given: what leaves by it may show another address than the firewall's.
        self._foreign: set[int] = set()
        self._placed: dict[SocketAddress, DatagramTransport] = {}
        self._claims: dict[SocketAddress, Claim] = {}

    def __iter__(self) -> Iterator[DatagramTransport]:
        return iter([*self._sockets.values(), *self._placed.values()])

    @property
    def names(self) -> tuple[SocketAddress, ...]:
        """The addresses that are bound."""
        return tuple(SocketAddress.from_sockaddr(server.getsockname()) for server in self)

    @property
    def name(self) -> SocketAddress | None:
        """The address of the IPv4 one where there are two; ``None`` where there is none."""
        server = self._sockets.get(socket.AF_INET) or next(iter(self), None)
        return None if server is None else SocketAddress.from_sockaddr(server.getsockname())

    def take(self, server: DatagramTransport, family: int) -> None:
        """Take *server*, which is bound, maybe to an address that is not the firewall's."""
        self._foreign.add(family)
        self._add(server, family)

    def hiding(self, family: int) -> SocketAddress | None:
        """Return what to leave from so that servers see an address of the firewall; ``None`` where they do anyway."""
        return SocketAddress(_ANYWHERE[socket.AddressFamily(family)], 0) if family in self._foreign else None

    def _add(self, server: DatagramTransport, family: int) -> None:
        self._sockets[family] = server
        server.watch(partial(self._event, server))

    def of(self, family: int, place: SocketAddress | None = None) -> DatagramTransport:
        """Return the socket of *family*, bound to *place* if one is given, port 0 for a free one (B6.9).

        :raises OSError: it cannot be made.
        """
        server = self._sockets.get(family) if place is None else self._at(family, place)
        if server is None:
            server = self._engine.network.datagram(family)
            try:
                server.bind((_ANYWHERE[socket.AddressFamily(family)], 0) if place is None else place.sockaddr)
            except OSError:
                server.close(True)
                raise
            if place is None:
                self._add(server, family)
            else:
                self._placed[place] = server
                server.watch(partial(self._event, server))
        return server

    def open_to(self, address: SocketAddress, place: SocketAddress | None = None) -> None:
        """Open the own port, of the socket at *place* if one is given, to *address* alone (B4.21).

        :raises OSError: it cannot be.
        """
        local = SocketAddress.from_sockaddr(self.of(address.family, place).getsockname())
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

    def close_at(self, place: SocketAddress) -> None:
        """Close the socket that was made for *place*: nothing leaves from there any more."""
        server = self._placed.pop(place, None)
        if server is not None:
            server.close(True)

    def close(self) -> None:
        """Close the sockets, and what is open for them."""
        for server in self:
            server.close(True)
        for address in list(self._claims):
            self.close_to(address)

    def clear(self) -> None:
        """Forget the sockets, which are closed."""
        self._sockets.clear()
        self._placed.clear()

    def _at(self, family: int, place: SocketAddress) -> DatagramTransport | None:
        """Return the socket at *place*, which may be one that the client uses already; ``None`` where there is none.

        :raises OSError: it is of another family.
        """
        if place.family != family:
            raise OSError(errno.EAFNOSUPPORT, f"{place} is of the other family")
        present = self._placed.get(place)
        if present is not None:
            return present
        return next((server for server in self if SocketAddress.from_sockaddr(server.getsockname()) == place), None)

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
