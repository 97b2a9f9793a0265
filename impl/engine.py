"""What the objects of one service share; built by the host, handed to each of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from fwx.impl.blocking import BlockingOperations
from fwx.impl.datafilterfactory import DataFilterFactories
from fwx.impl.lookups import LookUps
from fwx.impl.lowresource import FWXLowResourceRecoverer
from fwx.impl.permissions import Permissions
from fwx.impl.rulequotas import RuleQuotas
from fwx.impl.strand import Strands

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from fwx.impl.alert import Alerts
    from fwx.impl.deadline import DeadlineQueue, Timer
    from fwx.impl.fault import FaultReporter
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.gateway import Gateway
    from fwx.impl.handles import Handles
    from fwx.impl.logrecord import LogRecord
    from fwx.impl.packetfilter import PacketFilter
    from fwx.impl.policy import Policy
    from fwx.impl.route import Route
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.sessions import Sessions
    from fwx.impl.tracing import Tracer
    from fwx.impl.transport import Network
    from fwx.impl.user import SessionUser, Who
    from fwx.impl.workers import Workers
    from fwx.interfaces import Hostent, SocketAddress

Resolved = Callable[["list[SocketAddress]", int], None]

Question: TypeAlias = str | IPv4Address | IPv6Address
"""What is looked up: the addresses of a name, or the name of an address."""


class Answer(NamedTuple):
    """What there is to say to a :data:`Question`: the host, or none and the Windows error."""

    host: Hostent | None
    code: int = 0


class Resolver(Protocol):
    """Names to addresses and addresses to names; to be asked on the loop thread, where it answers."""

    def resolve(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up; *done* gets literal addresses, or none and the Windows error. Returns what cancels it."""

    def known(self, question: Question) -> Answer | None:
        """Return what can be said at once; ``None`` where it has to be looked up."""

    def look_up(self, question: Question, done: Callable[[Answer], None]) -> Callable[[], None]:
        """Look *question* up; *done* is called once, never inside this call. Returns what cancels it."""


class SocketKeeper(Protocol):
    """Keeps the network sockets that filters made, so that none outlives its owner."""

    def keep(self, socket: Any) -> None: ...

    def forget(self, socket: Any) -> None: ...


class TaskStarter(Protocol):
    """Runs the coroutines of filters (:class:`fwx.impl.tasking.ITasks`)."""

    def start(
        self, coroutine: Coroutine[Any, Any, object], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> Any: ...


@dataclass(slots=True)
class Engine:
    """The parts of one service.

    :ivar clock: seconds that only grow; :attr:`wall_clock`, seconds since the epoch.
    :ivar call_later: calls back after so many seconds, on the loop thread; for times that one socket alone has.
    :ivar connect_deadlines: for attempts to connect; :attr:`linger_deadlines`, for connections that one side has left;
        :attr:`datagram_deadlines`, for peers over UDP that are quiet.
    :ivar write_record: takes a record for the firewall log.
    :ivar packet_filter: where sockets open the ports that they need (B4.21).
    :ivar routes: the ways out by name; that of the empty name is straight.
    :ivar is_own_listener: tells whether this service listens on an address, for ``TCP`` or ``UDP``; never a target.
    :ivar keeps_client_addresses: servers see the address of the client, whichever way it has come in.
    :ivar accepting: tells whether a client may begin something new; it may not while the log fails (B9.18).
    :ivar logs_establishing: a record is written when a connection is established, not at its end alone (B9.11).
    :ivar stopping: the service takes no more clients, and filters begin nothing for them.
    :ivar look_ups: the names that are being looked up for connections.
    :ivar factories: the data filters that the service makes itself.
    :ivar known_as: by which names the rules know a user now, who may have changed since it authenticated.
    :ivar sessions: every session, set by what keeps them; :attr:`gateway`, what opens connections, likewise.
    :ivar recoverer: what filters want to try again after a lack of resources; whoever meets a lack tells it (B11.11).
    :ivar more_time: asks who started the service for so many more milliseconds, while it stops (B1.13).
    :ivar permissions: what clients may do that no rule allows, because a filter has announced it.
    :ivar quotas: what rules let through, of each user and address, and in a second.
    :ivar filters: those that new connections get; :attr:`retired`, those whose place another has taken, and which go on
        for the connections that they have.
    :ivar tracer: who records connections, while somebody does.
    :ivar handles: the descriptors that filters have hooked; :attr:`workers`, the threads for what may block;
        :attr:`strands`, the calls of blocking filters there; :attr:`blocking`, which threads block for long.
    """

    server_name: str
    queue: RunQueue
    network: Network
    registry: Any
    policy: Policy
    resolver: Resolver
    faults: FaultReporter
    alerts: Alerts
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    call_later: Callable[[float, Callable[[], None]], Timer]
    connect_deadlines: DeadlineQueue
    linger_deadlines: DeadlineQueue
    datagram_deadlines: DeadlineQueue
    write_record: Callable[[LogRecord], None]
    packet_filter: PacketFilter
    is_own_listener: Callable[[SocketAddress, str], bool]
    routes: Mapping[str, Route]
    handles: Handles
    workers: Workers
    tasks: TaskStarter
    filters: tuple[FilterHost, ...] = ()
    retired: tuple[FilterHost, ...] = ()
    keeps_client_addresses: bool = False
    accepting: Callable[[], bool] = lambda: True
    logs_establishing: bool = False
    stopping: bool = False
    known_as: Callable[[SessionUser], Who] = lambda user: user.who
    look_ups: LookUps = field(default_factory=LookUps)
    factories: DataFilterFactories = field(default_factory=DataFilterFactories)
    sessions: Sessions = field(init=False)
    gateway: Gateway = field(init=False)
    permissions: Permissions = field(init=False)
    quotas: RuleQuotas = field(init=False)
    recoverer: FWXLowResourceRecoverer = field(init=False)
    strands: Strands = field(init=False)
    blocking: BlockingOperations = field(init=False)
    more_time: Callable[[int], None] = lambda _milliseconds: None
    tracer: Tracer | None = None
    session_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    connection_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.permissions = Permissions(self)
        self.quotas = RuleQuotas(self.clock)
        self.recoverer = FWXLowResourceRecoverer(self)
        self.strands = Strands(self)
        self.blocking = BlockingOperations(self)
