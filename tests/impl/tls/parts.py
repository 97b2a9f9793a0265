"""SSL sockets for the tests: pairs over every kind of socket, and wires on which something can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fwx.impl.endpoint import Endpoint
from fwx.impl.sockets import FWXSocket
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces import (
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    SocketAddress,
    fwxClientSide,
    fwxServerSide,
)
from fwx.testing import AcceptRecorder, MemoryFirewall, MemoryPeer, Recorder, SocketPair, memory_pair, neighbour_pair
from fwx.testing.sockets import CLIENT, SocketOwner
from fwx.testing.sockets import SERVER as SERVER_ADDRESS
from tests.impl.tls import certificates

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def towards_server(
    firewall: Any,
    socket: Any,
    credentials: TlsCredentials | None = None,
    host_name: str | None = certificates.SERVER,
    default: TlsCredentials | None = None,
    send_timeout: int = 0,
    recv_timeout: int = 0,
    tunnel: bool = False,
) -> Any:
    """Return the SSL socket that plays the TLS client over *socket*."""
    sides = (host_name, None, credentials, default, fwxServerSide, GUID_NULL)
    return firewall.CreateSSLNetworkSocket(False, *sides, send_timeout, recv_timeout, tunnel, socket)


def towards_client(
    firewall: Any,
    socket: Any,
    credentials: TlsCredentials | None = None,
    asks: bool = False,
    default: TlsCredentials | None = None,
    send_timeout: int = 0,
    recv_timeout: int = 0,
    tunnel: bool = False,
) -> Any:
    """Return the SSL socket that plays the TLS server over *socket*."""
    sides = (None, None, credentials, default, fwxClientSide, GUID_NULL)
    return firewall.CreateSSLNetworkSocket(asks, *sides, send_timeout, recv_timeout, tunnel, socket)


def kernel_sockets(rig: Rig) -> SocketPair:
    """Return two network sockets with a TCP connection on loopback between them."""
    listening, accepts = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP), AcceptRecorder()
    listening.Bind(SocketAddress("127.0.0.1"), None, None)
    listening.Listen(1)
    listening.Accept(accepts, 0)
    left = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    left.Connect(listening.GetSockName())
    rig.until(lambda: accepts.calls)
    listening.Close(False)
    return SocketPair(left, accepts.calls[0].socket, lambda: rig.turns(2))


class Conversation:
    """Two SSL sockets over a memory firewall's sockets, and everything that a test wants to see of them."""

    def __init__(
        self,
        make: Callable[..., SocketPair] = memory_pair,
        *,
        client: TlsCredentials | None = None,
        server: TlsCredentials | None = None,
        firewall: MemoryFirewall | None = None,
        host_name: str | None = certificates.SERVER,
        asks: bool = False,
        **options: Any,
    ) -> None:
        self.memory = firewall or MemoryFirewall()
        self.loop = self.memory.loop
        self.under = make(self.loop)
        made = self.memory.firewall
        self.client = towards_server(made, self.under.left, client or certificates.client(), host_name, **options)
        self.server = towards_client(made, self.under.right, server or certificates.server(), asks, **options)
        self.pair = SocketPair(self.client, self.server, self.loop.run, self.close)

    def close(self) -> None:
        self.memory.close()
        self.under.close()
        self.loop.run()

    def outcomes(self) -> tuple[Any, Any]:
        """Post a Recv on either side and return both completions."""
        client, server = Recorder(), Recorder()
        self.client.Recv(None, client, 0)
        self.server.Recv(None, server, 0)
        self.loop.run()
        return client.calls[0], server.calls[0]

    @property
    def reasons(self) -> list[str]:
        return [record.reason for record in self.memory.records]


class Wire:
    """One socket of the service whose other end, plain bytes, is the test's."""

    def __init__(self, memory: MemoryFirewall) -> None:
        owner = SocketOwner()
        inner, outer = memory.network.pair(CLIENT, SERVER_ADDRESS)
        self.socket = FWXSocket(memory.loop.queue, owner, Endpoint(inner, memory.loop.queue, owner))
        self.peer = MemoryPeer(outer)


class TwoWires:
    """Two SSL sockets that the test carries the bytes between, in pieces of its choice and changed if it likes."""

    def __init__(
        self,
        client: TlsCredentials | None = None,
        server: TlsCredentials | None = None,
        memory: MemoryFirewall | None = None,
    ) -> None:
        self.memory = memory or MemoryFirewall()
        self.left, self.right = Wire(self.memory), Wire(self.memory)
        self.client = towards_server(self.memory.firewall, self.left.socket, client or certificates.client())
        self.server = towards_client(self.memory.firewall, self.right.socket, server or certificates.server())

    def carry(self, piece: Callable[[int], int] = lambda length: length) -> None:
        """Carry until nothing comes any more; *piece* says how many of so many bytes go next."""
        waiting = {True: b"", False: b""}
        while True:
            for to_server, source, sink in ((True, self.left, self.right), (False, self.right, self.left)):
                waiting[to_server] += source.peer.receive()
                if waiting[to_server]:
                    size = max(1, piece(len(waiting[to_server])))
                    sink.peer.send(waiting[to_server][:size])
                    waiting[to_server] = waiting[to_server][size:]
            self.memory.loop.run()
            if not any(waiting.values()):
                more = [(side, side.peer.receive()) for side in (self.left, self.right)]
                if not any(data for _, data in more):
                    return
                waiting = {side is self.left: data for side, data in more}

    def close(self) -> None:
        self.memory.close()
        for side in (self.left, self.right):
            side.peer.close()
        self.memory.loop.run()


UNDERNEATH = {"memory": memory_pair, "filters": neighbour_pair}
