"""The ports that sockets open in the dynamic packet filter by themselves, and close (B4.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.packetfilter import MemoryPacketFilter, Opening
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAEACCES, winsock_error

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANY4 = SocketAddress("127.0.0.1", 0)
NO_PORT = SocketAddress("0.0.0.0", 0)
TCP, UDP = 6, 17


class BrokenPacketFilter(MemoryPacketFilter):
    def open(self, opening: Opening) -> None:
        raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    return rig.firewall if request.param == "firewall" else rig.session()


def opened(rig: Rig) -> list[Opening]:
    return list(rig.packet_filter)


def test_counting() -> None:
    packet_filter, opening = MemoryPacketFilter(), Opening(TCP, ANY4)
    packet_filter.open(opening)
    packet_filter.open(opening)
    assert list(packet_filter) == [opening, opening]
    packet_filter.close(opening)
    packet_filter.close(opening)
    assert not len(packet_filter)
    with pytest.raises(KeyError):
        packet_filter.close(opening)


def test_a_listening_port_is_open_while_its_socket_is(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B4.21: Bind of a TCP socket opens nothing yet, Listen opens the port, each connection has its own opening."""
    listener, accepts = maker.CreateNetworkSocket(TCP), accept_recorder()
    listener.Bind(ANY4, None, None)
    assert opened(rig) == []
    listener.Listen(5)
    port = Opening(TCP, listener.GetSockName())
    assert opened(rig) == [port]
    client = rig.firewall.CreateNetworkSocket(TCP)
    listener.Accept(accepts, 0)
    client.Connect(listener.GetSockName())
    rig.until(lambda: accepts.calls)
    accepted = accepts.calls[0].socket
    rig.settle()
    inner = Opening(TCP, listener.GetSockName(), client.GetSockName())
    outer = Opening(TCP, client.GetSockName(), listener.GetSockName())
    assert set(opened(rig)) == {port, inner, outer}
    listener.Close(False)
    assert set(opened(rig)) == {inner, outer}
    accepted.Close(False)
    client.Close(False)
    rig.until(lambda: not opened(rig))


def test_an_attempt_to_connect(rig: Rig, maker: Any, deaf: SocketAddress, closed: SocketAddress) -> None:
    """Open before the first packet leaves; closed when the attempt fails or is given up."""
    sock = maker.CreateNetworkSocket(TCP)
    sock.Connect(deaf)
    assert opened(rig) == [Opening(TCP, NO_PORT, deaf)]
    sock.Close(False)
    assert opened(rig) == []
    sock = maker.CreateNetworkSocket(TCP)
    sock.Connect(closed)
    rig.until(lambda: not opened(rig))


def test_a_udp_port(rig: Rig) -> None:
    """The firewall's bound socket opens its port to whoever comes, until it is closed."""
    sock = rig.firewall.CreateNetworkSocket(UDP)
    sock.Bind(ANY4, None, None)
    assert opened(rig) == [Opening(UDP, sock.GetSockName())]
    sock.Close(False)
    assert opened(rig) == []


@pytest.mark.parametrize("binds", [True, False])
def test_answers(rig: Rig, binds: bool) -> None:
    """A session's socket, and one that was never bound: open to those alone that it has sent to."""
    sock = (rig.session() if binds else rig.firewall).CreateNetworkSocket(UDP)
    far = rig.firewall.CreateNetworkSocket(UDP)
    far.Bind(ANY4, None, None)
    if binds:
        sock.Bind(ANY4, None, None)
        assert opened(rig) == [Opening(UDP, far.GetSockName())]
    sock.SendTo(rig.firewall.CreateConstBuffer(b"x"), far.GetSockName(), None, None, 0)
    assert set(opened(rig)) == {
        Opening(UDP, far.GetSockName()),
        Opening(UDP, sock.GetSockName(), far.GetSockName()),
    }
    sock.Close(False)
    far.Close(False)
    assert opened(rig) == []


def test_a_packet_filter_that_fails(rig: Rig, maker: Any, closed: SocketAddress, recorder: Any) -> None:
    """A firewall fails closed: what cannot be opened is not used."""
    rig.engine.packet_filter = BrokenPacketFilter()
    denied = winsock_error(WSAEACCES).hresult
    listener = maker.CreateNetworkSocket(TCP)
    listener.Bind(ANY4, None, None)
    with pytest.raises(Exception, match="the packet filter") as failure:
        listener.Listen(5)
    assert failure.value.hresult == denied  # type: ignore[attr-defined]
    sock, received = maker.CreateNetworkSocket(TCP), recorder()
    with pytest.raises(Exception, match="WSAEACCES"):
        sock.Connect(closed)
    datagrams = rig.firewall.CreateNetworkSocket(UDP)
    with pytest.raises(Exception, match="the packet filter"):
        datagrams.Bind(ANY4, None, None)
    assert not received.calls
    rig.engine.packet_filter = rig.packet_filter
    datagrams.Bind(ANY4, None, None)
    listener.Listen(5)
    assert len(opened(rig)) == 2
