"""UnreadSocket: what was received too early is received again; and STARTTLS, which needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import E_INVALIDARG, E_NOINTERFACE, E_POINTER, COMError
from fwx.testing import MemoryFirewall, Recorder, SocketPair, memory_pair
from tests.impl.tls import certificates
from tests.impl.tls.parts import towards_client, towards_server


@pytest.fixture
def under(memory: MemoryFirewall) -> Iterator[SocketPair]:
    pair = memory_pair(memory.loop)
    yield pair
    pair.close()


def test_what_was_given_back_comes_first(memory: MemoryFirewall, under: SocketPair) -> None:
    socket = sdk.UnreadSocket(memory.firewall, under.left, b"abcdef")
    assert socket._IsDataAvailable() == sdk.S_OK
    small, recorder = FWXIOBuffer.allocated(2), Recorder()
    socket.Recv(small, recorder, 1)
    socket.Recv(None, recorder, 2)
    socket.Recv(None, recorder, 3)
    assert not recorder.calls, "a completion inside the call"
    under.send(under.right, b"new")
    memory.loop.run()
    assert [(done.tag, done.success, done.data) for done in recorder.calls] == [
        (1, True, b"ab"),
        (2, True, b"cdef"),
        (3, True, b"new"),
    ]
    assert recorder.calls[0].buffer is small
    assert socket._IsDataAvailable() == sdk.S_FALSE


def test_everything_else_is_the_sockets(memory: MemoryFirewall, under: SocketPair) -> None:
    socket = sdk.UnreadSocket(memory.firewall, under.left, b"abc")
    under.send(socket, b"hello")
    assert under.receive_all(under.right, 5) == b"hello"
    assert socket._GetWriteCount() == 5
    socket.Shutdown(False)
    assert under.receive(under.right).data == b""
    socket.Close(False)
    with pytest.raises(COMError):
        socket.Recv(None, Recorder(), 0)
    with pytest.raises(COMError):
        socket._IsDataAvailable()


def test_bad_arguments(memory: MemoryFirewall, under: SocketPair) -> None:
    socket = sdk.UnreadSocket(memory.firewall, under.left, b"abc")
    for arguments, result in (((None, None, 0), E_POINTER), ((object(), Recorder(), 0), E_INVALIDARG)):
        with pytest.raises(COMError) as failure:
            socket.Recv(*arguments)
        assert failure.value.hresult == result
    with pytest.raises(COMError) as failure:
        sdk.UnreadSocket(under.left, under.left, b"")
    assert failure.value.hresult == E_NOINTERFACE
    assert under.receive_all(socket, 3) == b"abc", "a refused Recv has taken nothing"


@pytest.mark.parametrize("returned", [True, False])
def test_a_completion_that_fails_resets_it(under: SocketPair, returned: bool) -> None:
    memory = MemoryFirewall()

    def fail(done: Any) -> Any:
        if returned:
            return sdk.E_FAIL
        raise RuntimeError("a bug of the filter")

    pair = memory_pair(memory.loop)
    sdk.UnreadSocket(memory.firewall, pair.left, b"abc").Recv(None, Recorder(fail), 0)
    other = pair.receive(pair.right)
    assert not other.success
    assert len(memory.faults) == 1
    memory.close()
    pair.close()


def test_the_last_reference_closes_it(memory: MemoryFirewall, under: SocketPair) -> None:
    sdk.UnreadSocket(memory.firewall, under.left, b"abc").Release()
    assert under.receive(under.right).data == b""


# ---- STARTTLS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("piece", [1, 7, 100000])
def test_tls_begins_in_the_middle_of_a_stream(
    memory: MemoryFirewall, under: SocketPair, early: bool, piece: int
) -> None:
    """B4.17: plain text, then TLS on the same sockets, without losing a byte, also of what came with the last line."""
    for sender, receiver, line in ((under.left, under.right, b"220 ready"), (under.right, under.left, b"STARTTLS")):
        under.send(sender, line)
        assert under.receive_all(receiver, len(line)) == line
    client = towards_server(memory.firewall, under.right, certificates.client())
    client.Send(FWXIOBuffer(b"EHLO" * 5000), None, 0)
    received: Any = under.left
    if early:
        memory.loop.run()
        first = under.receive(under.left, FWXIOBuffer.allocated(piece)).data
        assert first.startswith(b"\x16")
        received = sdk.UnreadSocket(memory.firewall, under.left, first)
    server = towards_client(memory.firewall, received, certificates.server())
    assert under.receive_all(server, 20000) == b"EHLO" * 5000
    under.send(server, b"250 ok")
    assert under.receive_all(client, 6) == b"250 ok"
    client.Close(False)
    assert under.receive(server).data == b""
    server.Close(False)
