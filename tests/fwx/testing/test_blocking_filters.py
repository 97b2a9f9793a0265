"""Blocking filters in the firewall in memory: real threads, and the same outcome in every run."""

from __future__ import annotations

import hashlib
import random
import threading
from typing import Any

import pytest

from fwx import sdk
from fwx.testing import AttachingFilter, MemoryFirewall, Playbook, check_filter
from fwx.workers import WORKERS

CONNECTIONS = 1000
PIECES = 8


@sdk.implementer(sdk.IBlocking)
class BlockingAttacher(AttachingFilter):
    """Attaches a data filter to every connection; called on threads."""


class Crowd:
    """All the threads of the pool, each of which comes only when the others have."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(WORKERS)
        self._local = threading.local()
        self.met = False

    def meet(self) -> None:
        if not hasattr(self._local, "has_come"):
            self._local.has_come = True
            if self._barrier.wait(10) == 0:
                self.met = True


class Pump(sdk.DataPump):
    """Passes everything, on every thread there is."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self.crowd = crowd

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        self.crowd.meet()
        return buffer


class Data(sdk.DataPump):
    """A data filter of a filter that is called on threads."""

    def __init__(self, firewall: Any) -> None:
        super().__init__()
        self.firewall = firewall


@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, firewall: Any) -> None:
        self.firewall = firewall

    def FirewallEventHandler(self, pProxyEvent: Any) -> None:
        connection = pProxyEvent.Parameters.Connect.piConnection
        connection.AttachDataFilter(Data(self.firewall), sdk.fwx_dfpc_Middle, None)

    def Detach(self) -> None:
        self.firewall = None


@sdk.implementer(sdk.IFWXFilter, sdk.IBlocking)
class Blocking(sdk.Unknown):
    """The filter of the documentation, which may block."""

    firewall: Any

    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Session:
        return Session(self.firewall)

    def FilterShutdown(self) -> None:
        self.firewall = None


def test_the_battery_tries_a_blocking_filter() -> None:
    """Every rule of a filter and of its data filters, on threads."""
    check_filter(Blocking).require()


def test_many_connections_keep_their_order() -> None:
    """B5.10: a thousand connections on eight threads: each byte comes, once, in its place, to its own peer."""
    memory, crowd = MemoryFirewall(), Crowd()
    memory.start(lambda: BlockingAttacher(lambda: Pump(crowd)))
    opened = [memory.open(client=f"10.0.{n >> 8}.{n & 255}").established() for n in range(CONNECTIONS)]
    sent, got = [hashlib.sha256() for _ in opened], [hashlib.sha256() for _ in opened]
    chance = random.Random(6)
    for piece in range(PIECES):
        for index, (client, _) in enumerate(opened):
            data = b"%d/%d " % (index, piece) + chance.randbytes(chance.randrange(1, 300))
            sent[index].update(data)
            client._transport.send(data)  # send() of a peer lets happen what that causes, one after the other
        if piece % 4 == 3:
            memory.loop.run()
    memory.loop.run()
    for (_, server), digest in zip(opened, got, strict=True):
        digest.update(server.receive())
    assert [each.digest() for each in got] == [each.digest() for each in sent]
    assert crowd.met
    assert len(memory.workers) == WORKERS
    assert not memory.faults
    memory.close()


def test_a_playbook_through_a_blocking_filter() -> None:
    """A filter that waits for a name has it when the look-up has ended: the run of the loop waits for the thread."""

    class Asking(sdk.DataPump):
        def __init__(self, firewall: Any) -> None:
            super().__init__()
            self.firewall = firewall

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            name = bytes(buffer.GetBufferAndSize()).decode()
            if not to_server or not name:
                return buffer
            (address,) = self.firewall.GetHostByName(name).addresses
            return self.firewall.CreateConstBuffer(str(address).encode(), None)

    memory = MemoryFirewall()
    memory.names.table["slow.example"] = ["203.0.113.9"]
    memory.names.slow.add("slow.example")
    host = memory.start(lambda: BlockingAttacher(lambda: Asking(memory.firewall)))
    assert host.is_blocking
    Playbook(memory).client_sends(b"slow.example").server_gets(b"203.0.113.9").play()
    memory.close()


def test_a_thread_that_waits_for_the_loop_lets_time_pass() -> None:
    """What nobody answers in memory ends when the time is up: the run does not wait for the thread, the thread does."""
    codes: list[int] = []

    class Connecting(sdk.DataPump):
        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
            made = memory.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
            with pytest.raises(sdk.COMError) as failure:
                made.Connect(sdk.SocketAddress("203.0.113.1", 9))
            codes.append(failure.value.hresult)
            super().SetSockets(internal, external, connection, context)

    memory = MemoryFirewall()
    memory.start(lambda: BlockingAttacher(Connecting))
    Playbook(memory).passes(30).client_sends(b"later").server_gets(b"later").play()
    assert len(codes) == 1
    memory.close()


def test_coroutines_are_for_the_loop_thread() -> None:
    """An async data filter of a blocking filter is told so; the connection fails closed."""
    memory = MemoryFirewall()
    memory.start(lambda: BlockingAttacher(sdk.AsyncDataFilter))
    made = memory.open()
    memory.loop.run()
    assert made.connection.result[0] == sdk.E_UNEXPECTED
    (fault,) = memory.faults
    assert "FWX_E_BAD_CONTEXT" in fault
    assert "coroutines run on the loop thread" in fault
    memory.close()
