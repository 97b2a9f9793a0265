"""SSL sockets on wires that cut, change and fail what they carry; and many of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface import implementer

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.tls import TlsLayer
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXSocket
from fwx.interfaces.hresult import (
    E_FAIL,
    ERROR_OPERATION_ABORTED,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAENOBUFS,
    COMError,
    winsock_error,
)
from fwx.testing import MemoryFirewall, PlainBuffer, Recorder, memory_pair
from tests.impl.tls import certificates
from tests.impl.tls.parts import Conversation, TwoWires, Wire, towards_client, towards_server

VERSIONS = ("TLSv1.2", "TLSv1.3")


class Reader:
    """Receives on a socket until it ends or fails."""

    def __init__(self, socket: Any) -> None:
        self.data = bytearray()
        self.outcome: Any = None
        self._socket = socket
        self._recorder = Recorder(self._come)
        socket.Recv(None, self._recorder, 0)

    def _come(self, done: Any) -> None:
        if done.success and done.data:
            self.data += done.data
            self._socket.Recv(None, self._recorder, 0)
        else:
            self.outcome = "end" if done.success else done.code


# ---- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_byte_by_byte(version: str) -> None:
    """Handshake, data both ways, both ends: every byte by itself."""
    names = {"other.example": certificates.server()}
    server = certificates.server(protocols=(version,), names=names)
    wires = TwoWires(certificates.client(protocols=(version,)), server)
    readers = Reader(wires.client), Reader(wires.server)
    wires.client.Send(FWXIOBuffer(b"question" * 10), None, 0)
    wires.server.Send(FWXIOBuffer(b"answer" * 10), None, 0)
    wires.client.Shutdown(False)
    wires.server.Shutdown(False)
    wires.carry(lambda length: 1)
    assert [bytes(reader.data) for reader in readers] == [b"answer" * 10, b"question" * 10]
    assert [reader.outcome for reader in readers] == ["end", "end"]
    assert not wires.memory.firewall._sockets
    wires.close()


@settings(max_examples=25, deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    to_server=st.lists(st.integers(0, 40000), max_size=6),
    to_client=st.lists(st.integers(0, 40000), max_size=6),
    seed=st.integers(0, 1 << 32),
)
def test_any_splits_and_sizes(version: str, to_server: list[int], to_client: list[int], seed: int) -> None:
    random = Random(seed)
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)))
    readers = Reader(wires.server), Reader(wires.client)
    sent = [b"".join(random.randbytes(size) for size in sizes) for sizes in (to_server, to_client)]
    for socket, sizes, data in ((wires.client, to_server, sent[0]), (wires.server, to_client, sent[1])):
        for size in sizes:
            socket.Send(FWXIOBuffer(data[:size]), None, 0)
            data = data[size:]
        socket.Shutdown(False)
    wires.carry(lambda length: random.randint(1, length))
    assert [bytes(reader.data) for reader in readers] == sent
    assert [reader.outcome for reader in readers] == ["end", "end"]
    wires.close()


# ---- changes ---------------------------------------------------------------------------------------------------------


def encrypted(wires: TwoWires, data: bytes) -> bytes:
    """Return what the client sends over the wire for *data* and its end."""
    wires.client.Send(FWXIOBuffer(data), None, 0)
    wires.client.Shutdown(False)
    return wires.left.peer.receive()


def gentle_send(wire: Wire, data: bytes) -> None:
    """Send what the other side still takes."""
    for start in range(0, len(data), 1000):
        if not wire.peer.was_reset and not wire.peer.ended:
            wire.peer.send(data[start : start + 1000])
            wire.peer.receive()


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    position=st.integers(0, 1 << 20),
    kind=st.sampled_from(["change", "insert", "remove", "cut", "repeat"]),
    garbage=st.binary(min_size=1, max_size=50),
)
def test_nothing_is_received_that_was_not_sent(version: str, position: int, kind: str, garbage: bytes) -> None:
    """Whatever happens on the wire after the handshake: a beginning of what was sent, then a failure, never more."""
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)))
    wires.carry()
    data = Random(position).randbytes(50000)
    whole = encrypted(wires, data)
    at = position % len(whole)
    changed = {
        "change": whole[:at]
        + bytes(each ^ 0x55 for each in whole[at : at + len(garbage)])
        + whole[at + len(garbage) :],
        "insert": whole[:at] + garbage + whole[at:],
        "remove": whole[:at] + whole[at + len(garbage) :],
        "cut": whole[:at],
        "repeat": whole[: at or 1] + whole,
    }[kind]
    reader = Reader(wires.server)
    gentle_send(wires.right, changed)
    wires.right.peer.shutdown()
    wires.memory.loop.run()
    assert data.startswith(bytes(reader.data))
    if reader.outcome == "end":
        assert bytes(reader.data) == data, "an end before everything was received"
        assert kind in ("insert", "remove", "change", "repeat")
    else:
        assert reader.outcome in (WSAECONNABORTED, WSAECONNRESET)
    wires.close()


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=300), as_client=st.booleans(), names=st.booleans())
def test_garbage_instead_of_a_handshake(data: bytes, as_client: bool, names: bool) -> None:
    memory = MemoryFirewall()
    wire = Wire(memory)
    if as_client:
        socket = towards_server(memory.firewall, wire.socket, certificates.client())
    else:
        credentials = certificates.server(names={"a.example": certificates.server()} if names else {})
        socket = towards_client(memory.firewall, wire.socket, credentials)
    reader = Reader(socket)
    gentle_send(wire, data)
    wire.peer.shutdown()
    memory.loop.run()
    assert reader.outcome == WSAECONNABORTED
    assert not reader.data
    assert len(memory.records) == 1
    assert not memory.firewall._sockets
    wire.peer.close()
    memory.close()


def test_a_record_that_is_too_long() -> None:
    """RFC 8446 5.2: a record of more than 2^14 + 256 bytes ends the connection, with an alert."""
    wires = TwoWires()
    wires.carry()
    reader = Reader(wires.server)
    wires.right.peer.send(b"\x17\x03\x03\xff\xff" + bytes(100))
    assert reader.outcome == WSAECONNABORTED
    assert wires.right.peer.receive()[:1] == b"\x17", "an encrypted alert"
    assert wires.memory.records[0].reason == "TLS failed: packet length too long"
    wires.close()


# ---- sockets underneath that fail ------------------------------------------------------------------------------------


@implementer(IFWXSocket)
class Failing(Unknown):
    """A filter's own socket: passes on to *socket*, and does *fault* to the call number *at* of *method*."""

    def __init__(self, socket: Any, method: str, at: int, fault: Callable[..., Any]) -> None:
        self._socket = socket
        self._method = method
        self._at = at
        self._fault = fault
        self.calls: list[str] = []

    def _pass_on(self, method: str, *args: Any) -> Any:
        self.calls.append(method)
        call = getattr(self._socket, method)
        if method == self._method and self.calls.count(method) == self._at:
            return self._fault(call, *args)
        return call(*args)

    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        self._pass_on("Send", pIOBuffer, pIFWXIOCompletion, UserData)

    def SendTo(self, pIOBuffer: Any, Address: Any, AddressLength: Any, pIFWXIOCompletion: Any, UserData: Any) -> None:
        self._pass_on("SendTo", pIOBuffer, Address, AddressLength, pIFWXIOCompletion, UserData)

    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        self._pass_on("Recv", pIOBuffer, pIFWXIOCompletion, UserData)

    def Shutdown(self, fAbortive: bool) -> None:
        self._pass_on("Shutdown", fAbortive)

    def Close(self, fAbortive: bool) -> None:
        self._pass_on("Close", fAbortive)

    def _GetWriteCount(self) -> int:
        return 0

    def _IsDataAvailable(self) -> Any:
        return sdk.S_FALSE


def refuses(call: Any, *args: Any) -> None:
    raise winsock_error(WSAENOBUFS, "full")


def fails_otherwise(call: Any, *args: Any) -> None:
    raise COMError(E_FAIL)


def breaks(call: Any, *args: Any) -> None:
    raise RuntimeError("a bug of the filter")


def completes_inside(call: Any, *args: Any) -> None:
    args[-2].CompleteAsyncIO(False, WSAECONNRESET, None, args[-1], None, 0)


def completes_twice(call: Any, *args: Any) -> None:
    for _ in range(2):
        args[-2].CompleteAsyncIO(False, 0, None, args[-1], None, 0)


def brings_no_buffer(call: Any, *args: Any) -> None:
    args[-2].CompleteAsyncIO(True, 0, None, args[-1], None, 0)


FAULTS = (refuses, fails_otherwise, breaks, completes_inside, completes_twice, brings_no_buffer)


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "at"), [(m, at) for m in ("Send", "Recv") for at in (1, 2, 3, 4)])
def test_a_socket_underneath_that_fails(side: str, fault: Callable[..., Any], method: str, at: int) -> None:
    """At each step: everything that was posted completes once, and nothing is left."""
    memory = MemoryFirewall()
    under = memory_pair(memory.loop)
    failing = Failing(under.left if side == "client" else under.right, method, at, fault)
    left, right = (failing, under.right) if side == "client" else (under.left, failing)
    client = towards_server(memory.firewall, left, certificates.client())
    server = towards_client(memory.firewall, right, certificates.server())
    recorder = Recorder()
    posted = 0
    for round_ in range(3):
        for socket in (client, server):
            for post in (
                lambda s=socket, n=posted: s.Recv(None, recorder, n),
                lambda s=socket, n=posted + 1: s.Send(FWXIOBuffer(bytes(50)), recorder, n),
            ):
                post()
                posted += 1
        memory.loop.run()
        assert round_ >= 0
    for socket in (client, server):
        socket.Close(False)
    memory.loop.advance(60.0)
    assert sorted(recorder.tags) == list(range(posted))
    assert not memory.firewall._sockets
    assert "Close" in failing.calls
    reached = failing.calls.count(method) >= at
    # A Send that "succeeds" without a buffer is a success; the data never came, so the peer waits or fails.
    assert not reached or fault is brings_no_buffer or not all(done.success for done in recorder.calls)
    assert bool(memory.faults) == (reached and (fault is breaks or (fault is brings_no_buffer and method == "Recv")))
    under.close()
    memory.close()


@pytest.mark.parametrize("fault", [refuses, breaks])
@pytest.mark.parametrize("method", ["Shutdown", "Close"])
def test_a_socket_underneath_that_fails_to_end(method: str, fault: Callable[..., Any]) -> None:
    memory = MemoryFirewall()
    under = memory_pair(memory.loop)
    failing = Failing(under.left, method, 1, fault)
    client = towards_server(memory.firewall, failing, certificates.client())
    server = towards_client(memory.firewall, under.right, certificates.server())
    memory.loop.run()
    reader = Reader(client)
    client.Shutdown(False)
    server.Send(FWXIOBuffer(b"still received"), None, 0)
    server.Close(False)
    memory.loop.run()
    assert bytes(reader.data) == b"still received"
    assert reader.outcome == "end"
    client.Close(False)
    memory.loop.advance(60.0)
    assert not memory.firewall._sockets
    assert bool(memory.faults) == (fault is breaks or method == "Close")
    under.left.Close(True)
    under.close()
    memory.close()


def test_a_foreign_socket_with_foreign_buffers() -> None:
    """B3.15: whatever buffer object the socket underneath brings, its bytes are taken."""

    def wrap(call: Any, *args: Any) -> None:
        completion = args[-2]

        def pass_on(done: Any) -> Any:
            buffer = PlainBuffer(max(len(done.data), 1), done.data)
            return completion.CompleteAsyncIO(done.success, done.code, buffer, done.tag, None, 0)

        call(args[0], Recorder(pass_on), args[-1])

    memory = MemoryFirewall()
    under = memory_pair(memory.loop)
    client = towards_server(memory.firewall, Failing(under.left, "Recv", 1, wrap), certificates.client())
    towards_client(memory.firewall, under.right, certificates.server())
    memory.loop.run()
    assert sdk.tls_info(client) is not None
    memory.close()
    under.close()


def test_a_foreign_socket_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """B5.10: a filter's own socket may complete on any thread; the work is done on the loop's."""
    threads: set[int] = set()
    carried = TlsLayer.carried

    def watch(layer: TlsLayer, data: Any) -> None:
        threads.add(threading.get_ident())
        carried(layer, data)

    def elsewhere(call: Any, *args: Any) -> None:
        completion = args[-2]

        def pass_on(done: Any) -> None:
            thread = threading.Thread(
                target=completion.CompleteAsyncIO, args=(done.success, done.code, done.buffer, done.tag, None, 0)
            )
            thread.start()
            thread.join()

        call(args[0], Recorder(pass_on), args[-1])

    monkeypatch.setattr(TlsLayer, "carried", watch)
    memory = MemoryFirewall()
    under = memory_pair(memory.loop)
    client = towards_server(memory.firewall, Failing(under.left, "Recv", 1, elsewhere), certificates.client())
    towards_client(memory.firewall, under.right, certificates.server())
    memory.loop.run()
    assert sdk.tls_info(client) is not None
    assert threads == {memory.loop.queue.thread}
    memory.close()
    under.close()


def test_a_reset_fails_both_directions() -> None:
    made = Conversation()
    made.loop.run()
    recorder = Recorder()
    made.client.Recv(None, recorder, 1)
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), recorder, 2)
    made.loop.run()
    made.server.Close(True)
    made.loop.run()
    assert {(done.tag, done.success) for done in recorder.calls} == {(1, False), (2, False)}
    assert WSAECONNRESET in {done.code for done in recorder.calls}
    made.close()


def test_an_aborted_close_fails_what_is_on_its_way() -> None:
    made = Conversation()
    made.loop.run()
    recorder = Recorder()
    made.client.Recv(None, recorder, 1)
    for number in (2, 3, 4):
        made.client.Send(FWXIOBuffer(bytes(1 << 20)), recorder, number)
    made.loop.run()
    made.client.Close(True)
    made.loop.run()
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        (number, False, ERROR_OPERATION_ABORTED) for number in (1, 2, 3, 4)
    ]
    made.close()


# ---- many ------------------------------------------------------------------------------------------------------------


def test_a_thousand_connections_at_once() -> None:
    memory = MemoryFirewall()
    client, server = certificates.client(), certificates.server()
    talks = [Conversation(client=client, server=server, firewall=memory) for _ in range(1000)]
    received = Recorder()
    for number, each in enumerate(talks):
        each.server.Recv(None, received, number)
        each.client.Send(FWXIOBuffer(b"%d" % number), None, 0)
    memory.loop.run()
    assert {(done.tag, int(done.data)) for done in received.calls} == {(number, number) for number in range(1000)}
    for each in talks:
        each.client.Close(False)
        each.server.Recv(None, received, "end")
    memory.loop.run()
    for each in talks:
        each.server.Close(False)
    memory.loop.run()
    assert all(done.success for done in received.calls)
    assert not memory.firewall._sockets
    assert not memory.records
    for each in talks:
        each.under.close()
    memory.close()
    assert not memory.network.open_transports
