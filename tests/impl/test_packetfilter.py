"""The ports that sockets open in the dynamic packet filter by themselves, and close (B4.21)."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Claim, MemoryPacketFilter, Opening
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, HRESULT_FROM_WIN32, WSAEACCES, COMError, winsock_error
from fwx.testing import Recorder

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANY4 = SocketAddress("127.0.0.1", 0)
NO_PORT = SocketAddress("0.0.0.0", 0)
TCP, UDP = 6, 17


class BrokenPacketFilter(MemoryPacketFilter):
    def open(self, claim: Claim) -> None:
        raise PermissionError(1, "Operation not permitted")


class LatePacketFilter(MemoryPacketFilter):
    """Answers when the test says so, as one that asks the kernel does."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Claim] = []

    def open(self, claim: Claim) -> None:
        self._open[claim.opening] += 1
        self.waiting.append(claim)

    def answer(self, code: int = 0) -> None:
        waiting, self.waiting = self.waiting, []
        for claim in waiting:
            if claim.withdrawn:
                continue
            if code:
                self.close_failed(claim)
            claim.settle(code)

    def close_failed(self, claim: Claim) -> None:
        self._open[claim.opening] -= 1


@pytest.fixture
def late(rig: Rig) -> LatePacketFilter:
    rig.engine.packet_filter = late = LatePacketFilter()
    return late


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    return rig.firewall if request.param == "firewall" else rig.session()


def opened(rig: Rig) -> list[Opening]:
    return list(rig.packet_filter)


def test_counting() -> None:
    packet_filter, opening, answers = MemoryPacketFilter(), Opening(TCP, ANY4), []
    claims = [Claim(opening, answers.append) for _ in range(2)]
    for claim in claims:
        packet_filter.open(claim)
    assert list(packet_filter) == [opening, opening]
    assert answers == [0, 0]
    for claim in claims:
        packet_filter.close(claim)
    assert not len(packet_filter)
    with pytest.raises(KeyError):
        packet_filter.close(claims[0])


def test_a_listening_port_is_open_while_its_socket_is(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B6.1, B4.21: Bind opens nothing yet, Listen opens the port, each connection has its own."""
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
    """B6.1: open before the first packet leaves, to that server alone; closed when the attempt fails or is given up."""
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
    """B6.1: a session's socket, and one that was never bound, are open to those alone that it has sent to."""
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


@pytest.mark.parametrize("thread", ["loop", "other"])
def test_a_datagram_whose_port_cannot_be_opened(rig: Rig, maker: Any, recorder: Any, thread: str) -> None:
    """It does not leave, whichever thread sends it, and the socket ends."""
    rig.engine.packet_filter = BrokenPacketFilter()
    sock, sent = maker.CreateNetworkSocket(UDP), recorder()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.1", 0))
        outside.setblocking(False)
        send = (FWXIOBuffer.constant(b"x"), address_of(outside), None, sent, 0)
        if thread == "loop":
            with pytest.raises(COMError, match="the packet filter"):
                sock.SendTo(*send)
        else:
            sender = threading.Thread(target=sock.SendTo, args=send)
            sender.start()
            sender.join()
            rig.until(lambda: sent.calls)
            assert not sent.calls[0].success
        rig.settle()
        with pytest.raises(BlockingIOError):
            outside.recv(1)
    assert not len(rig.poller)


# A packet filter that answers later.


@pytest.fixture
def server() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def address_of(sock: socket.socket) -> SocketAddress:
    return SocketAddress.from_sockaddr(sock.getsockname())


@pytest.mark.parametrize("binds", [False, True])
def test_nothing_leaves_before_the_port_is_open(
    rig: Rig, maker: Any, late: LatePacketFilter, server: Any, recorder: Any, binds: bool
) -> None:
    """B4.21: the port is open before the connection is begun, and stays open to the peer alone."""
    sock, received = maker.CreateNetworkSocket(TCP), recorder()
    local = NO_PORT
    if binds:
        sock.Bind(ANY4, None, None)
        local = sock.GetSockName()
    sock.Connect(address_of(server))
    sock.Recv(None, received, 0)
    rig.settle()
    with pytest.raises(BlockingIOError):
        server.accept()
    assert list(late) == [Opening(TCP, local, address_of(server))]
    late.answer()
    rig.until(lambda: any(opening.local.port for opening in late) and sock._endpoint)
    peer, _ = server.accept()
    assert list(late) == [Opening(TCP, sock.GetSockName(), address_of(server))]
    late.answer()
    peer.close()
    rig.until(lambda: received.calls)
    assert received.calls[0].success
    sock.Close(False)
    rig.until(lambda: not len(late))


def test_what_was_posted_fails_with_the_packet_filter(
    rig: Rig, maker: Any, late: LatePacketFilter, server: Any, recorder: Any
) -> None:
    sock, received = maker.CreateNetworkSocket(TCP), recorder()
    sock.Bind(ANY4, None, None)
    sock.Connect(address_of(server))
    sock.Recv(None, received, 0)
    late.answer(WSAEACCES)
    rig.until(lambda: received.calls)
    assert received.calls[0].code == WSAEACCES
    assert not len(late)
    rig.engine.packet_filter = rig.packet_filter
    sock.Connect(address_of(server))  # from another port: the one that it had is given back
    sock.Close(True)


def test_a_socket_that_was_closed_meanwhile(rig: Rig, maker: Any, late: LatePacketFilter, server: Any) -> None:
    sock = maker.CreateNetworkSocket(TCP)
    sock.Connect(address_of(server))
    sock.Close(False)
    assert not len(late)
    late.answer()
    rig.settle()
    with pytest.raises(BlockingIOError):
        server.accept()


def test_a_listener_whose_port_does_not_open_ends(
    rig: Rig, maker: Any, late: LatePacketFilter, accept_recorder: Any
) -> None:
    """Listen has returned by then: the socket ends, and the log says why."""
    listener, accepts = maker.CreateNetworkSocket(TCP), accept_recorder()
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    listener.Accept(accepts, 0)
    rig.settle()
    assert not accepts.calls
    late.answer(WSAEACCES)
    rig.until(lambda: accepts.calls)
    assert accepts.calls[0].code == ERROR_OPERATION_ABORTED
    assert rig.records[-1].action == Action.Failed
    assert rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAEACCES)
    assert not len(late)


def test_an_accepted_connection_whose_port_does_not_open_is_reset(
    rig: Rig, maker: Any, late: LatePacketFilter, accept_recorder: Any, recorder: Any
) -> None:
    listener, accepts, received = maker.CreateNetworkSocket(TCP), accept_recorder(), recorder()
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    late.answer()
    listener.Accept(accepts, 0)
    with socket.create_connection(listener.GetSockName().sockaddr) as client:
        rig.until(lambda: accepts.calls)
        accepts.calls[0].socket.Recv(None, received, 0)
        late.answer(WSAEACCES)
        rig.until(lambda: received.calls)
        assert received.calls[0].code == WSAEACCES
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert list(late) == [Opening(TCP, listener.GetSockName())]
    listener.Close(False)


def test_a_udp_port_that_does_not_open(rig: Rig, late: LatePacketFilter, recorder: Any) -> None:
    sock, received = rig.firewall.CreateNetworkSocket(UDP), recorder()
    sock.Bind(ANY4, None, None)
    sock.Recv(None, received, 0)
    late.answer(WSAEACCES)
    rig.until(lambda: received.calls)
    assert received.calls[0].code == ERROR_OPERATION_ABORTED
    assert rig.records[-1].action == Action.Failed
    assert not len(late)


# What is not open is not let in, whatever the kernel does.


def test_a_peer_that_no_opening_is_for_is_turned_away(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B6.1: a port is closed unless a socket opens it."""
    listener, accepts = maker.CreateNetworkSocket(TCP), accept_recorder()
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    listener._local_end.keep_port(SocketAddress("127.0.0.1", 1), lambda code: None)
    listener.Accept(accepts, 0)
    with socket.create_connection(listener.GetSockName().sockaddr) as client:
        rig.until(lambda: rig.records)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert rig.records[-1].action == Action.Denied
    assert "is not open to" in rig.records[-1].reason
    assert not accepts.calls
    listener.Close(False)
    rig.until(lambda: accepts.calls)


def test_a_datagram_that_no_opening_is_for_is_dropped(rig: Rig) -> None:
    """B6.1."""
    sock, received = rig.firewall.CreateNetworkSocket(UDP), Recorder()
    sock.Bind(ANY4, None, None)
    with socket.socket(type=socket.SOCK_DGRAM) as stranger, socket.socket(type=socket.SOCK_DGRAM) as known:
        known.bind(("127.0.0.1", 0))
        sock._local_end.keep_port(address_of(known), lambda code: None)
        sock.Recv(None, received, 0)
        stranger.sendto(b"stranger", sock.GetSockName().sockaddr)
        known.sendto(b"known", sock.GetSockName().sockaddr)
        rig.until(lambda: received.calls)
        assert bytes(received.calls[0].buffer.GetBufferAndSize()) == b"known"
    sock.Close(False)
