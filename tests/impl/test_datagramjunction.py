"""Datagrams between neighbouring filters: whole, with the external party's address, which every filter sees (B3.21)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.chain import link
from fwx.impl.datagramendpoint import DatagramEndpoint
from fwx.impl.datagramjunction import datagram_junction
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import S_FALSE, S_OK, COMError, SocketAddress
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNRESET, WSAEMSGSIZE, WSAENOBUFS, winsock_error
from fwx.testing import PlainBuffer, Recorder
from tests.impl.peers import Owner

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

SERVER = SocketAddress("192.0.2.53", 53)
OTHER = SocketAddress("198.51.100.9", 5353)


def const(data: bytes) -> FWXIOBuffer:
    return FWXIOBuffer.constant(data)


@pytest.fixture
def pair(rig: Rig) -> tuple[FWXSocket, FWXSocket]:
    """The external socket of one filter, and the internal socket of the next towards the server."""
    towards_client, towards_server = datagram_junction(rig.queue)
    return FWXSocket(rig.queue, Owner(), towards_client), FWXSocket(rig.queue, Owner(), towards_server)


def test_the_external_address_by_side(rig: Rig, pair: tuple[FWXSocket, FWXSocket]) -> None:
    """B3.21: the target from the internal socket, the source from the external one; the same buffer object (B3.12)."""
    external, internal = pair
    recorder, question, answer = Recorder(), const(b"question"), const(b"answer")
    internal.Recv(None, recorder, "internal")
    external.Recv(None, recorder, "external")
    external.SendTo(question, SERVER, None, None, 0)
    internal.SendTo(answer, OTHER, None, None, 0)
    rig.settle()
    assert [(done.tag, done.buffer, done.address) for done in recorder.calls] == [
        ("internal", question, SERVER),
        ("external", answer, OTHER),
    ]


def test_a_buffer_of_a_filters_own(rig: Rig, pair: tuple[FWXSocket, FWXSocket]) -> None:
    """B3.4, B3.12: the neighbour gets one of the service's around the same memory, as on a stream."""
    left, right = pair
    recorder, mine = Recorder(), PlainBuffer(8, b"by hand")
    left.SendTo(mine, SERVER, None, recorder, "sent")
    right.Recv(None, recorder, "received")
    rig.settle()
    buffers = {done.tag: done.buffer for done in recorder.calls}
    assert buffers["sent"] is mine
    assert type(buffers["received"]) is FWXIOBuffer
    assert buffers["received"].GetBufferAndSize().obj is mine.block


def test_boundaries(rig: Rig, pair: tuple[FWXSocket, FWXSocket]) -> None:
    """Empty ones and those that are too long for the receiver's buffer included; a Send without an address has none."""
    left, right = pair
    recorder = Recorder()
    for block in (b"", b"abcdef", b"xyz"):
        left.SendTo(const(block), SERVER, None, None, 0)
    left.Send(const(b"no address"), None, 0)
    assert right._IsDataAvailable() == S_OK
    right.Recv(None, recorder, 0)
    right.Recv(FWXIOBuffer.allocated(4), recorder, 1)
    right.Recv(FWXIOBuffer.allocated(4), recorder, 2)
    right.Recv(None, recorder, 3)
    rig.settle()
    assert [(done.success, done.code, done.data) for done in recorder.calls] == [
        (True, 0, b""),
        (False, WSAEMSGSIZE, b"abcd"),
        (True, 0, b"xyz"),
        (True, 0, b"no address"),
    ]
    assert [done.address for done in recorder.calls] == [SERVER, SERVER, SERVER, None]
    assert right._IsDataAvailable() == S_FALSE


def test_a_neighbour_that_does_not_receive(rig: Rig, pair: tuple[FWXSocket, FWXSocket]) -> None:
    """Sends complete when the neighbour takes them; what waits is bounded."""
    left, right = pair
    recorder = Recorder()
    for number in range(4096):
        left.SendTo(const(bytes(1000)), SERVER, None, recorder, number)
    with pytest.raises(COMError) as failure:
        left.SendTo(const(b"one more"), SERVER, None, recorder, 4096)
    assert failure.value.hresult == winsock_error(WSAENOBUFS).hresult
    rig.settle()
    assert not recorder.calls
    right.Recv(None, Recorder(), 0)
    rig.settle()
    assert recorder.tags == [0]


@pytest.mark.parametrize("abortive", [False, True])
def test_a_neighbour_that_closes(rig: Rig, pair: tuple[FWXSocket, FWXSocket], abortive: bool) -> None:
    """There is no end of a stream: pending Recvs stay on an orderly close, and fail on a reset; Sends fail."""
    left, right = pair
    sent, got, own = Recorder(), Recorder(), Recorder()
    left.SendTo(const(b"too late"), SERVER, None, sent, 0)
    left.Recv(None, got, 0)
    right.Recv(None, own, 0)
    rig.settle()
    right.Recv(None, own, 1)
    right.Close(abortive)
    rig.settle()
    assert [done.success for done in sent.calls] == [True]
    assert [done.code for done in own.calls] == [0, ERROR_OPERATION_ABORTED]
    assert [done.code for done in got.calls] == ([WSAECONNRESET] if abortive else [])
    left.SendTo(const(b"x"), SERVER, None, sent, 1)
    rig.settle()
    assert sent.calls[1].code == WSAECONNRESET
    left.Close(False)
    rig.settle()


class Passing:
    """A data filter on UDP: sends on what it gets, to whom it was meant and from whom it came."""

    def __init__(self, internal: FWXSocket, external: FWXSocket) -> None:
        self.sockets = (internal, external)
        self.seen: list[tuple[int, Any]] = []
        for side in (0, 1):
            self.sockets[side].Recv(None, self, side)  # type: ignore[arg-type]

    def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, side: int, address: Any, length: int) -> None:
        if success:
            self.seen.append((side, address))
            self.sockets[1 - side].SendTo(buffer, address, None, None, 0)
            self.sockets[side].Recv(None, self, side)  # type: ignore[arg-type]


class Everyone:
    """An owner of an endpoint that takes everything."""

    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        return True

    def datagram_sent(self, external: SocketAddress | None, size: int) -> None:
        """Nobody counts."""

    def datagrams_ended(self) -> None:
        """Nobody waits."""


def test_a_chain_of_filters_to_a_real_server(rig: Rig) -> None:
    """B3.4, B3.21: client, two filters, the kernel; both filters see the server's address on both ways."""
    client_end, first_end = datagram_junction(rig.queue)
    transport = rig.network.datagram(socket.AF_INET)
    transport.bind(("127.0.0.1", 0))
    endpoint = DatagramEndpoint(transport, rig.queue, Everyone())
    members: list[Any] = [_Member(), _Member()]
    link(members, first_end, endpoint, rig.queue)
    filters = [
        Passing(*(FWXSocket(rig.queue, Owner(), end) for end in (member.internal, member.external)))
        for member in members
    ]
    endpoint.start()
    client, recorder = FWXSocket(rig.queue, Owner(), client_end), Recorder()
    client.Recv(None, recorder, 0)
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        address = SocketAddress.from_sockaddr(server.getsockname())
        client.SendTo(const(b"question"), address, None, None, 0)
        rig.settle()
        data, asker = server.recvfrom(100)
        server.sendto(data.upper(), asker)
        rig.until(lambda: recorder.calls)
    assert (recorder.calls[0].data, recorder.calls[0].address) == (b"QUESTION", address)
    assert [each.seen for each in filters] == [[(0, address), (1, address)]] * 2
    endpoint.close(False)
    rig.settle()


class _Member:
    internal: Any = None
    external: Any = None
