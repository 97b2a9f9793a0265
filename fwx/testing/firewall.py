"""A whole firewall in memory: the real engine, sessions, policy and chain over a memory network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeVar
from uuid import UUID, uuid5

from fwx.aio.tasks import Tasks
from fwx.config_source import Source
from fwx.filter_loader import FilterOptionsError, filter_clsid, load_filter_class, make_filter, option_problems
from fwx.handles import DescriptorHandles
from fwx.impl.alert import Alert, Alerts, Category, Severity
from fwx.impl.course import Course, proceed
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.engine import Answer, Engine, Question, Resolved
from fwx.impl.fault import FaultReporter
from fwx.impl.filterhost import FilterHost
from fwx.impl.gateway import Gateway
from fwx.impl.logrecord import LogRecord
from fwx.impl.networks import ANY, LOCALHOST, LocalAddresses, Networks
from fwx.impl.packetfilter import MemoryPacketFilter
from fwx.impl.policy import Policy, Rule
from fwx.impl.request import Request
from fwx.impl.route import routes
from fwx.impl.ruledata import RuleData
from fwx.impl.runqueue import RunQueue
from fwx.impl.sessions import Sessions
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    GUID_NULL,
    HRESULT,
    S_OK,
    WSAHOST_NOT_FOUND,
    WSANO_DATA,
    FwxFirewallEventSource,
    Hostent,
    IFWXFirewall2,
    SocketAddress,
    fwxSourceWSP,
)
from fwx.registry import build_registry
from fwx.testing.handles import PATIENCE_SECONDS, MemoryWatcher, settle
from fwx.testing.memory import CAPACITY, MemoryNetwork, MemoryPeer, MemoryTransport
from fwx.testing.memoryloop import MemoryLoop
from fwx.testing.memoryudp import DatagramClient, DatagramServer, MemoryDatagramConnection, MemoryRelay
from fwx.testing.observation import Observer
from fwx.testing.sockets import CLIENT, SERVER
from fwx.workers import WorkerPool

T = TypeVar("T")

CONNECT_SECONDS = 20.0
LINGER_SECONDS = 30.0
UDP_IDLE_SECONDS = 60.0
SESSION_SECONDS = 60.0
_EVERYTHING = Rule("everything", "allow", ("any",), (ANY, LOCALHOST), (ANY, LOCALHOST))


class CollectedFaults(FaultReporter):
    """Keeps the faults of filters instead of logging them."""

    def __init__(self) -> None:
        self.words: deque[str] = deque()

    def report(self, filter_name: str, method: str, error: BaseException) -> str:
        words = f"{method}: {type(error).__name__}: {error}"
        self.words.append(words)
        return f"filter {filter_name!r} failed in {words}"


class Names:
    """A resolver that answers from tables, at once.

    :ivar table: a name to its literal addresses; a name with none of them exists without data (``WSANO_DATA``).
    :ivar reverse: a literal address to its name.
    :ivar slow: names and literal addresses that are not known until a turn of the loop has passed after they were
        asked for: ``GetHostByName`` raises ``WSATRY_AGAIN``, and answers after :meth:`MemoryLoop.run`.
    """

    def __init__(self, queue: RunQueue) -> None:
        """*queue* is the loop's, where look-ups end."""
        self.table: dict[str, list[str]] = {}
        self.reverse: dict[str, str] = {}
        self.slow: set[str] = set()
        self._queue = queue
        self._looked_up: set[str] = set()

    def resolve(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        answer = self._answer(name.host)
        addresses = () if answer.host is None else answer.host.addresses
        done([SocketAddress(address, name.port) for address in addresses], answer.code)
        return lambda: None

    def known(self, question: Question) -> Answer | None:
        text = str(question)
        return None if text in self.slow and text not in self._looked_up else self._answer(question)

    def look_up(self, question: Question, done: Callable[[Answer], None]) -> Callable[[], None]:
        waiting = [done]
        self._queue.post(self._finish, question, waiting)
        return waiting.clear

    def _finish(self, question: Question, waiting: list[Callable[[Answer], None]]) -> None:
        self._looked_up.add(str(question))
        for done in waiting:
            done(self._answer(question))

    def _answer(self, question: Question) -> Answer:
        if not isinstance(question, str):
            name = self.reverse.get(str(question))
            return Answer(None, WSAHOST_NOT_FOUND) if name is None else Answer(Hostent(name, (), (question,)))
        found = self.table.get(question)
        if not found:
            return Answer(None, WSAHOST_NOT_FOUND if found is None else WSANO_DATA)
        return Answer(Hostent(question, (), tuple(ip_address(text) for text in found)))


class _MemoryEntry:
    """The way in of a client in memory (:class:`fwx.impl.gateway.Entry`): notes what became of the request."""

    def __init__(self, client: MemoryTransport) -> None:
        self._client = client
        self.outcome: HRESULT | None = None

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  the entry's signature
        self.outcome = HRESULT(0)
        return True

    def refused(self, result: int) -> None:
        self.outcome = HRESULT(result)
        self._client.close(False)


@dataclass(slots=True)
class MemoryConnection:
    """One request of a client, and what became of it.

    :ivar connection: the service's ``IFWXConnection``.
    :ivar client: the client's end.
    :ivar server: the server's end; ``None`` where the request was refused.
    :ivar refused: why it was refused, ``None`` where it was not.
    """

    connection: Any
    client: MemoryPeer
    server: MemoryPeer | None
    refused: HRESULT | None

    def established(self) -> tuple[MemoryPeer, MemoryPeer]:
        """Return both ends. :raises AssertionError: the request was refused."""
        if self.server is None:
            raise AssertionError(f"the request was refused: {self.refused}")
        return self.client, self.server


class MemoryFirewall:
    """The parts of one service, without a configuration, without a kernel, with everything allowed.

    :ivar firewall: what ``FilterInit`` gets.
    :ivar faults: what filters did wrong, in words, in order.
    :ivar alerts: the alerts that were raised; :attr:`records`, the records of the firewall log.
    :ivar observer: what data filters do with their sockets.
    :ivar packet_filter: the ports that sockets have open.
    :ivar leaves_blocked: whether a run of the loop leaves tasks alone that are inside a heavy blocking operation.

    Operations on the descriptors of filters are real: files are accessed by the loop's run itself, pipes and the like
    are tried whenever it has nothing else to do. A task that blocks has a real thread, and so have the
    calls of a blocking filter; the run waits for them.
    """

    def __init__(self, capacity: int = CAPACITY, *, plugins: bool = False) -> None:
        """*capacity* is the room of one direction of a connection in bytes; *plugins* loads those of the registry."""
        self.loop = MemoryLoop()
        self.network = MemoryNetwork(self.loop, capacity)
        self.names = Names(self.loop.queue)
        self.packet_filter = MemoryPacketFilter()
        self.records: list[LogRecord] = []
        self.alerts: list[Alert] = []
        self.hosts: list[FilterHost] = []
        self._faults = CollectedFaults()
        self._tasks = Tasks(self.loop.asyncio, self._faults)
        self._ports = CLIENT.port
        self._datagram_servers: list[DatagramServer] = []
        self.workers = WorkerPool()
        self.leaves_blocked = False
        watcher = MemoryWatcher(self.loop)
        self.loop.ask(lambda: settle(self.workers, self.loop, self.leaves_blocked), self.workers.wake)
        loop, alerts = self.loop, Alerts(self.loop.time, (self.alerts.append,))
        alerts.define("Filter fault", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")
        self._local = LocalAddresses(reader=lambda _: "", clock=loop.time)
        self.engine = Engine(
            server_name="memory",
            queue=loop.queue,
            network=self.network,
            registry=None,
            policy=Policy(Networks((), self._local), (), (), (_EVERYTHING,)),
            resolver=self.names,
            faults=self._faults,
            alerts=alerts,
            clock=loop.time,
            wall_clock=loop.time,
            call_later=loop.call_later,
            connect_deadlines=DeadlineQueue(CONNECT_SECONDS, loop.time, loop.call_later),
            linger_deadlines=DeadlineQueue(LINGER_SECONDS, loop.time, loop.call_later),
            datagram_deadlines=DeadlineQueue(UDP_IDLE_SECONDS, loop.time, loop.call_later),
            write_record=self.records.append,
            packet_filter=self.packet_filter,
            is_own_listener=lambda *_: False,
            routes=routes(),
            handles=DescriptorHandles(loop.queue, watcher, loop.queue.post),
            workers=self.workers,
            tasks=self._tasks,
        )
        self._idle = DeadlineQueue(SESSION_SECONDS, loop.time, loop.call_later)
        self.sessions = Sessions(self.engine, self._idle)
        self.gateway = Gateway(self.engine, self.sessions, lambda _: None)
        self.registry = build_registry(self.engine, "memory", plugins=plugins)
        self.firewall: Any = self.registry.getUtility(IFWXFirewall2)
        self.observer = Observer()
        self.observer.watch(self.registry)
        self.registry.freeze()

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(self._faults.words)

    def load(
        self, use: str, options: Mapping[str, Any], name: str = "filter", *, opens_on_error: bool = False
    ) -> FilterHost:
        """Start the filter *use*, an entry point or ``module:Class``, as a ``[[filter]]`` table called *name* has it.

        :raises ~fwx.filter_loader.FilterLoadError: it cannot be loaded.
        :raises ~fwx.filter_loader.FilterOptionsError: *options* do not fit.
        :raises AssertionError: it is not ready after ``FilterInit``.
        """
        filter_class = load_filter_class(use)
        problems = option_problems(filter_class, options, Source(data=options))
        if problems:
            raise FilterOptionsError(problems)
        host = self._start(
            lambda: make_filter(filter_class, options), name, filter_clsid(name), opens_on_error=opens_on_error
        )
        if host.state != "ready":
            raise AssertionError(host.complaint)
        return host

    def start(self, factory: Callable[[], Any], name: str = "filter", *, opens_on_error: bool = False) -> FilterHost:
        """Make a filter and initialise it (B1.3, B1.6); it sees every connection that is opened from now on.

        A fault is in :attr:`faults`, and in the ``state`` of the host that is returned.
        """
        return self._start(factory, name, uuid5(GUID_NULL, name), opens_on_error=opens_on_error)

    def _start(self, factory: Callable[[], Any], name: str, clsid: UUID, *, opens_on_error: bool) -> FilterHost:
        host = FilterHost(name, clsid, factory, self._faults, everywhere=True, opens_on_error=opens_on_error)
        self._through(lambda: host.start(self.firewall))
        self._through(lambda: RuleData(self.engine).begin(host))
        self.hosts.append(host)
        self.engine.filters = (*self.engine.filters, host)
        return host

    def apply_rules(self, *rules: Rule) -> list[str]:
        """Judge by *rules* from now on, as a change does that is applied: filters that have data of rules make it anew
        (B7.12, B7.14), and those that want to know are told (B7.15). Until then one rule allows everything.

        Connections that there are go on, whatever the rules say to them.

        :returns: what filters failed in when they were told.
        :raises ~fwx.impl.ruledata.RuleDataError: a filter could not make its data; the rules are those from before.
        :raises ValueError: a rule is wrong.
        """
        policy, data = Policy(Networks((), self._local), (), (), rules), RuleData(self.engine)
        prepared = self._through(lambda: data.prepare(policy, self.engine.filters))
        self.engine.policy = policy
        prepared.enforce()
        return self._through(data.notify)

    def _through(self, start: Callable[[], Course[T]]) -> T:
        """Start a course, let it end, and return what it returns."""
        with self.loop.asyncio.running():
            course = start()
        if not course.has_ended:
            self.loop.run()
        return course.result()

    def session(
        self,
        client: str = CLIENT.host,
        source: FwxFirewallEventSource = fwxSourceWSP,
        *,
        user: str = "",
        groups: tuple[str, ...] = (),
    ) -> Any:
        """Return the session of the client at the address *client*, authenticated as *user* if there is a name."""
        return self.sessions.of(SocketAddress(client), source, _user(user, groups))

    def open(
        self,
        target: SocketAddress = SERVER,
        client: str = CLIENT.host,
        *,
        source: FwxFirewallEventSource = fwxSourceWSP,
        answers: bool = True,
        user: str = "",
        groups: tuple[str, ...] = (),
    ) -> MemoryConnection:
        """Have the client at the address *client* ask for *target*, where a server listens unless it *answers* not.

        *user* is whom the client has authenticated itself as, with *groups*; nobody if it is empty.
        """
        listener = self.network.listen(self._address_of(target)) if answers else None
        self._ports += 1
        address = SocketAddress(client, self._ports)
        inner, outer = self.network.pair(target, address)
        entry = _MemoryEntry(inner)
        before = set(self.sessions.connections())
        with self.loop.asyncio.running():
            self.gateway.open(
                Request(entry, inner, address, target, source=source, interface="memory", user=_user(user, groups))
            )
        made = [connection for connection in self.sessions.connections() if connection not in before]
        self.loop.run()
        server = None
        if listener is not None:
            server = MemoryPeer(listener.accept()[0]) if listener.backlog else None
            listener.close(False)
        refused = None if server is not None or entry.outcome == S_OK else entry.outcome
        return MemoryConnection(made[0] if made else None, MemoryPeer(outer), server, refused)

    def open_datagrams(
        self,
        target: SocketAddress = SERVER,
        client: str = CLIENT.host,
        *,
        source: FwxFirewallEventSource = fwxSourceWSP,
        user: str = "",
        groups: tuple[str, ...] = (),
    ) -> MemoryDatagramConnection:
        """Give the client at the address *client* a UDP connection, and have a server at *target*.

        *user* is as for :meth:`open`. Whether filters let it talk to *target* shows when it sends the first datagram.
        """
        server = DatagramServer(self.network, self._address_of(target))
        self._datagram_servers.append(server)
        self._ports += 1
        address, relay = SocketAddress(client, self._ports), MemoryRelay(self.network)
        with self.loop.asyncio.running():
            connection = FWXDatagramConnection(
                self.sessions.of(address, source, _user(user, groups)),
                address,
                relay,  # type: ignore[arg-type]  # it never binds or connects
                self.gateway.hosts_of,
                interface="memory",
                on_ended=self.gateway.connection_ended,
            )
            proceed(connection.open(address, self.gateway.hosts_everywhere))
        self.loop.run()
        return MemoryDatagramConnection(connection, DatagramClient(relay, target), server, target)

    def _address_of(self, target: SocketAddress) -> SocketAddress:
        """Return where a server for *target* listens: at the first address in ``names`` where it is a name."""
        found = () if target.address is not None else self.names.table.get(target.host, ())
        return next((SocketAddress(literal, target.port) for literal in found), target)

    def end_connections(self) -> None:
        """End every connection there is, as a stopping service does."""
        with self.loop.asyncio.running():
            for connection in self.sessions.connections():
                connection.end()
        self.loop.run()

    def stop(self, *, filters_first: bool = True) -> None:
        """Stop as a service does: end the connections, then the filters and the sessions, in either order (B1.41)."""
        self.gateway.close()
        self.end_connections()
        with self.loop.asyncio.running():
            self.firewall.end_notices()
        hosts, self.hosts = self.hosts, []
        steps: list[Callable[[], None]] = [partial(_stop_filters, hosts), self.sessions.close]
        with self.loop.asyncio.running():
            for step in steps if filters_first else reversed(steps):
                step()
                self.loop.run()
        for host in hosts:
            host.release()
        self.loop.run()

    def close(self) -> None:
        """Stop, and give back what filters have left open; stopping twice does nothing."""
        self.stop()
        self.firewall.close_sockets()
        for server in self._datagram_servers:
            server.close()
        self._tasks.cancel()
        self.loop.run()
        self._end_workers()
        self.engine.strands.close()
        self.loop.run()
        engine = self.engine
        for deadlines in (
            engine.connect_deadlines,
            engine.linger_deadlines,
            engine.datagram_deadlines,
            self._idle,
        ):
            deadlines.close()

    def _end_workers(self) -> None:
        """End the threads of the pool. :raises RuntimeError: one still blocks: it would live on."""
        self.workers.close()
        left = self.workers.join(PATIENCE_SECONDS)
        self.loop.run()
        if left:
            raise RuntimeError(f"{left} threads of tasks that block have not ended")


def _stop_filters(hosts: list[FilterHost]) -> None:
    for host in hosts:
        host.stop()


def _user(name: str, groups: tuple[str, ...]) -> FWXAuthenticatedUser | None:
    return FWXAuthenticatedUser(name, groups) if name else None
