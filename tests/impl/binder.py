"""A client that asks to bind, and the entry that it came by."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from fwx.impl.gateway import Gateway
from fwx.impl.request import Request
from fwx.interfaces import SocketAddress, fwxSourceWSP

if TYPE_CHECKING:
    from tests.impl.conftest import Peer, Rig

CLIENT = SocketAddress("127.0.0.1", 40000)
PEER = SocketAddress("127.0.0.1", 21)
BOTH = (socket.AF_INET, socket.AF_INET6)


class Binder:
    """A client that asks to bind, and the entry that it came by."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ended: list[Any] = []
        self.left = 0
        self.gateway = Gateway(rig.engine, rig.sessions, self.ended.append)
        self.transport, self.client = rig.pair()
        self.told: list[SocketAddress] = []
        self.peers: list[SocketAddress] = []
        self.refusals: list[int] = []
        self.is_there = [True, True]
        self.binding: Any = None
        rig.closing.append(lambda: self.transport.close(False))

    def bind(self, target: SocketAddress = PEER, families: tuple[int, ...] = BOTH, **more: Any) -> None:
        request = Request(
            self,  # type: ignore[arg-type]
            self.transport,
            CLIENT,
            target,
            source=fwxSourceWSP,
            interface="proxy",
            agent="client",
            on_ended=self._leave,
            **more,
        )
        self.binding = self.gateway.bind(request, self, families)

    def wait(self, target: SocketAddress = PEER, **more: Any) -> SocketAddress:
        """Bind, and return where others may connect."""
        self.bind(target, **more)
        self.rig.until(lambda: self.told or self.refusals)
        assert not self.refusals, self.rig.records
        return self.told[0]

    def come(self, source: str = "127.0.0.1") -> Peer:
        sock = socket.socket(self.told[0].family)
        sock.bind((source, 0))
        sock.connect(self.told[0].sockaddr)
        return self.rig.peer(sock)

    def _leave(self) -> None:
        self.left += 1

    # The entry's side.

    def listening(self, bound: SocketAddress) -> bool:
        self.told.append(bound)
        return self.is_there[0]

    def connected(self, bound: SocketAddress) -> bool:
        self.peers.append(bound)
        return self.is_there[1]

    def refused(self, result: int) -> None:
        self.refusals.append(int(result))
        self.transport.close(True)

    # What the tests ask.

    def refusal(self) -> int:
        """Wait for the refusal, which comes once; nothing is left behind, and nobody listens."""
        self.rig.until(lambda: self.refusals and self.left)
        self.rig.settle()
        assert (len(self.refusals), self.left) == (1, 1)
        assert not self.gateway.opening
        assert not self.rig.sessions.connections()
        assert not len(self.rig.packet_filter)
        self.closed()
        return self.refusals[0]

    def closed(self) -> None:
        for told in self.told:
            with socket.socket(told.family) as probe:
                assert probe.connect_ex(told.sockaddr) == errno.ECONNREFUSED
