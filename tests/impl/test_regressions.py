"""Faults that were found by attacking the engine, each with the test that showed it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.ceiling import MOST_QUEUED
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.operation import MOST_PENDING
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXDataFilter, SocketAddress
from fwx.interfaces.hresult import FWX_E_TERMINATING, HRESULT_FROM_WIN32, WSAENOBUFS, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_of_a_side_that_has_ended(rig: Rig, first: str) -> None:
    """impl/pump.py: a side that ended and is then reset while the other is idle goes unnoticed for ever."""
    opened = rig.open()
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.shutdown()
    far.expect_end()
    near.reset()
    rig.settle()
    assert ("rig", "ended", opened.connection.id) in rig.journal


def test_an_event_of_a_closed_descriptor_is_not_its_successors(rig: Rig) -> None:
    """fwx/network.py: within one batch of events no other socket gets the number of one that was closed.

    A dial would take the old socket's readiness for its own and say that it is connected.
    """
    (first, one), (second, other) = rig.pair(), rig.pair()
    rig.settle()
    handled: list[str] = []

    def replace(victim: Any) -> None:
        if handled:
            handled.append("the victim's event")
            return
        handled.append("the first event")
        number = victim.fd
        victim.close(False)
        successors = [rig.pair()[0] for _ in range(4)]
        rig.closing.extend(lambda one=one: one.close(False) for one in successors)
        assert number not in {successor.fd for successor in successors}

    first.watch(lambda mask: replace(second))
    second.watch(lambda mask: replace(first))
    rig.closing.extend((lambda: first.close(False), lambda: second.close(False)))
    rig.poller._epoll.poll(0)  # the edges of the registrations
    one._sock.send(b"x")
    other._sock.send(b"x")
    rig.poller._dispatch()
    assert handled == ["the first event"]


def test_close_with_data_unread_ends_by_fin(rig: Rig) -> None:
    """impl/endpoint.py: Close(FALSE) is a FIN (B3.26); with unread data in the kernel the client gets a reset."""

    @implementer(IFWXDataFilter)
    class Refusing(Unknown):
        def SetSockets(self, internal: Any, external: Any, *rest: Any) -> None:
            self.sockets = (internal, external)

        def refuse(self) -> None:
            self.sockets[0].Send(FWXIOBuffer(b"refused"), None, 0)
            for one in self.sockets:
                one.Close(False)

        def Detach(self) -> None:
            self.sockets = ()

    refusing = Refusing()
    opened = rig.open(refusing)
    opened.client.send(b"a long request")
    rig.settle()
    refusing.refuse()
    opened.client.expect(b"refused")
    opened.client.expect_end()


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@implementer(IFWXDataFilter)
class Sockets(Unknown):
    """Keeps its sockets."""

    def SetSockets(self, internal: Any, external: Any, *rest: Any) -> None:
        self.internal, self.external = internal, external

    def CompleteAsyncIO(self, *args: Any) -> None:
        raise Unspeakable

    def Detach(self) -> None:
        raise Unspeakable


def test_a_fault_whose_text_is_a_fault(rig: Rig) -> None:
    """DESIGN 5: it ends its connection like every other, and the place in the limits comes back."""
    kept = Sockets()
    opened = rig.open(kept)
    kept.internal.Recv(None, kept, 0)
    opened.client.send(b"x")
    opened.client.expect_reset()
    rig.settle()
    assert ("rig", "ended", opened.connection.id) in rig.journal
    assert "whose text cannot be had" in opened.connection.result[1]


def listening(rig: Rig) -> tuple[socket.socket, SocketAddress]:
    server = socket.create_server(("127.0.0.1", 0))
    rig.closing.append(server.close)
    return server, SocketAddress.from_sockaddr(server.getsockname())


def test_a_closed_network_socket_whose_peer_stands_still(rig: Rig) -> None:
    """Nobody is left who could end it: time does, and its owner's end does."""
    server, address = listening(rig)
    for ends in (lambda: rig.clock.advance(60), rig.firewall.close_sockets):
        sock = rig.firewall.CreateNetworkSocket(6)
        sock.Connect(address)
        peer, _ = server.accept()
        rig.settle()
        sock.Send(FWXIOBuffer(bytes(8 << 20)), None, 0)
        sock.Close(False)
        rig.settle()
        assert not sock._endpoint.closed
        ends()
        ends()
        rig.settle()
        assert sock._endpoint.closed
        peer.close()


def test_connect_send_close_delivers(rig: Rig) -> None:
    """B3.26: what is queued still goes out, also when the socket has not connected yet."""
    server, address = listening(rig)
    sock = rig.firewall.CreateNetworkSocket(6)
    sock.Connect(address)
    sock.Send(FWXIOBuffer(b"report"), None, 0)
    sock.Close(False)
    peer = rig.peer(server.accept()[0])
    peer.expect(b"report")
    peer.expect_end()


def test_a_sessions_socket_is_not_connected_after_the_session(rig: Rig) -> None:
    _, address = listening(rig)
    session = rig.session()
    sock = session.CreateNetworkSocket(6)
    session.terminate()
    with pytest.raises(COMError) as failure:
        sock.Connect(address)
    assert failure.value.hresult in (FWX_E_TERMINATING, HRESULT_FROM_WIN32(10038))


def posted_by_a_thread(function: Any) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_the_loop_thread_does_not_overtake_another(rig: Rig) -> None:
    """DESIGN 5: any thread may post, in order for one socket and direction."""
    kept = Sockets()
    opened = rig.open(kept)
    posted_by_a_thread(lambda: kept.external.Send(FWXIOBuffer(b"first "), None, 0))
    kept.external.Send(FWXIOBuffer(b"second"), None, 0)
    kept.external.Shutdown(False)
    opened.server.expect(b"first second")
    opened.server.expect_end()


def test_what_a_thread_posts_is_bounded(rig: Rig) -> None:
    """A busy loop takes nothing in meanwhile; the caller is told to wait."""
    kept = Sockets()
    rig.open(kept)
    codes: list[int] = []

    def flood() -> None:
        block = FWXIOBuffer(bytes(1 << 20))
        try:
            for _ in range(2 * MOST_PENDING):
                kept.external.Send(block, None, 0)
        except COMError as error:
            codes.append(error.hresult)

    posted_by_a_thread(flood)
    assert codes == [HRESULT_FROM_WIN32(WSAENOBUFS)]
    assert kept.external._GetWriteCount() <= MOST_QUEUED + (1 << 20)
