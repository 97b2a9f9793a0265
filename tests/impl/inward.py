"""A client that waits for connections on the outside: its listening connection, and those who come."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fwx.impl.admission import admit_arrival
from fwx.impl.departure import Departure
from fwx.impl.dial import Dial, Dialled
from fwx.impl.gateway import Gateway
from fwx.impl.listeningconnection import FWXListeningConnection
from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.transport import Transport
    from tests.impl.conftest import Peer, Rig

ANYWHERE = SocketAddress("127.0.0.1", 0)
CLIENT = SocketAddress("127.0.0.1", 40000)


class Handed:
    """The client's side as with SOCKS: its transport is there, for one connection."""

    def __init__(self, transport: Transport, early: bytes = b"") -> None:
        self.transport = transport
        self.early = early
        self.joined: list[FWXAcceptedConnection] = []

    def join(self, connection: FWXAcceptedConnection, done: Callable[[Dialled], None]) -> Callable[[], None]:
        self.joined.append(connection)
        done(Dialled(self.transport, early=self.early))
        return lambda: None


class Called:
    """The client's side as with ``BindForClient``: each connection is dialled to where the client listens."""

    def __init__(self, rig: Rig, address: SocketAddress) -> None:
        self.rig = rig
        self.address = address
        self.joined: list[FWXAcceptedConnection] = []

    def join(self, connection: FWXAcceptedConnection, done: Callable[[Dialled], None]) -> Callable[[], None]:
        self.joined.append(connection)
        dial = Dial(self.rig.engine, Departure(self.rig.network), [self.address], done)
        dial.start()
        return dial.cancel


class Inward:
    """One listening connection, and what the test sees of it."""

    def __init__(self, rig: Rig, side: Any, session: Any = None, **more: Any) -> None:
        self.rig = rig
        self.ended: list[Any] = []
        self.accepted_ended: list[Any] = []
        self.begun = 0
        self.gateway = Gateway(rig.engine, rig.sessions, lambda _: None)
        session = session or rig.session()
        self.connection = FWXListeningConnection(
            session,
            CLIENT,
            side,
            lambda peer, local: admit_arrival(rig.engine, peer, local, session.who),
            self.gateway.hosts_of,
            interface="proxy",
            agent="client",
            on_ended=self.ended.append,
            on_accepted_ended=self.accepted_ended.append,
            **more,
        )

    def listen(self, address: SocketAddress = ANYWHERE, backlog: int = 5) -> SocketAddress:
        """Take, bind, listen, as a host does; return the address once people may come."""
        bound = self.connection.take(address)
        assert self.rig.through(self.connection.bind(self.rig.engine.policy.judge_waiting(bound))), (
            self.connection.result
        )
        self.connection.listen(backlog, self._begin)
        self.rig.until(lambda: self.begun or self.ended)
        return bound

    def _begin(self) -> None:
        self.begun += 1

    def come(self, source: str = "127.0.0.1") -> Peer:
        """Somebody connects."""
        bound = self.connection.bound
        assert bound is not None
        sock = socket.socket(bound.family)
        sock.bind((source, 0))
        sock.connect(bound.sockaddr)
        return self.rig.peer(sock)
