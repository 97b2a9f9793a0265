"""Plain UDP sockets around the engine: clients inside, others outside."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


class DatagramPeer:
    """A UDP socket that is driven together with the loop.

    :ivar heard: whom the last datagram came from.
    """

    def __init__(self, rig: Rig, host: str = "127.0.0.1") -> None:
        self._rig = rig
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.setblocking(False)
        self.address = SocketAddress.from_sockaddr(self._sock.getsockname())
        self.heard = self.address
        rig.closing.append(self.close)

    def send(self, data: bytes, target: SocketAddress | None = None) -> None:
        """Send to *target*, else to whom the last datagram came from, and let happen what happens then."""
        self._sock.sendto(data, (target or self.heard).sockaddr)
        self._rig.settle()

    def take(self) -> bytes | None:
        """Return the next datagram there is."""
        try:
            data, source = self._sock.recvfrom(0x10000)
        except BlockingIOError:
            return None
        self.heard = SocketAddress.from_sockaddr(source)
        return data

    def expect(self, data: bytes) -> SocketAddress:
        """Wait for the next datagram, which is *data*; return whom it came from."""
        taken: list[bytes] = []

        def come() -> bool:
            got = self.take()
            if got is not None:
                taken.append(got)
            return bool(taken)

        self._rig.until(come)
        assert taken == [data]
        return self.heard

    def expect_nothing(self) -> None:
        self._rig.settle()
        assert self.take() is None

    def close(self) -> None:
        self._sock.close()
