"""The stream over TLS: its ends, its backpressure, its time-outs (B3.24 to B3.26, B4.16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.tls import BLOCK
from fwx.interfaces.hresult import (
    ERROR_OPERATION_ABORTED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAENOTSOCK,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
    COMError,
)
from fwx.testing import MemoryFirewall, Recorder
from tests.impl.tls import certificates
from tests.impl.tls.parts import Conversation, TwoWires, Wire, towards_client, towards_server

VERSIONS = ("TLSv1.2", "TLSv1.3")


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def winsock(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


# ---- the stream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_has_come_before_the_own_end_is_not_lost(version: str) -> None:
    """B3.25: OpenSSL throws away data that it meets while it sends close_notify; it must have been read before."""
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)))
    wires.carry()
    received = Recorder()
    wires.client.Recv(FWXIOBuffer.allocated(1), received, 0)
    wires.memory.loop.run()
    wires.server.Send(FWXIOBuffer(b"0123456789" * 5000), None, 0)
    wires.carry()
    assert received.calls[0].data == b"0"
    wires.client.Shutdown(False)
    wires.carry()
    data = b"0"
    while len(data) < 50000:
        recorder = Recorder()
        wires.client.Recv(FWXIOBuffer.allocated(777), recorder, 0)
        wires.carry()
        assert recorder.calls[0].success
        data += recorder.calls[0].data
    assert data == b"0123456789" * 5000
    wires.server.Send(FWXIOBuffer(b"more"), None, 0)
    recorder = Recorder()
    wires.client.Recv(None, recorder, 0)
    wires.carry()
    assert recorder.calls[0].data == b"more"
    wires.server.Shutdown(False)
    ends = Recorder()
    wires.client.Recv(None, ends, 0)
    wires.server.Recv(None, ends, 1)
    wires.carry()
    assert [(done.success, done.data) for done in ends.calls] == [(True, b"")] * 2
    wires.client.Recv(None, ends, 2)
    wires.carry()
    assert (ends.calls[2].success, ends.calls[2].data) == (True, b"")
    wires.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_without_close_notify_is_a_failure(memory: MemoryFirewall, version: str) -> None:
    """RFC 8446 6.1: an attacker can cut the connection; only close_notify is the end."""
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)), memory)
    wires.carry()
    recorder = Recorder()
    wires.server.Recv(None, recorder, 1)
    wires.client.Send(FWXIOBuffer(b"half a story"), None, 0)
    wires.carry()
    wires.right.peer.shutdown()
    wires.server.Recv(None, recorder, 2)
    wires.server.Recv(None, recorder, 3)
    memory.loop.run()
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        (1, True, 0),
        (2, False, WSAECONNABORTED),
        (3, False, WSAECONNABORTED),
    ]
    reason = "TLS failed: the peer ended the connection without close_notify"
    assert [record.reason for record in memory.records] == [reason]
    wires.close()


def test_close_sends_close_notify(memory: MemoryFirewall) -> None:
    """B3.26: what is queued, close_notify, the end; also when the handshake has not been done yet."""
    made = Conversation(firewall=memory)
    received = Recorder()
    made.client.Send(FWXIOBuffer(bytes(300000)), None, 0)
    made.client.Close(False)
    made.server.Recv(None, received, 0)
    made.loop.run()
    while received.calls[-1].data:
        made.server.Recv(None, received, 0)
        made.loop.run()
    assert sum(len(done.data) for done in received.calls) == 300000
    assert all(done.success for done in received.calls)
    made.server.Close(False)
    made.loop.run()
    made.under.close()


def test_close_before_the_handshake_says_nothing(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_client(memory.firewall, end.socket, certificates.server())
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    memory.loop.run()
    socket.Close(False)
    assert end.peer.receive() == b""
    assert end.peer.ended
    assert [(done.success, done.code) for done in recorder.calls] == [(False, ERROR_OPERATION_ABORTED)]


def test_what_is_posted_after_the_end(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    made.client.Shutdown(False)
    assert code_of(made.client.Send, FWXIOBuffer(b"x"), None, 0) == winsock(WSAESHUTDOWN)
    made.client.Close(False)
    assert code_of(made.client.Recv, None, Recorder(), 0) == winsock(WSAENOTSOCK)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_what_a_stopped_reader_costs(memory: MemoryFirewall) -> None:
    """Backpressure is end to end: nothing is received underneath that nobody asked for, and little is on its way."""
    made = Conversation(firewall=memory)
    made.loop.run()
    sent = Recorder()
    for number in range(8):
        made.client.Send(FWXIOBuffer(bytes(1 << 20)), sent, number)
    made.loop.run()
    assert not sent.calls
    layer = made.client._layer
    assert layer.sent == 2 * BLOCK
    assert layer.backlog == (8 << 20) - 2 * BLOCK
    assert made.server._layer.received == 0
    assert made.pair.receive_all(made.server, 8 << 20) == bytes(8 << 20)
    made.loop.run()
    assert [done.tag for done in sent.calls] == list(range(8))
    made.client.Close(True)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_empty_sends_complete_in_order(talk: Callable[..., Conversation]) -> None:
    made = talk()
    sent = Recorder()
    for number, data in enumerate((b"", b"a", b"", b"", b"b", b"")):
        made.client.Send(FWXIOBuffer(data), sent, number)
    assert made.pair.receive_all(made.server, 2) == b"ab"
    made.loop.run()
    assert [(done.tag, done.success) for done in sent.calls] == [(number, True) for number in range(6)]


# ---- time ------------------------------------------------------------------------------------------------------------


def test_a_handshake_has_a_deadline(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_server(memory.firewall, end.socket, certificates.client())
    recorder = Recorder()
    socket.Send(FWXIOBuffer(b"x"), recorder, 1)
    socket.Recv(None, recorder, 2)
    memory.loop.advance(19.0)
    assert not recorder.calls
    memory.loop.advance(2.0)
    assert [(done.success, done.code) for done in recorder.calls] == [(False, WSAETIMEDOUT)] * 2
    assert [record.reason for record in memory.records] == ["the TLS handshake failed: it took too long"]
    end.peer.receive()
    assert end.peer.was_reset


def test_the_default_time_outs(memory: MemoryFirewall) -> None:
    """B4.16: they are those of every operation on the socket, in milliseconds; one that is up ends the connection."""
    made = Conversation(firewall=memory, send_timeout=0, recv_timeout=1500)
    recorder = Recorder()
    made.loop.run()
    made.client.Recv(None, recorder, "received")
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), recorder, "sent")
    memory.loop.advance(1.4)
    assert not recorder.calls
    memory.loop.advance(0.2)
    assert {(done.tag, done.success, done.code) for done in recorder.calls} == {
        ("received", False, WSAETIMEDOUT),
        ("sent", False, WSAETIMEDOUT),
    }
    assert sdk.IFWXNetworkSocket.providedBy(made.client)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_a_send_that_nobody_takes(memory: MemoryFirewall) -> None:
    """B4.16: dwDefaultSendTimeout."""
    made = Conversation(firewall=memory, send_timeout=250)
    recorder = Recorder()
    made.client.Send(FWXIOBuffer(b"quick"), recorder, "quick")
    assert made.pair.receive_all(made.server, 5) == b"quick"
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), recorder, "slow")
    memory.loop.advance(1)
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        ("quick", True, 0),
        ("slow", False, WSAETIMEDOUT),
    ]
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_a_closed_socket_lingers_as_long_as_data_moves(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    sent = Recorder()
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), sent, 0)
    made.client.Close(False)
    memory.loop.advance(29.0)
    assert made.client in memory.firewall._sockets
    made.pair.receive_all(made.server, 600 << 10)
    memory.loop.advance(2.0)
    assert not sent.calls
    memory.loop.advance(31.0)
    assert made.client not in memory.firewall._sockets
    assert [(done.success, done.code) for done in sent.calls] == [(False, WSAETIMEDOUT)]
    made.server.Close(True)
    made.loop.run()
    made.under.close()
