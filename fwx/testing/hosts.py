"""A firewall with clients and servers around it: what the batteries for a host's objects drive."""

# ruff: noqa: N802, N803  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface
from typing import Any, Protocol

from zope.interface import implementer

from fwx.impl.machine import AddressState, MachineState, RouteState
from fwx.impl.networks import ANY, LOCALHOST, AddressRange, LocalAddresses, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.request import Request
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    HRESULT,
    S_OK,
    COMError,
    FwxFilterHookEvents,
    FwxFirewallEventType,
    IFWXDataFilter,
    IFWXFilter,
    IFWXSessionFilter,
    SocketAddress,
    fwx_Connect_Tcp,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceWSP,
)
from fwx.testing.battery import BreachError
from fwx.testing.firewall import MemoryConnection, MemoryFirewall
from fwx.testing.memory import MemoryPeer, MemoryTransport
from fwx.testing.memoryudp import MemoryDatagramConnection
from fwx.testing.sockets import CLIENT, SERVER

EVERYTHING = sum(FwxFirewallEventType) | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
"""A mask that shows all events of all connections."""

FIREWALL = SocketAddress("127.0.0.1", 0)
"""An address of the firewall itself, with any port."""

_FAMILIES = (2, 10)


class Peer(Protocol):
    """The far end of a connection; :class:`fwx.testing.MemoryPeer` is one.

    :ivar ended: the other side sends no more, as the last :meth:`receive` found. :ivar was_reset: likewise.
    """

    ended: bool
    was_reset: bool

    def send(self, data: bytes) -> None:
        """Send all of *data*."""

    def receive(self) -> bytes:
        """Return everything that has come since the last time."""

    def shutdown(self) -> None:
        """Send the end, and go on receiving."""

    def close(self) -> None:
        """Leave."""

    def reset(self) -> None:
        """Leave by a reset."""


class Asked(Protocol):
    """What came of a client's request; :class:`fwx.testing.MemoryConnection` is one."""

    @property
    def connection(self) -> Any:
        """The service's ``IFWXConnection``."""

    @property
    def client(self) -> Peer:
        """The client's end."""

    @property
    def server(self) -> Peer | None:
        """The server's end; ``None`` where no server was reached."""

    @property
    def refused(self) -> HRESULT | None:
        """Where no server was reached, what the client was told: ``S_OK`` when it is connected all the same."""


class Waiting(Protocol):
    """A client that has bound, by SOCKS for one."""

    @property
    def bound(self) -> SocketAddress | None:
        """Where others may connect, as the client has been told; ``None`` until then."""

    @property
    def peer_address(self) -> SocketAddress | None:
        """Who has come, as the client has been told; ``None`` until then."""

    @property
    def failure(self) -> HRESULT | None:
        """Why it may not bind; ``None`` where it may."""

    @property
    def client(self) -> Peer:
        """The client's own end."""


class DatagramPeer(Protocol):
    """The far end of a UDP connection."""

    def send(self, data: bytes) -> None:
        """Send one datagram: a client to its target, a server to who has sent to it."""

    def receive(self) -> list[bytes]:
        """Return the datagrams that have come since the last time."""


class AskedDatagrams(Protocol):
    """The UDP connection of a client; :class:`fwx.testing.MemoryDatagramConnection` is one."""

    @property
    def connection(self) -> Any:
        """The service's ``IFWXConnection``."""

    @property
    def client(self) -> DatagramPeer:
        """The client's end."""

    @property
    def server(self) -> DatagramPeer:
        """The end of who is at the target."""

    @property
    def refused(self) -> HRESULT | None:
        """Why the client's bind was refused; ``None`` where it was not."""


class FirewallHost(Protocol):
    """What a battery for the objects of a firewall needs of a host; :class:`MemoryHost` is fwx's own.

    Everything is allowed at first. The client is at 192.0.2.1 and a *Firewall client* (``fwxSourceWSP``).

    :ivar firewall: an ``IFWXFirewall3``.
    """

    firewall: Any

    def start(self, filter_object: Any) -> None:
        """Call FilterInit; the filter sees every connection of which its mask speaks."""

    def faults(self) -> tuple[str, ...]:
        """What filters did wrong, in words."""

    def ask(self, target: SocketAddress, *, answers: bool = True) -> Asked:
        """Have the client ask for *target*, where a server listens for that moment if it *answers*."""

    def ask_datagrams(self, target: SocketAddress) -> AskedDatagrams:
        """Give the client a UDP connection, and have a server at *target*."""

    def wait(self, target: SocketAddress) -> Waiting:
        """Have the client bind, and wait for a connection from *target*."""

    def listen(self, address: SocketAddress) -> Callable[[], Peer | None]:
        """Have somebody listen at *address*, up to :meth:`close`; return what takes the next connection there."""

    def connect(self, address: SocketAddress, source: SocketAddress) -> Peer | None:
        """Have somebody at *source* connect to *address*; ``None`` where nobody listens."""

    def name(self, name: str, address: str) -> None:
        """Let the host's resolver find *address* for *name*."""

    def addresses(self, *addresses: str) -> None:
        """From now on the machine has these addresses, such as 10.1.0.1/16, each on an adapter of its own."""

    def allow(self, *protocols: str) -> None:
        """From now on the rules allow everybody the protocol definitions of these names, ``"any"`` for all, and nothing
        else."""

    def bytes_sent(self) -> int:
        """What the log says that the client of the last connection that has ended has sent to its server."""

    def run(self) -> None:
        """Let happen what is ready to happen."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""

    def close(self) -> None:
        """Give everything back; called once, at the end."""


def allow(memory: MemoryFirewall, *protocols: str) -> None:
    """Have the rules of *memory* allow these protocols, to and from everywhere, and nothing else."""
    everywhere = (ANY, LOCALHOST)
    rules = (Rule("allowed", "allow", protocols, everywhere, everywhere),) if protocols else ()
    local = LocalAddresses(reader=lambda _: "", clock=memory.loop.time)
    memory.engine.policy = Policy(Networks((), local), (), (), rules)


def connect(memory: MemoryFirewall, address: SocketAddress, source: SocketAddress) -> MemoryPeer | None:
    """Have somebody at *source* connect to *address*; ``None`` where nobody listens."""
    memory.loop.run()
    transport = memory.network.stream(address.family)
    transport.bind(source.sockaddr)
    transport.start_connect(address.sockaddr)
    if transport.peer is None:
        transport.close(True)
        return None
    memory.loop.run()
    return MemoryPeer(transport)


class MemoryHost:
    """The firewall in memory as a :class:`FirewallHost`."""

    def __init__(self) -> None:
        self.memory = MemoryFirewall()
        self.firewall: Any = self.memory.firewall
        self._listening: list[MemoryTransport] = []

    def start(self, filter_object: Any) -> None:
        self.memory.start(lambda: filter_object, f"filter {len(self.memory.hosts)}")

    def faults(self) -> tuple[str, ...]:
        return self.memory.faults

    def ask(self, target: SocketAddress, *, answers: bool = True) -> MemoryConnection:
        return self.memory.open(target, CLIENT.host, answers=answers)

    def ask_datagrams(self, target: SocketAddress) -> MemoryDatagramConnection:
        return self.memory.open_datagrams(target, CLIENT.host)

    def wait(self, target: SocketAddress) -> MemoryWaiting:
        return MemoryWaiting(self.memory, target)

    def listen(self, address: SocketAddress) -> Callable[[], MemoryPeer | None]:
        listener = self.memory.network.listen(address)
        self._listening.append(listener)

        def accept() -> MemoryPeer | None:
            self.run()
            return MemoryPeer(listener.accept()[0]) if listener.backlog else None

        return accept

    def connect(self, address: SocketAddress, source: SocketAddress) -> MemoryPeer | None:
        return connect(self.memory, address, source)

    def name(self, name: str, address: str) -> None:
        self.memory.names.table[name] = [address]

    def addresses(self, *addresses: str) -> None:
        numbered = [(number, ip_interface(text)) for number, text in enumerate(addresses, 1)]
        own = tuple(AddressState(number, interface, True) for number, interface in numbered)
        routes = tuple(
            RouteState(AddressRange.parse(str(interface.network)), number, 0) for number, interface in numbered
        )
        local = tuple(AddressRange.parse(str(interface.ip)) for _, interface in numbered)
        adapters = tuple(number for number, _ in numbered)
        self.memory.network.machines.become(MachineState(adapters, own, routes, local))

    def allow(self, *protocols: str) -> None:
        allow(self.memory, *protocols)

    def bytes_sent(self) -> int:
        return self.memory.records[-1].bytes_sent or 0

    def run(self) -> None:
        self.memory.loop.run()

    def advance(self, seconds: float) -> None:
        self.memory.loop.advance(seconds)

    def close(self) -> None:
        for listener in self._listening:
            listener.close(False)
        self.memory.close()


class MemoryWaiting:
    """A client in memory that has bound (:class:`Waiting`), and the entry that it came by."""

    def __init__(self, memory: MemoryFirewall, target: SocketAddress) -> None:
        self.bound: SocketAddress | None = None
        self.peer_address: SocketAddress | None = None
        self.failure: HRESULT | None = None
        self._transport, outer = memory.network.pair(FIREWALL, CLIENT)
        self.client = MemoryPeer(outer)
        entry: Any = self
        request = Request(entry, self._transport, CLIENT, target, source=fwxSourceWSP, interface="memory")
        with memory.loop.asyncio.running():
            memory.gateway.bind(request, entry, _FAMILIES)
        memory.loop.run()

    # What the gateway calls.

    def listening(self, bound: SocketAddress) -> bool:
        self.bound = bound
        return True

    def connected(self, peer_address: SocketAddress) -> bool:
        self.peer_address = peer_address
        return True

    def refused(self, result: int) -> None:
        self.failure = HRESULT(result)
        self._transport.close(True)


@implementer(IFWXSessionFilter)
class HandlingSession(Unknown):
    """Hands the events of one session to the filter's *handle*."""

    def __init__(self, handle: Callable[[Any], Any]) -> None:
        self._handle = handle

    def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
        return self._handle(pProxyEvent)

    def Detach(self) -> None:
        """It holds nothing of the session's."""


@implementer(IFWXFilter)
class HandlingFilter(Unknown):
    """A filter of a battery: it sees what *mask* says, and calls *handle* with each event.

    :ivar session_filters: those that it has made.
    """

    def __init__(self, handle: Callable[[Any], Any], mask: int = EVERYTHING) -> None:
        self._handle = handle
        self._mask = mask
        self.session_filters: list[HandlingSession] = []

    def FilterInit(self, pIFWXFirewall: Any) -> FwxFilterHookEvents:  # noqa: ARG002  the SDK's signature
        return FwxFilterHookEvents(self._mask)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: FwxFilterHookEvents) -> IFWXSessionFilter:  # noqa: ARG002
        self.session_filters.append(HandlingSession(self._handle))
        return self.session_filters[-1]

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


@implementer(IFWXDataFilter)
class HeldSockets(Unknown):
    """A data filter that does nothing by itself: the rule posts on its sockets. *detached* counts its ``Detach``."""

    def __init__(self) -> None:
        self.internal: Any = None
        self.external: Any = None
        self.connection: Any = None
        self.context: Any = None
        self.started = 0
        self.detached = 0

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.internal, self.external = piInternalSocket, pIExternalSocket
        self.connection, self.context = piConnection, punkFilterContext
        self.started += 1

    def Detach(self) -> None:
        self.internal = self.external = self.connection = self.context = None
        self.detached += 1


def outcome(call: Callable[..., Any], *args: Any) -> HRESULT:
    """Return how a call inside an event handler went: rules judge it afterwards, for what a handler raises denies."""
    try:
        call(*args)
    except COMError as error:
        return HRESULT(error.hresult)
    return HRESULT(S_OK)


def on_connect(then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a handler that calls *then* with the details of each ``fwx_Connect_Tcp``."""
    return lambda event: then(event.Parameters.Connect) if event.EventType == fwx_Connect_Tcp else None


@contextmanager
def opened(maker: Callable[[], FirewallHost]) -> Iterator[FirewallHost]:
    """Open a host for one rule; the filters of the rule must not have failed. :raises BreachError: one has."""
    host = maker()
    try:
        yield host
        if host.faults():
            raise BreachError(f"a filter of the rule failed: {'; '.join(host.faults())}")
    finally:
        host.close()


class Scene:
    """A client with a primary connection, a filter that watches, and from then on no rule that allows anything.

    :ivar events: what the filter has seen. :ivar session: the client's. :ivar connection: its primary one.
    """

    def __init__(self, host: FirewallHost) -> None:
        self.host = host
        self.events: list[Any] = []
        self.filter = HandlingFilter(self.events.append)
        host.start(self.filter)
        self.primary = host.ask(SERVER)
        self.connection: Any = self.primary.connection
        self.session: Any = self.connection.GetSession()
        host.allow()

    @property
    def session_filter(self) -> HandlingSession:
        return self.filter.session_filters[0]

    def of_type(self, event_type: int) -> list[Any]:
        """Return the events of one type so far."""
        return [event for event in self.events if event.EventType == event_type]

    def announce(self, target: SocketAddress, flags: int = 0, *, told: bool = False, context: Any = None) -> Any:
        """``AllowFutureConnect`` of *target*, which is *told* to the watching filter; return the action."""
        session_filter = self.session_filter if told else None
        return self.session.AllowFutureConnect(
            target, None, None, None, FWX_PROTOCOL_TCP, flags, GUID_NULL, session_filter, context, self.connection
        )

    def reaches(self, target: SocketAddress) -> bool:
        """Whether the client gets a connection to *target* that carries data."""
        asked = self.host.ask(target)
        if asked.server is None:
            return False
        asked.client.send(b"x")
        arrived = asked.server.receive() == b"x"
        asked.client.close()
        asked.server.close()
        self.host.run()
        return arrived

    def bind(self, *clients: SocketAddress, flags: int = 0, **more: Any) -> tuple[SocketAddress, tuple[Any, ...]]:
        """``BindForClient``; *more* by the names of the IDL."""
        settings = {"pSessionFilter": None, "punkContext": None, "pIpFilter": None, **more}
        bound, connections = self.session.BindForClient(
            clients, None, FIREWALL, None, FWX_PROTOCOL_TCP, None, flags, 5, GUID_NULL, *settings.values()
        )
        return bound, connections

    def redirect(self, *targets: SocketAddress, flags: int = 0) -> tuple[SocketAddress, tuple[Any, ...]]:
        """``RedirectConnections``."""
        inside, actions = self.session.RedirectConnections(
            targets, None, None, None, None, FWX_PROTOCOL_TCP, flags, GUID_NULL, None, None
        )
        return inside, actions


def carries(host: FirewallHost, one: Peer | None, other: Peer | None, what: str) -> None:
    """Make sure that what *one* sends arrives at *other*, and back. :raises BreachError: one is missing, or not so."""
    if one is None or other is None:
        raise BreachError(f"{what}: there is no connection")
    one.send(b"there")
    host.run()
    found = other.receive()
    other.send(b"and back")
    host.run()
    back = one.receive()
    if (found, back) != (b"there", b"and back"):
        raise BreachError(f"{what}: {found!r} came there and {back!r} back")
