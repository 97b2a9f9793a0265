"""The time-outs of network sockets, by the kinds of FwxTimeoutType."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx import sdk
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import (
    E_INVALIDARG,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    COMError,
    SocketAddress,
    fwxAcceptExRecvTimeout,
    fwxAcceptExTimeout,
    fwxAcceptTimeout,
    fwxConnectExSendTimeout,
    fwxRecvTimeout,
    fwxSendTimeout,
)
from fwx.interfaces.hresult import WSAETIMEDOUT
from fwx.testing import Recorder

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANY4 = SocketAddress("127.0.0.1", 0)
SOL_SOCKET, SO_SNDTIMEO, SO_RCVTIMEO = 0xFFFF, 0x1005, 0x1006


def connected(rig: Rig) -> tuple[Any, Any]:
    """Return a connected network socket of the firewall, and its peer outside."""
    server = socket.create_server(("127.0.0.1", 0))
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    sock.Connect(SocketAddress.from_sockaddr(server.getsockname()))
    outside, _ = server.accept()
    server.close()
    rig.until(lambda: sock._endpoint is not None)
    return sock, rig.peer(outside)


def listening(rig: Rig) -> Any:
    listener = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    return listener


def test_numbers(rig: Rig) -> None:
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    timeouts: Any = sdk.ISocketTimeouts
    assert timeouts(sock) is sock
    assert sock.timeout(fwxRecvTimeout) == 0
    sock.set_timeout(fwxRecvTimeout, 1500)
    assert sock.GetSockOpt(SOL_SOCKET, SO_RCVTIMEO) == (1500).to_bytes(4, "little")
    sock.SetSockOpt(SOL_SOCKET, SO_SNDTIMEO, (250).to_bytes(4, "little"))
    assert (sock.timeout(fwxSendTimeout), sock.timeout(fwxRecvTimeout)) == (250, 1500)
    for kind, milliseconds in ((0, 1), (3, 1), (64, 1), ("send", 1), (fwxSendTimeout, -1), (fwxSendTimeout, 1 << 32)):
        with pytest.raises(COMError) as failure:
            sock.set_timeout(kind, milliseconds)
        assert failure.value.hresult == E_INVALIDARG


def test_a_receive(rig: Rig) -> None:
    """It fails when its time is up, with everything that is pending: a stream cannot say what was half received."""
    sock, peer = connected(rig)
    sock.set_timeout(fwxRecvTimeout, 2000)
    recorder = Recorder()
    sock.Recv(None, recorder, 1)
    peer.send(b"in time")
    rig.until(lambda: recorder.calls)
    rig.clock.advance(3)
    rig.settle()
    assert [done.success for done in recorder.calls] == [True]
    sock.Recv(None, recorder, 2)
    sock.Recv(None, recorder, 3)
    rig.clock.advance(1.9)
    rig.settle()
    assert len(recorder.calls) == 1
    rig.clock.advance(0.2)
    rig.until(lambda: len(recorder.calls) == 3)
    assert [(done.tag, done.success, done.code) for done in recorder.calls[1:]] == [
        (2, False, WSAETIMEDOUT),
        (3, False, WSAETIMEDOUT),
    ]
    peer.expect_reset()
    assert {type(timer.callback.__self__) for timer in rig.clock.timers} <= {DeadlineQueue}  # type: ignore[attr-defined]


def test_a_send(rig: Rig) -> None:
    """A peer that does not read: the Send fails and the connection is reset."""
    sock, peer = connected(rig)
    sock.set_timeout(fwxSendTimeout, 1000)
    recorder = Recorder()
    for number in range(64):
        sock.Send(FWXIOBuffer(bytes(1 << 17)), recorder, number)
    rig.settle()
    taken = len(recorder.calls)
    assert taken < 64
    rig.clock.advance(1.1)
    rig.until(lambda: len(recorder.calls) == 64)
    assert {done.code for done in recorder.calls[taken:]} == {WSAETIMEDOUT}
    sock.Close(True)
    assert peer


def test_datagrams(rig: Rig) -> None:
    """The Recv that waited too long fails, and it alone."""
    sock, far = (rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP) for _ in range(2))
    for each in (sock, far):
        each.Bind(ANY4, None, None)
    sock.set_timeout(fwxRecvTimeout, 1000)
    recorder = Recorder()
    sock.Recv(None, recorder, 1)
    rig.clock.advance(0.6)
    sock.Recv(None, recorder, 2)
    rig.clock.advance(0.6)
    rig.until(lambda: recorder.calls)
    assert (recorder.calls[0].tag, recorder.calls[0].code) == (1, WSAETIMEDOUT)
    far.SendTo(FWXIOBuffer(b"in time"), sock.GetSockName(), None, None, 0)
    rig.until(lambda: len(recorder.calls) == 2)
    assert recorder.calls[1].data == b"in time"


def test_a_connect(rig: Rig, deaf: SocketAddress) -> None:
    """Before the service's own 20 seconds are over."""
    sock, recorder = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP), Recorder()
    sock.set_timeout(fwxConnectExSendTimeout, 3000)
    sock.Connect(deaf)
    sock.Recv(None, recorder, 0)
    rig.clock.advance(2.9)
    rig.settle()
    assert not recorder.calls
    rig.clock.advance(0.2)
    rig.until(lambda: recorder.calls)
    assert recorder.calls[0].code == WSAETIMEDOUT
    assert not list(rig.packet_filter)


def test_an_accept(rig: Rig, accept_recorder: Any) -> None:
    listener, accepts = listening(rig), accept_recorder()
    listener.set_timeout(fwxAcceptTimeout, 500)
    listener.Accept(accepts, "early")
    rig.clock.advance(0.6)
    rig.until(lambda: accepts.calls)
    assert (accepts.calls[0].tag, accepts.calls[0].code) == ("early", WSAETIMEDOUT)
    listener.Accept(accepts, "in time")
    rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    rig.until(lambda: len(accepts.calls) == 2)
    assert accepts.calls[1].success
    rig.clock.advance(5)
    rig.settle()
    assert accepts.calls[1].socket.GetPeerName()


@pytest.mark.parametrize(("kind", "waits"), [(fwxAcceptExRecvTimeout, 0.0), (fwxAcceptExTimeout, 0.5)])
@pytest.mark.parametrize("speaks", [True, False])
def test_the_first_data(rig: Rig, accept_recorder: Any, kind: Any, waits: float, speaks: bool) -> None:
    """Counted from the connection, or from the Accept, of which half the time is over when the connection comes."""
    listener, accepts, recorder = listening(rig), accept_recorder(), Recorder()
    listener.set_timeout(kind, 1000)
    listener.Accept(accepts, 0)
    rig.clock.advance(waits)
    peer = rig.peer(socket.create_connection(listener.GetSockName().sockaddr))
    rig.until(lambda: accepts.calls)
    accepted = accepts.calls[0].socket
    accepted.Recv(None, recorder, 0)
    if speaks:
        peer.send(b"hello")
        rig.until(lambda: recorder.calls)
    rig.clock.advance(0.9 - waits)
    rig.settle()
    assert len(recorder.calls) == speaks
    rig.clock.advance(0.2)
    rig.settle()
    if speaks:
        accepted.Send(FWXIOBuffer(b"still there"), None, 0)
        peer.expect(b"still there")
    else:
        rig.until(lambda: recorder.calls)
        assert recorder.calls[0].code == WSAETIMEDOUT
        peer.expect_reset()
