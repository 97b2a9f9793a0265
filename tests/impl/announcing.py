"""A client with a primary connection, whose filter announces what comes next."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_EstablishedConnection,
)
from tests.impl.door import CLIENT, Door

if TYPE_CHECKING:
    from fwx.impl.permission import Permission
    from tests.impl.conftest import Peer, Rig

OUTSIDE = SocketAddress("127.0.0.1", 0)
PRIMARY_MASK = fwx_Connect_Tcp | FWX_ALL_SOURCES


class Scene:
    """A gateway, a primary connection through it, and after that no rule that allows anything.

    :ivar told: the events of ``fwx_EstablishedConnection``. :ivar seen: the connect events, by filter.
    """

    def __init__(self, rig: Rig, **host: Any) -> None:
        self.rig = rig
        self.told: list[Any] = []
        self.seen: list[Any] = []
        self.doors: list[Door] = []
        self.host = rig.host("announcer", handle=self._handle, **{"mask": PRIMARY_MASK, **host})
        primary = self.door()
        primary.open()
        self.server = primary.accept()
        self.session = rig.session(CLIENT.host)
        (self.connection,) = self.session.connections
        rig.engine.policy = rig.policy()

    @property
    def session_filter(self) -> Any:
        return self.session.session_filter(self.host, fwx_Connect_Tcp)

    @property
    def permissions(self) -> list[Permission]:
        return [each for kept in self.rig.engine.permissions._by_key.values() for each in kept]

    def door(self) -> Door:
        door = Door(self.rig)
        self.doors.append(door)
        return door

    def close(self) -> None:
        for door in self.doors:
            door.gateway.close()
            door.listener.close()
            if not door.bound:
                door.transport.close(True)

    def announce(self, target: SocketAddress, **more: Any) -> Any:
        """``AllowFutureConnect`` with what a filter gives as a rule; *more* by the names of the IDL."""
        arguments = {
            "Address": target,
            "AddressLength": None,
            "ProxyExternalAddress": None,
            "ProxyExternalAddressLength": None,
            "Protocol": FWX_PROTOCOL_TCP,
            "dwFlags": 0,
            "ProtocolGuid": GUID_NULL,
            "pSessionFilter": None,
            "punkContext": None,
            "pConnection": self.connection,
        }
        assert more.keys() <= arguments.keys()
        return self.session.AllowFutureConnect(**{**arguments, **more})

    def redirect(self, *targets: SocketAddress, **more: Any) -> tuple[SocketAddress, tuple[Any, ...]]:
        """``RedirectConnections``, or with ``ReservedPorts`` the method that takes them."""
        arguments = {
            "ConnectAddresses": targets,
            "ConnectAddressLength": None,
            "dwNumberOfAddresses": None,
            "ProxyExternalAddress": None,
            "ProxyExternalAddressLength": None,
            "Protocol": FWX_PROTOCOL_TCP,
            "dwFlags": 0,
            "ProtocolGuid": GUID_NULL,
            "pSessionFilter": None,
            "punkContext": None,
        }
        arguments.update(more)
        if "ReservedPorts" in more:
            return self.session.RedirectConnectionsReservedPorts(**arguments)
        return self.session.RedirectConnections(**arguments)

    def bind(self, *clients: SocketAddress, **more: Any) -> tuple[SocketAddress, tuple[Any, ...]]:
        """``BindForClient``, or with ``ReservedPorts`` the method that takes them."""
        arguments = {
            "ClientAddresses": clients,
            "ClientAddressLength": None,
            "Protocol": FWX_PROTOCOL_TCP,
            "dwNumberOfAddresses": None,
            "dwFlags": 0,
            "Backlog": 5,
            "ProtocolGuid": GUID_NULL,
            "pSessionFilter": None,
            "punkContext": None,
            "pIpFilter": None,
        }
        arguments.update(more)
        if "ReservedPorts" in more:
            return self.session.BindForClientOnReservedPorts(**arguments)
        arguments = {"ProxyAddress": OUTSIDE, "ProxyAddressLength": None, **arguments}
        return self.session.BindForClient(**arguments)

    def come(self, address: SocketAddress, source: str = "127.0.0.1") -> Peer:
        """Somebody connects from *source* to *address*. :raises OSError: nobody listens there."""
        sock = socket.socket(address.family)
        try:
            sock.bind((source, 0))
            sock.connect(address.sockaddr)
        except OSError:
            sock.close()
            raise
        return self.rig.peer(sock)

    def is_open(self, address: SocketAddress) -> bool:
        """Whether the packet filter lets anybody reach the port of *address*."""
        return any(each.local.port == address.port and each.remote is None for each in self.rig.packet_filter)

    def connects(self, target: SocketAddress | None = None, door: Door | None = None, **more: Any) -> Peer | None:
        """Have the client ask for *target*, or for the door's own server; return that, ``None`` where it is refused."""
        door = door or self.door()
        door.open(target, **more)
        self.rig.until(lambda: door.bound or door.refusals)
        return None if door.refusals else self.rig.peer(door.listener.accept()[0])

    def _handle(self, event: Any) -> None:
        if event.EventType == fwx_EstablishedConnection:
            self.told.append(event.Parameters.EstablishedConnection)
        else:
            self.seen.append(event.Parameters.Connect)
