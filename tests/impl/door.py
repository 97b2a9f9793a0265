"""A gateway with a client at its door."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from fwx.impl.gateway import Gateway
from fwx.impl.request import Request
from fwx.interfaces import SocketAddress, fwxSourceWSP

if TYPE_CHECKING:
    from fwx.impl.connection import FWXConnection
    from tests.impl.conftest import Peer, Rig

CLIENT = SocketAddress("127.0.0.1", 40000)


class Door:
    """A gateway with a client at its door: the entry, and the server where it wants to go."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ended: list[FWXConnection] = []
        self.gateway = Gateway(rig.engine, rig.sessions, self.ended.append)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = SocketAddress.from_sockaddr(self.listener.getsockname())
        self.transport, self.client = rig.pair()
        self.bound: list[SocketAddress] = []
        self.refusals: list[int] = []
        self.client_is_there = True

    def open(
        self,
        target: SocketAddress | None = None,
        early: bytes = b"",
        client_address: SocketAddress = CLIENT,
        **more: Any,
    ) -> None:
        self.gateway.open(
            Request(
                self,
                self.transport,
                client_address,
                target or self.address,
                source=fwxSourceWSP,
                interface="proxy",
                agent="browser",
                early=early,
                **more,
            )
        )

    # The entry's side.

    def connected(self, bound: SocketAddress) -> bool:
        self.bound.append(bound)
        return self.client_is_there

    def refused(self, result: int) -> None:
        self.refusals.append(result)
        self.transport.close(True)

    # What the tests ask.

    def accept(self) -> Peer:
        self.rig.until(lambda: self.bound)
        return self.rig.peer(self.listener.accept()[0])

    def refusal(self) -> int:
        """Wait for the refusal, which comes once, with one record, and leaves nothing behind."""
        self.rig.until(lambda: self.refusals and self.ended)
        self.rig.settle()
        assert len(self.refusals) == len(self.ended) == len(self.rig.records) == 1
        assert not self.gateway.opening
        assert not self.rig.sessions.connections()
        (result,) = self.refusals
        (record,) = self.rig.records
        assert record.resultcode == result
        assert record.reason
        return result
