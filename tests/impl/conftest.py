"""The engine on a real loop and real sockets, with a clock that only the test moves and an outside world to talk to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import pytest
import uvloop
from zope.interface import alsoProvides

from fwx.aio.tasks import Tasks
from fwx.handles import DescriptorHandles
from fwx.impl.alert import Alert, Alerts, Category, Severity
from fwx.impl.blocking import IBlocking
from fwx.impl.connection import FWXConnection
from fwx.impl.course import proceed
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.endpoint import Endpoint
from fwx.impl.engine import Answer, Engine, Question
from fwx.impl.fault import FaultReporter
from fwx.impl.filterhost import FilterHost
from fwx.impl.junction import junction
from fwx.impl.logrecord import LogRecord
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.packetfilter import MemoryPacketFilter
from fwx.impl.policy import Policy, Rule
from fwx.impl.route import routes
from fwx.impl.sessions import Sessions
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import (
    IFWXFirewall2,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwxSourceWSP,
)
from fwx.network import Poller, SocketNetwork, SocketTransport
from fwx.registry import build_registry
from fwx.workers import WorkerPool
from tests.impl.parts import AcceptRecorder, ForeignBuffer, Heedless, Recorder, ScriptedFilter, Watcher
from tests.impl.peers import FarFilter, Owner, Peer, Side
from tests.impl.way import Way

T = TypeVar("T")

CONNECT_SECONDS = 20.0
LINGER_SECONDS = 30.0
UDP_IDLE_SECONDS = 60.0
# What "bounded" means for the kernel's buffers in the tests where a reader stops.
SMALL = 32 << 10
_PATIENCE = 5.0
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


class Names:
    """The resolver: answers from tables, or holds the question until the test answers it."""

    def __init__(self) -> None:
        self.table: dict[str, list[str] | int] = {}
        self.asked: list[Callable[[list[SocketAddress], int], None]] = []
        self.cancelled = 0
        # What is known at once, and what is being looked up.
        self.answers: dict[Question, Answer] = {}
        self.looking_up: list[tuple[Question, Callable[[Answer], None]]] = []

    def resolve(self, name: SocketAddress, done: Callable[[list[SocketAddress], int], None]) -> Callable[[], None]:
        known = self.table.get(name.host)
        if isinstance(known, int):
            done([], known)
        elif known is not None:
            done([SocketAddress(host, name.port) for host in known], 0)
        else:
            self.asked.append(done)
        return self._cancel

    def known(self, question: Question) -> Answer | None:
        return self.answers.get(question)

    def look_up(self, question: Question, done: Callable[[Answer], None]) -> Callable[[], None]:
        self.looking_up.append((question, done))
        return self._cancel

    def answer(self, answer: Answer, *, remember: bool = True) -> None:
        """End the first look-up there is."""
        question, done = self.looking_up.pop(0)
        if remember:
            self.answers[question] = answer
        done(answer)

    def _cancel(self) -> None:
        self.cancelled += 1


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
        self.packet_filter = MemoryPacketFilter()
        self.records: list[LogRecord] = []
        self.alerts: list[Alert] = []
        self.own_listeners: set[SocketAddress] = set()
        self.journal: list[Any] = []
        self.closing: list[Callable[[], None]] = []
        alerts = Alerts(self.clock, (self.alerts.append,))
        fault = alerts.define("Filter fault", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")
        self.faults = FaultReporter(fault)
        self.workers = WorkerPool()
        self.handles = DescriptorHandles(self.queue, self.poller, self.workers.submit)
        self.tasks = Tasks(loop, self.faults)
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
            call_later=self.clock.call_later,
            connect_deadlines=DeadlineQueue(CONNECT_SECONDS, self.clock, self.clock.call_later),
            linger_deadlines=DeadlineQueue(LINGER_SECONDS, self.clock, self.clock.call_later),
            datagram_deadlines=DeadlineQueue(UDP_IDLE_SECONDS, self.clock, self.clock.call_later),
            write_record=self.records.append,
            packet_filter=self.packet_filter,
            is_own_listener=lambda address, _: address in self.own_listeners,
            routes=routes(),
            handles=self.handles,
            workers=self.workers,
            tasks=self.tasks,
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
                while not condition():  # noqa: ASYNC110  nothing tells of every condition
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def through(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a course of the engine to its end, on a loop that goes on, and return what it returns."""
        course = proceed(coroutine)
        if not course.has_ended:
            self.until(lambda: course.has_ended)
        return course.result()

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

    def host(
        self,
        name: str = "filter",
        *,
        opens: bool = False,
        everywhere: bool = True,
        blocking: bool = False,
        **script: Any,
    ) -> FilterHost:
        """Return a filter that has been initialised; *script* as for :class:`ScriptedFilter`.

        A *blocking* one is called on threads of the pool.
        """
        scripted = ScriptedFilter(name, self.journal, **script)
        if blocking:
            alsoProvides(scripted, IBlocking)
        host = FilterHost(name, uuid4(), lambda: scripted, self.faults, everywhere=everywhere, opens_on_error=opens)
        initialised = host.start(self.firewall)
        self.until(lambda: initialised.has_ended)
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
        assert self.through(connection.raise_connect_event(hosts)), connection.result
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
        self.loop.run_until_complete(self.tasks.close(_PATIENCE))
        for close in self.closing:
            close()
        self.workers.close()
        left = self.workers.join(_PATIENCE)
        self.turns(3)
        assert not left, f"{left} threads of the pool have not ended"
        self.engine.strands.close()
        self.engine.connect_deadlines.close()
        self.engine.linger_deadlines.close()
        self.engine.datagram_deadlines.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop of either kind."""
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    yield loop
    loop.close()


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
def deaf() -> Iterator[SocketAddress]:
    """An address that answers nothing: the backlog of its listener is full."""
    with ExitStack() as open_sockets:
        server = open_sockets.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            crowd = open_sockets.enter_context(socket.socket())
            crowd.setblocking(False)
            crowd.connect_ex(server.getsockname())
        yield SocketAddress.from_sockaddr(server.getsockname())


@pytest.fixture
def closed() -> SocketAddress:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return SocketAddress.from_sockaddr(sock.getsockname())


@pytest.fixture
def way(rig: Rig) -> Way:
    return Way(rig)


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
