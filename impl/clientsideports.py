"""How a client gets the datagrams of others that come for it: from a port inside for each of them."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.datagramconnection import send_datagram
from fwx.impl.localend import LocalEnd
from fwx.impl.ownaddress import address_towards
from fwx.impl.transport import ENDING, INPUT, READABLE
from fwx.impl.winsock import winsock_name
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import COMError

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport, Handler
    from fwx.interfaces import SocketAddress

MOST_PORTS: Final = 64
"""Ports inside at a time; the one that was quiet for longest makes room."""
MOST_HELD: Final = 16
"""Datagrams that wait until it is known where the client is; more are lost."""

Peer = tuple[Any, ...]
"""Who is outside, as :mod:`socket` writes addresses."""


class ClientSidePorts:
    """The client's end of a UDP port that a filter has bound for it, as a datagram transport of the engine.

    Each peer has a port of its own on the firewall's inside address, so that the client's answer says whom it is for.
    Nobody but the client is heard there, and the packet filter lets nobody else in.
    """

    fd = -1

    def __init__(self, session: FWXSession, client: SocketAddress | None, failed: Callable[[int, str], None]) -> None:
        """:param client: where the client is, ``None`` as long as that is not known (B6.16).

        :param failed: called with a Winsock error and words when the packet filter did not open a port.
        """
        self._session = session
        self._client = client
        self._failed = failed
        self._handler: Handler | None = None
        self._ports: OrderedDict[Peer, LocalEnd[DatagramTransport]] = OrderedDict()
        self._readable: dict[Peer, DatagramTransport] = {}
        self._held: deque[tuple[bytes, Peer]] = deque()

    def __len__(self) -> int:
        """The number of ports inside."""
        return len(self._ports)

    def set_client(self, client: SocketAddress) -> None:
        """The client is at *client* from now on; what has waited for that is sent."""
        self._forget_all()
        self._client = client
        held, self._held = self._held, deque()
        for data, peer in held:
            try:
                self.send_to(data, peer)
            except OSError:
                """It is lost, as it would be without having waited."""

    def forget(self, peer: Peer) -> None:
        """Close the port of *peer*, if there is one."""
        port = self._ports.pop(peer, None)
        self._readable.pop(peer, None)
        if port is not None:
            port.close_ports()
            if port.transport is not None:
                port.transport.close(False)

    # The transport.

    def watch(self, handler: Handler) -> None:
        self._handler = handler

    def receive(self) -> tuple[bytes, Peer]:
        """Take one datagram of the client, and whom it is for."""
        while self._readable:
            peer, transport = next(iter(self._readable.items()))
            try:
                return transport.receive()[0], peer
            except BlockingIOError:
                del self._readable[peer]
            except OSError:
                transport.take_error()
                raise
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def send_to(self, data: Any, sockaddr: Peer) -> None:
        """Send the client what has come for it from the peer *sockaddr*.

        :raises OSError: no room, no port, no way to the client.
        """
        if self._client is None:
            if len(self._held) < MOST_HELD:
                self._held.append((bytes(data), sockaddr))
            return
        transport = self._port_for(sockaddr).transport
        assert transport is not None
        send_datagram(transport, data, self._client.sockaddr)

    def take_error(self) -> None:
        """The ports take their own."""
        return

    def has_data(self) -> bool:
        return any(transport.has_data() for transport in self._readable.values())

    def close(self, abortive: bool) -> None:
        self._handler = None
        self._held.clear()
        self._forget_all()

    def _forget_all(self) -> None:
        for peer in list(self._ports):
            self.forget(peer)

    def _port_for(self, peer: Peer) -> LocalEnd[DatagramTransport]:
        port = self._ports.get(peer)
        if port is not None:
            self._ports.move_to_end(peer)
            return port
        if len(self._ports) >= MOST_PORTS:
            self.forget(next(iter(self._ports)))
        try:
            return self._open(peer)
        except COMError as error:
            raise OSError(errno.EHOSTUNREACH, str(error)) from error

    def _open(self, peer: Peer) -> LocalEnd[DatagramTransport]:
        """:raises COMError: the Winsock error. :raises OSError: there is no way to the client."""
        engine, client = self._session.engine, self._client
        assert client is not None
        inside = self._session.inside_address or address_towards(engine.network, client)
        if inside is None:
            raise OSError(errno.ENETUNREACH, f"there is no way to {client}")
        port = LocalEnd(engine, FWX_PROTOCOL_UDP, engine.network.datagram)
        transport = port.bind(inside.with_port(0))
        self._ports[peer] = port
        try:
            transport.connect(client.sockaddr)
            port.open_port(client, self._answered)
        except BaseException:
            self.forget(peer)
            raise
        transport.watch(partial(self._event, peer, port))
        return port

    def _answered(self, code: int) -> None:
        if code:
            self._failed(code, f"the packet filter did not open a port to the client: {winsock_name(code)}")

    def _event(self, peer: Peer, port: LocalEnd[DatagramTransport], mask: int) -> None:
        transport = port.transport
        if transport is None or self._ports.get(peer) is not port:
            return
        if mask & ENDING:
            while transport.take_error() is not None:
                """The client was not there for a datagram: whoever has sent it is not told so."""
        if mask & INPUT:
            self._readable[peer] = transport
            if self._handler is not None:
                self._handler(READABLE)
