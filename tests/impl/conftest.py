"""The engine on a real loop and real sockets, with a clock that only the test moves and an outside world to talk to."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import uvloop
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.alert import Alert, Alerts, Category, Severity
from fwx.impl.connection import FWXConnection
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.endpoint import Endpoint
from fwx.impl.engine import Engine
from fwx.impl.fault import FaultReporter
from fwx.impl.filterhost import FilterHost
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.logrecord import LogRecord
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.sessions import Sessions
from fwx.impl.sockets import FWXSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FwxFilterHookEvents,
    IFWXAcceptCompletion,
    IFWXDataFilter,
    IFWXFilter,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXSessionFilter,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwxSourceWSP,
)
from fwx.network import Poller, SocketNetwork, SocketTransport
from fwx.registry import build_registry

CONNECT_SECONDS = 20.0
LINGER_SECONDS = 30.0
# What "bounded" means for the kernel's buffers in the tests where a reader stops.
SMALL = 32 << 10
_PATIENCE = 5.0
_RESET = struct.pack("ii", 1, 0)
_EVERYTHING = Rule("everything", "allow", ("any",), ("any", "localhost"), ("any", "localhost"))


class Clock:
    """Time that stands still until :meth:`advance`; its :meth:`call_later` stands in for the loop's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in sorted(self.timers, key=lambda timer: timer.when):
            if timer.when <= self.now and timer in self.timers:
                self.timers.remove(timer)
                timer.callback()


class Timer(NamedTuple):
    clock: Clock
    when: float
    callback: Callable[[], None]

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class Done(NamedTuple):
    """One completion as it arrived."""

    success: bool
    code: int
    buffer: Any
    tag: object

    @property
    def data(self) -> bytes:
        return bytes(self.buffer.GetBufferAndSize())


@implementer(IFWXIOCompletion)
class Recorder(Unknown):
    """A completion object that remembers; *then* is called with each completion and may raise or return."""

    def __init__(self, then: Callable[[Done], object] | None = None) -> None:
        self.calls: list[Done] = []
        self.then = then

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, Address, Length):  # type: ignore[no-untyped-def]
        assert (Address, Length) == (None, 0), "B3.21: TCP has no external address"
        done = Done(fSuccess, Win32ErrorCode, pIOBuffer, UserData)
        self.calls.append(done)
        return self.then(done) if self.then is not None else None

    @property
    def tags(self) -> list[object]:
        return [done.tag for done in self.calls]

    @property
    def outcomes(self) -> list[tuple[object, bool, int]]:
        return [(done.tag, done.success, done.code) for done in self.calls]

    @property
    def received(self) -> bytes:
        return b"".join(done.data for done in self.calls if done.success and done.buffer is not None)


class Accepted(NamedTuple):
    success: bool
    code: int
    listening: Any
    socket: Any
    remote: SocketAddress
    local: SocketAddress
    tag: object


@implementer(IFWXAcceptCompletion)
class AcceptRecorder(Unknown):
    def __init__(self, then: Callable[[Accepted], object] | None = None) -> None:
        self.calls: list[Accepted] = []
        self.then = then

    def CompleteAsyncAccept(self, ok, code, listening, accepted, remote, remote_length, local, local_length, tag):  # type: ignore[no-untyped-def]
        assert (remote_length, local_length) == (remote.length, local.length)
        self.calls.append(Accepted(ok, code, listening, accepted, remote, local, tag))
        return self.then(self.calls[-1]) if self.then is not None else None


@implementer(IFWXIOBuffer)
class ForeignBuffer(Unknown):
    """A filter's own implementation of IFWXIOBuffer, of fixed capacity."""

    def __init__(self, data: bytes = b"", capacity: int | None = None) -> None:
        self.block = bytearray(data)
        self.capacity = len(data) if capacity is None else capacity

    def GetBufferAndSize(self) -> memoryview:
        return memoryview(bytes(self.block))

    def GetBufferSizes(self) -> tuple[int, int]:
        return self.capacity, len(self.block)

    def SetDataSize(self, dwDataSize: int) -> None:
        del self.block[dwDataSize:]

    def Append(self, pv: Any, cb: int | None = None) -> int:
        self.block += bytes(pv)[:cb]
        return len(pv)


class Owner:
    """Owner of an endpoint and of sockets: writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.failures: list[BaseException] = []

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        self.told.append(("ended", None))

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        self.told.append(("broken", code))

    def endpoint_faltered(self, endpoint: Endpoint) -> None:
        self.told.append(("faltered", None))

    def completion_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Names:
    """The resolver: answers from a table, or holds the question until the test answers it."""

    def __init__(self) -> None:
        self.table: dict[str, list[str] | int] = {}
        self.asked: list[Callable[[list[SocketAddress], int], None]] = []
        self.cancelled = 0

    def resolve(self, name: SocketAddress, done: Callable[[list[SocketAddress], int], None]) -> Callable[[], None]:
        known = self.table.get(name.host)
        if isinstance(known, int):
            done([], known)
        elif known is not None:
            done([SocketAddress(host, name.port) for host in known], 0)
        else:
            self.asked.append(done)
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1


class Peer:
    """The outside's end of a connection: a plain socket, driven together with the loop."""

    def __init__(self, rig: Rig, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._rig = rig
        self._sock = sock
        self.data = bytearray()
        self.ended = False
        self.error: int | None = None
        self.address = SocketAddress.from_sockaddr(sock.getsockname())
        rig.closing.append(self.close)

    def send(self, data: bytes) -> None:
        """Send all of *data*; the other side must read it in time."""
        view = memoryview(data)

        def all_sent() -> bool:
            nonlocal view
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                return False
            return not view

        self._rig.until(all_sent)

    def push(self, most: int = 64 << 20) -> int:
        """Send until nobody takes more, *most* bytes at most; return how many were taken."""
        block = bytes(64 << 10)
        total = idle = 0
        while idle < 10 and total < most:
            try:
                total += self._sock.send(block)
                idle = 0
            except BlockingIOError:
                idle += 1
            self._rig.turns(3)
        return total

    def take(self) -> None:
        """Read what is there."""
        while not self.ended and self.error is None:
            try:
                block = self._sock.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = error.errno
                return
            self.data += block
            self.ended = not block

    def expect(self, data: bytes) -> None:
        """Wait until exactly *data* has come since the last time."""

        def come() -> bool:
            self.take()
            return len(self.data) >= len(data) or self.ended or self.error is not None

        self._rig.until(come)
        assert bytes(self.data) == data
        self.data.clear()

    def expect_end(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (True, None)

    def expect_reset(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (False, 104), "ECONNRESET"

    def expect_nothing(self) -> None:
        self._rig.turns(20)
        self.take()
        assert (bytes(self.data), self.ended, self.error) == (b"", False, None)

    def shutdown(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()


class FarFilter:
    """The neighbouring filter, with the manners of :class:`Peer`."""

    def __init__(self, rig: Rig, sock: FWXSocket) -> None:
        self._rig = rig
        self._socket = sock
        self._recorder = Recorder(self._come)
        self._asking = False
        self.data = bytearray()
        self.ended = False
        self.error: int | None = None

    def send(self, data: bytes) -> None:
        self._socket.Send(FWXIOBuffer(data), None, 0)

    def take(self) -> None:
        if not (self._asking or self.ended or self.error is not None):
            self._asking = True
            self._socket.Recv(None, self._recorder, 0)

    def _come(self, done: Done) -> None:
        self._asking = False
        if not done.success:
            self.error = done.code
            return
        self.data += done.data
        self.ended = not done.data

    expect = Peer.expect
    expect_end = Peer.expect_end

    def expect_reset(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (False, 10054), "WSAECONNRESET"

    def shutdown(self) -> None:
        self._socket.Shutdown(False)

    def close(self) -> None:
        self._socket.Close(False)

    def reset(self) -> None:
        self._socket.Close(True)


@implementer(IFWXSessionFilter)
class ScriptedSessionFilter(Unknown):
    def __init__(self, script: ScriptedFilter, session: Any) -> None:
        self.script = script
        self.session = session

    def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
        self.script.journal.append((self.script.name, "event", pProxyEvent.EventType))
        return self.script.handle(pProxyEvent) if self.script.handle is not None else None

    def Detach(self) -> Any:
        self.script.journal.append((self.script.name, "session detached", None))
        return self.script.detach() if self.script.detach is not None else None


@implementer(IFWXFilter)
class ScriptedFilter(Unknown):
    """A filter whose methods do what the test says; every call is written into the journal."""

    def __init__(self, name: str, journal: list[Any], **script: Any) -> None:
        self.name = name
        self.journal = journal
        self.mask: int = script.pop("mask", fwx_Connect_Tcp | FWX_ALL_SOURCES)
        self.session_mask: int | None = script.pop("session_mask", None)
        self.handle: Any = script.pop("handle", None)
        self.detach: Any = script.pop("detach", None)
        self.init: Any = script.pop("init", None)
        self.attach: Any = script.pop("attach", None)
        self.shutdown: Any = script.pop("shutdown", None)
        assert not script, script

    def FilterInit(self, pIFWXFirewall: Any) -> Any:
        self.journal.append((self.name, "init", None))
        return FwxFilterHookEvents(self.mask) if self.init is None else self.init(pIFWXFirewall)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
        self.journal.append((self.name, "attach", pFilterHookEvents.dwGlobalEvents))
        if self.session_mask is not None:
            pFilterHookEvents.dwGlobalEvents = self.session_mask
        return ScriptedSessionFilter(self, piSession) if self.attach is None else self.attach(piSession)

    def FilterShutdown(self) -> Any:
        self.journal.append((self.name, "shutdown", None))
        return self.shutdown() if self.shutdown is not None else None


class Watcher(DataPump):
    """A data filter that passes everything on, waits for its Sends, and keeps what passed; *journal* gets its calls."""

    def __init__(self, name: str = "watcher", journal: list[Any] | None = None) -> None:
        super().__init__()
        self.name = name
        self.journal: list[Any] = [] if journal is None else journal
        self.passed: dict[bool, list[Any]] = {True: [], False: []}
        self.sockets: tuple[Any, Any] = (None, None)
        self.connection: Any = None
        self.detached = 0

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        self.passed[to_server].append(buffer)
        return buffer

    def SetSockets(self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any) -> Any:
        self.journal.append((self.name, "sockets", punkFilterContext))
        self.sockets = (piInternalSocket, pIExternalSocket)
        self.connection = piConnection
        return super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)

    def ended(self) -> None:
        self.detached += 1
        self.journal.append((self.name, "detach", None))


@implementer(IFWXDataFilter, IFWXIOCompletion)
class Heedless(Unknown):
    """A data filter that sends without a completion and asks for more at once: only the service can hold it back."""

    def __init__(self) -> None:
        self.sockets: tuple[Any, Any] = (None, None)
        self.detached = 0

    def SetSockets(self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any) -> None:
        self.sockets = (piInternalSocket, pIExternalSocket)
        piInternalSocket.Recv(None, self, 0)
        pIExternalSocket.Recv(None, self, 1)

    def Detach(self) -> None:
        self.detached += 1

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, Address, Length):  # type: ignore[no-untyped-def]
        source, sink = self.sockets if UserData == 0 else self.sockets[::-1]
        if not fSuccess:
            source.Close(True)
            sink.Close(True)
        elif pIOBuffer.GetBufferSizes()[1]:
            sink.Send(pIOBuffer, None, 0)
            source.Recv(None, self, UserData)
        else:
            sink.Shutdown(False)


class Opened(NamedTuple):
    """An established connection and both its ends."""

    connection: FWXConnection
    client: Peer
    server: Peer


class Rig:
    """One engine, and what a test does with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.clock = Clock()
        self.poller = Poller(loop)
        self.queue = self.poller.queue
        self.network = SocketNetwork(self.poller)
        self.names = Names()
        self.records: list[LogRecord] = []
        self.alerts: list[Alert] = []
        self.own_listeners: set[SocketAddress] = set()
        self.journal: list[Any] = []
        self.closing: list[Callable[[], None]] = []
        alerts = Alerts(self.clock, (self.alerts.append,))
        fault = alerts.define("Filter fault", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")
        self.faults = FaultReporter(fault)
        self.engine = Engine(
            server_name="rig",
            queue=self.queue,
            network=self.network,
            registry=None,
            policy=self.policy(_EVERYTHING),
            resolver=self.names,
            faults=self.faults,
            alerts=alerts,
            clock=self.clock,
            wall_clock=self.clock,
            connect_deadlines=DeadlineQueue(CONNECT_SECONDS, self.clock, self.clock.call_later),
            linger_deadlines=DeadlineQueue(LINGER_SECONDS, self.clock, self.clock.call_later),
            write_record=self.records.append,
            is_own_listener=self.own_listeners.__contains__,
        )
        self.registry = build_registry(self.engine, "rig", plugins=False)
        self.firewall: Any = self.registry.getUtility(IFWXFirewall2)
        self.sessions = Sessions(self.engine, DeadlineQueue(60.0, self.clock, self.clock.call_later))

    # Time and the loop.

    def turns(self, count: int) -> None:
        """Let the loop go round *count* times: long enough for what is ready to happen, so that nothing can hide."""

        async def turn() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def until(self, condition: Callable[[], object]) -> None:
        """Let the loop go round until *condition* holds, or fail."""

        async def wait() -> None:
            async with asyncio.timeout(_PATIENCE):
                while not condition():
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def settle(self) -> None:
        """Let happen what is ready to happen."""
        self.turns(20)

    # Parts.

    def policy(self, *rules: Rule) -> Policy:
        local = LocalAddresses(reader=lambda path: "", clock=self.clock)
        return Policy(Networks((Network("outside", ("203.0.113.0/24",)),), local), (), (), rules)

    def pair(self, *, small: bool = False) -> tuple[SocketTransport, Peer]:
        """Return a connected transport of the engine, and its peer; *small*: with little room in the kernel."""
        inside = socket.socket()
        with socket.socket() as listener:
            for sock in (listener, inside) if small else ():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            inside.connect(listener.getsockname())
            outside, _ = listener.accept()
        return SocketTransport(inside, self.poller), Peer(self, outside)

    def peer(self, sock: socket.socket) -> Peer:
        """Return *sock*, a plain socket of the outside, as a peer."""
        return Peer(self, sock)

    def session(self, host: str = "127.0.0.1", source: Any = fwxSourceWSP) -> Any:
        return self.sessions.of(SocketAddress(host, 0), source)

    def host(self, name: str = "filter", *, opens: bool = False, everywhere: bool = True, **script: Any) -> FilterHost:
        """Return a filter that has been initialised; *script* as for :class:`ScriptedFilter`."""
        scripted = ScriptedFilter(name, self.journal, **script)
        host = FilterHost(name, uuid4(), lambda: scripted, self.faults, everywhere=everywhere, opens_on_error=opens)
        host.start(self.firewall)
        self.engine.filters = (*self.engine.filters, host)
        return host

    def attaching(self, *data_filters: Any, name: str = "filter", **script: Any) -> FilterHost:
        """Return a filter that attaches *data_filters*, each alone or with its priority class, to every connection."""
        wanted = [each if isinstance(each, tuple) else (each, fwx_dfpc_Middle) for each in data_filters]

        def handle(event: Any) -> None:
            if event.EventType == fwx_Connect_Tcp:
                for data_filter, priority in wanted:
                    event.Parameters.Connect.piConnection.AttachDataFilter(data_filter, priority, None)

        return self.host(name, handle=handle, **script)

    def connection(self, session: Any = None, target: str = "127.0.0.1:80") -> FWXConnection:
        """Return a connection that has been judged, and no more."""
        session = session or self.session()
        address = SocketAddress.parse(target)
        client = session.address.with_port(40000)
        verdict = self.engine.policy.judge(client.host, client.port, address)
        return FWXConnection(session, client, address, verdict, interface="proxy", on_ended=self._connection_ended)

    def _connection_ended(self, connection: FWXConnection) -> None:
        self.journal.append(("rig", "ended", connection.id))

    def open(
        self, *data_filters: Any, hosts: tuple[FilterHost, ...] = (), prefix: bytes = b"", small: bool = False
    ) -> Opened:
        """Return an established connection with *data_filters* in its chain."""
        connection = self.connection()
        hosts = hosts or ((self.attaching(*data_filters),) if data_filters else ())
        assert connection.raise_connect_event(hosts), connection.result
        (inner, client), (outer, server) = self.pair(small=small), self.pair(small=small)
        connection.establish(inner, outer, prefix)
        return Opened(connection, client, server)

    def until_gone(self, connection: FWXConnection) -> None:
        """Wait until *connection* has been finished."""
        self.until(lambda: ("rig", "ended", connection.id) in self.journal)

    def finish(self) -> None:
        """End all there is; afterwards nothing of the engine may be left."""
        for connection in self.sessions.connections():
            connection.end()
        self.turns(3)
        self.sessions.close()
        self.firewall.close_sockets()
        self.turns(3)
        for close in self.closing:
            close()
        self.engine.connect_deadlines.close()
        self.engine.linger_deadlines.close()


class Side(NamedTuple):
    """A data filter's socket, whatever is behind it, and who is behind it."""

    socket: FWXSocket
    far: Any
    owner: Owner


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="session")
def _loops_warmed_up() -> None:
    """What the two loops open once per process is open before anybody counts."""
    for make in (asyncio.new_event_loop, uvloop.new_event_loop):
        make().close()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest, _loops_warmed_up: None) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop of either kind; every descriptor that the test opened must be closed when it ends."""
    before = _descriptors()
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    yield loop
    loop.close()
    assert _descriptors() == before, "the test leaves descriptors open"


@pytest.fixture
def rig(loop: asyncio.AbstractEventLoop) -> Iterator[Rig]:
    """An engine; when the test is over nothing may be watched any more."""
    rig = Rig(loop)
    yield rig
    rig.finish()
    watched = len(rig.poller)
    rig.poller.close()
    assert not watched, f"{watched} descriptors are still watched"
    assert not len(rig.queue)


@pytest.fixture(params=["network", "filter"])
def side(request: pytest.FixtureRequest, rig: Rig) -> Side:
    """A socket whose neighbour is the network, and one whose neighbour is a filter: every test sees both (B3.4)."""
    owner = Owner()
    if request.param == "network":
        transport, peer = rig.pair()
        rig.closing.append(lambda: transport.close(False))
        return Side(FWXSocket(rig.queue, owner, Endpoint(transport, rig.queue, owner)), peer, owner)
    near, far = junction(rig.queue)
    return Side(FWXSocket(rig.queue, owner, near), FarFilter(rig, FWXSocket(rig.queue, Owner(), far)), owner)


@pytest.fixture
def recorder() -> Callable[..., Recorder]:
    return Recorder


@pytest.fixture
def accept_recorder() -> Callable[..., AcceptRecorder]:
    return AcceptRecorder


@pytest.fixture
def foreign_buffer() -> Callable[..., ForeignBuffer]:
    return ForeignBuffer


@pytest.fixture
def watcher() -> Callable[..., Watcher]:
    return Watcher


@pytest.fixture
def heedless() -> Callable[..., Heedless]:
    return Heedless


@pytest.fixture
def clock() -> Clock:
    return Clock()
