"""An SSL socket with and without a socket underneath, and what it ends with (B4.17 to B4.21)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Claim
from fwx.interfaces import (
    FWX_PROTOCOL_TCP,
    SocketAddress,
)
from fwx.interfaces.hresult import (
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEINVAL,
    WSAENOTCONN,
    COMError,
)
from fwx.testing import AttachingFilter, MemoryFirewall, Recorder
from tests.impl.tls import certificates
from tests.impl.tls.parts import Conversation, towards_client, towards_server


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def winsock(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


# ---- without a socket underneath, and with one that is a network socket ----------------------------------------------


def test_bind_and_listen_take_part_in_packet_filtering(memory: MemoryFirewall) -> None:
    """B4.21: the port is open from Listen to Close, as of every network socket."""
    socket = towards_client(memory.firewall, None, certificates.server())
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    assert not len(memory.packet_filter)
    socket.Listen(5)
    opening = next(iter(memory.packet_filter))
    assert (opening.protocol, opening.local, opening.remote) == (FWX_PROTOCOL_TCP, socket.GetSockName(), None)
    socket.SetSockOpt(0xFFFF, 0x0008, (1).to_bytes(4, "little"))
    assert socket.GetSockOpt(0xFFFF, 0x0008) == (1).to_bytes(4, "little")
    ip_filter = memory.firewall.CreateIpFilter()
    socket.SetIpFilter(ip_filter)
    assert socket.GetIpFilter() is not None
    socket.Close(False)
    assert not len(memory.packet_filter)


def test_a_port_that_does_not_open_ends_the_socket(memory: MemoryFirewall) -> None:
    """A packet filter that asks the kernel answers when Listen has returned."""
    claims: list[Claim] = []
    memory.packet_filter.open = claims.append  # type: ignore[method-assign]
    socket = towards_client(memory.firewall, None, certificates.server())
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    socket.Listen(5)
    claims[0].settle(WSAEACCES)
    memory.loop.run()
    assert memory.records[-1].action == Action.Failed
    assert memory.records[-1].resultcode == HRESULT_FROM_WIN32(WSAEACCES)
    with pytest.raises(COMError, match="WSAENOTSOCK"):
        socket.GetIpFilter()


def test_a_socket_that_was_bound_ends_with_the_service(memory: MemoryFirewall) -> None:
    socket = towards_client(memory.firewall, None, certificates.server())
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    socket.Listen(5)
    memory.firewall.close_sockets()
    assert not len(memory.packet_filter)


def test_names_and_options_are_those_of_the_network_socket_underneath(memory: MemoryFirewall) -> None:
    listener = memory.network.listen(SocketAddress("192.0.2.9", 443))
    under = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    under.Connect(SocketAddress("192.0.2.9", 443))
    memory.loop.run()
    socket = towards_server(memory.firewall, under, certificates.client(), recv_timeout=7)
    assert socket.GetPeerName() == under.GetPeerName()
    assert socket.GetSockName() == under.GetSockName()
    socket.SetSockOpt(0xFFFF, 0x0008, (1).to_bytes(4, "little"))
    assert under.GetSockOpt(0xFFFF, 0x0008) == socket.GetSockOpt(0xFFFF, 0x0008) == (1).to_bytes(4, "little")
    assert socket.GetSockOpt(0xFFFF, 0x1006) == (7).to_bytes(4, "little"), "SO_RCVTIMEO is the SSL socket's own"
    assert under.GetSockOpt(0xFFFF, 0x1006) == bytes(4)
    socket.SetIpFilter(memory.firewall.CreateIpFilter())
    assert under.GetIpFilter() is not None
    assert socket.GetIpFilter() is not None
    socket.SetIpFilter(None)
    assert under.GetIpFilter() is None
    socket.Close(True)
    memory.loop.run()
    listener.close(False)
    assert under not in memory.firewall._sockets, "it is closed with the socket above"


def test_a_filters_socket_has_no_names_and_no_options(talk: Callable[..., Conversation]) -> None:
    made = talk()
    assert code_of(made.client.GetSockName) == winsock(WSAEINVAL)
    assert code_of(made.client.GetPeerName) == winsock(WSAENOTCONN)
    assert code_of(made.client.SetSockOpt, 0xFFFF, 0x0008, bytes(4)) == winsock(WSAENOTCONN)
    assert code_of(made.client.GetSockOpt, 0xFFFF, 0x0008) == winsock(WSAENOTCONN)
    assert code_of(made.client.SetIpFilter, made.memory.firewall.CreateIpFilter()) == winsock(WSAENOTCONN)
    made.client.SetIpFilter(None)
    assert made.client.GetIpFilter() is None


def test_a_socket_that_still_connects(memory: MemoryFirewall) -> None:
    """The handshake waits for the connection; a connection that fails fails what was posted."""
    under = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    under.Connect(SocketAddress("192.0.2.9", 443))
    socket = towards_server(memory.firewall, under, certificates.client())
    recorder = Recorder()
    socket.Send(FWXIOBuffer(b"x"), recorder, 0)
    memory.loop.run()
    assert [(done.success, done.code) for done in recorder.calls] == [(False, 10061)]
    unconnected = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    socket = towards_server(memory.firewall, unconnected, certificates.client())
    socket.Recv(None, recorder, 0)
    memory.loop.run()
    assert (recorder.calls[1].success, recorder.calls[1].code) == (False, WSAENOTCONN)
    under.Close(True)


# ---- between filters, and with the service ---------------------------------------------------------------------------


class Holder(sdk.DataPump):
    """A data filter that lays TLS over its external socket, and holds both."""

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.plain = piInternalSocket
        self.secure = towards_server(self.firewall, pIExternalSocket, certificates.client())
        self.received = Recorder()
        self.secure.Recv(None, self.received, 0)

    firewall: Any


def test_it_ends_with_the_connection_underneath(memory: MemoryFirewall) -> None:
    holder = Holder()
    holder.firewall = memory.firewall
    memory.start(lambda: AttachingFilter(lambda: holder))
    client, server = memory.open().established()
    memory.end_connections()
    assert [done.success for done in holder.received.calls] == [False]
    assert holder.secure not in memory.firewall._sockets
    client.close()
    server.close()


def test_it_ends_with_the_service(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    recorder = Recorder()
    made.client.Recv(None, recorder, 0)
    made.server.Send(FWXIOBuffer(bytes(4 << 20)), recorder, 1)
    made.server.Close(False)
    memory.firewall.close_sockets()
    memory.loop.run()
    assert sorted((done.tag, done.success) for done in recorder.calls) == [(0, False), (1, False)]
    made.under.close()


def test_a_completion_that_fails_resets_the_connection() -> None:
    memory = MemoryFirewall()
    made = Conversation(firewall=memory)

    def fail(done: Any) -> None:
        raise RuntimeError("a bug of the filter")

    other = Recorder()
    made.client.Recv(None, Recorder(fail), 0)
    made.server.Recv(None, other, 0)
    made.server.Send(FWXIOBuffer(b"x"), None, 0)
    memory.loop.run()
    assert any("RuntimeError" in each for each in memory.faults)
    assert [done.success for done in other.calls] == [False]
    made.close()
