"""An upstream that the test plays."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from fwx.impl.alert import Category, Severity
from fwx.impl.departure import Departure
from fwx.impl.dial import Dialled
from fwx.impl.route import Upstream
from fwx.interfaces import SocketAddress
from fwx.proxy.socks5_client import Socks5Client
from fwx.proxy.upstream import Account

if TYPE_CHECKING:
    from tests.impl.conftest import Peer, Rig

NAME = SocketAddress("www.example.org", 443)
V4, OTHER_V4, V6 = (SocketAddress(host, 443) for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
ACCOUNT = Account("branch", "secret word")
GREETED = b"\x05\x01\x00"
REPLY = b"\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38"


def request(target: SocketAddress) -> bytes:
    """The SOCKS5 request for *target*."""
    literal = target.address
    if literal is None:
        host = b"\x03" + bytes([len(target.host)]) + target.host.encode()
    else:
        host = (b"\x01" if literal.version == 4 else b"\x04") + literal.packed
    return b"\x05\x01\x00" + host + target.port.to_bytes(2, "big")


def connect(target: SocketAddress) -> bytes:
    """The HTTP request for *target*."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


class Way:
    """An upstream that the test plays, and connections through it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ends: list[Dialled] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        rig.closing.append(self.listener.close)
        self.address = SocketAddress.from_sockaddr(self.listener.getsockname())
        self.failure = rig.engine.alerts.define(
            "Upstream failure", Severity.WARNING, Category.FIREWALL_SERVICE, source="fwx"
        )

    def upstream(self, codec: Any = Socks5Client, name: str = "parent", **options: Any) -> Upstream:
        address = options.pop("address", self.address)
        account = options.pop("account", None)
        return Upstream(name, address, partial(codec, account=account), self.failure, **options)

    def dial(self, route: Upstream, target: SocketAddress = NAME, addresses: list[SocketAddress] | None = None) -> Any:
        return route.dial(self.rig.engine, Departure(self.rig.network), target, addresses, self.ends.append)

    def accept(self) -> Peer:
        taken: list[socket.socket] = []

        def come() -> bool:
            try:
                taken.append(self.listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.rig.until(come)
        return self.rig.peer(taken[0])

    def nobody_comes(self) -> bool:
        self.rig.settle()
        try:
            self.listener.accept()
        except BlockingIOError:
            return True
        return False

    def end(self) -> Dialled:
        """How it ended: once."""
        self.rig.until(lambda: self.ends)
        self.rig.settle()
        self.rig.clock.advance(1000.0)
        (end,) = self.ends
        if end.transport is not None:
            self.rig.closing.append(lambda: end.transport.close(False))  # type: ignore[union-attr]
        return end

    def failed(self) -> tuple[int, str]:
        end = self.end()
        assert end.transport is None
        assert self.nobody_comes()
        assert ACCOUNT.password not in end.reason
        return end.code, end.reason

    def alerts(self) -> list[str]:
        return [alert.message for alert in self.rig.alerts]
