"""Where a connection leaves from whose server is to see the client: the client's own address."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fwx.impl.departure import Departure
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import winsock_error
from fwx.network import SocketTransport
from fwx.transparent.kernel import os_error
from fwx.transparent.orders import Kind

if TYPE_CHECKING:
    from fwx.impl.packetfilter import Answered
    from fwx.impl.transport import Transport
    from fwx.interfaces import SocketAddress
    from fwx.network import Poller
    from fwx.transparent.sockets import Ordered, SocketMaker


class ClientDeparture(Departure):
    """Gives each attempt of one connection a stream that is bound to the client's address, with a port of its own."""

    __slots__ = ("_client", "_maker", "_ordered", "_poller", "_ready")

    def __init__(self, maker: SocketMaker, poller: Poller, client: SocketAddress) -> None:
        self._maker = maker
        self._poller = poller
        self._client = client.with_port(0)
        self._ordered: set[Ordered] = set()
        self._ready: list[socket.socket] = []

    def reachable(self, addresses: list[SocketAddress]) -> list[SocketAddress]:
        return [address for address in addresses if address.family == self._client.family]

    @property
    def is_open(self) -> bool:
        return False

    def open(self, address: SocketAddress, done: Answered) -> bool:  # noqa: ARG002  one client's streams are alike
        """Order the stream of the next attempt."""

        def made(sock: socket.socket | None, code: int) -> None:
            self._ordered.discard(ordered)
            if sock is None:
                done(winsock_code(os_error(code)))
                return
            self._ready.append(sock)
            done(0)

        try:
            ordered = self._maker.order(Kind.STREAM, self._client, made)
        except OSError as error:
            raise winsock_error(winsock_code(error), "no socket with the client's address") from error
        self._ordered.add(ordered)
        return False

    def stream(self, address: SocketAddress) -> Transport:  # noqa: ARG002
        return SocketTransport(self._ready.pop(), self._poller)

    def close(self) -> None:
        """Nothing is attempted any more: what has been ordered and not taken is closed."""
        ordered, self._ordered = self._ordered, set()
        for each in ordered:
            each.cancel()
        while self._ready:
            self._ready.pop().close()
