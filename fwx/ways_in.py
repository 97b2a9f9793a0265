"""The ways into a service: its listeners, and what each hands its clients to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.associations import Associations
from fwx.change.plan import Matching, matched
from fwx.composition import limits_of
from fwx.config import ConfigurationError
from fwx.config_model import ProxyListener, PublishListener, TransparentListener
from fwx.datagram_listener import DatagramListener
from fwx.entrance import Arrival, Entrance
from fwx.entries import ProxyEntry, PublishEntry
from fwx.header_entry import HeaderEntry, TrustedSenders
from fwx.interfaces import SocketAddress
from fwx.limits import AddressLimits
from fwx.listener import Listener, ListenError
from fwx.sni_entry import SniEntry, SniRoutes
from fwx.tls_entry import TlsEntry
from fwx.transparent.datagrams import TransparentDatagramListener
from fwx.transparent.departure import ClientDeparture
from fwx.transparent.entry import TransparentEntry

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.doorkeeper import Doorkeeper
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.gateway import Gateway
    from fwx.impl.networks import LocalAddresses
    from fwx.impl.transport import Transport
    from fwx.listener_tls import ListenerTls
    from fwx.network import SocketNetwork
    from fwx.open_port import ClosedPort, OpenPort
    from fwx.passed_sockets import PassedSockets
    from fwx.proxy import Demand
    from fwx.transparent.sockets import SocketMaker

logger = logging.getLogger("fwx.ways_in")

Enter = Callable[[Arrival], object]

_VERSIONS: Final = {"off": 0, "v1": 1, "v2": 2}


class Way(NamedTuple):
    """One listener at work: its table, its socket, and of TCP what its clients have in common."""

    table: Any
    listener: Listener | DatagramListener
    entrance: Entrance | None = None


class Coming(NamedTuple):
    """The listeners of another configuration, made by :meth:`WaysIn.prepare`: bound, their ports open.

    :ivar made: those that are new, by name. :ivar matching: which of those that there are stay.
    """

    made: dict[str, Listener | DatagramListener]
    matching: Matching

    def close(self) -> None:
        """They are not wanted after all."""
        for listener in self.made.values():
            listener.close()
        self.made.clear()


class WaysIn:
    """Binds the listeners of a configuration, opens their ports, lets clients in, closes them.

    The service calls :meth:`bind`, :meth:`open_ports` and :meth:`let_in`, and :meth:`close` and :meth:`send_away` when
    it stops. In between :meth:`prepare` and :meth:`use` have it go by another configuration.

    :ivar associations: the UDP associations of all proxy ports. :ivar limits: what counts by client address.
    """

    def __init__(
        self,
        configuration: Configuration,
        gateway: Gateway,
        network: SocketNetwork,
        local: LocalAddresses,
        tls: Mapping[str, ListenerTls],
        doorkeeper: Doorkeeper,
        deadlines: Mapping[str, DeadlineQueue],
        socket_maker: SocketMaker,
        accepting: Callable[[], bool],
        on_left: Callable[[], None],
    ) -> None:
        """:param local: this host's own addresses. :param tls: by a listener's name.

        :param deadlines: those of :class:`fwx.entrance.Entrance`, and ``udp`` for clients of a UDP port that are quiet.
        :param socket_maker: makes what speaks for others at transparent listeners.
        :param accepting: whether the log can take records. :param on_left: called when a client of TCP has gone.
        """
        self._configuration = configuration
        self._gateway = gateway
        self._network = network
        self._local = local
        self._tls = tls
        self._doorkeeper = doorkeeper
        self._deadlines = deadlines
        self._socket_maker = socket_maker
        self._accepting = accepting
        self._on_left = on_left
        self.limits = AddressLimits(limits_of(configuration.limits), gateway.engine.clock)
        self.limits.logs = configuration.limits.log_refused
        gateway.opening_limits = self.limits
        self._ways: list[Way] = []
        # Bound for a change until it is in force, or is called off: no target either.
        self._coming: Mapping[str, Listener | DatagramListener] = {}
        self.associations = Associations(self.limits, deadlines["udp"])
        # Those of listeners that have gone stay while they have clients.
        self._entrances: list[Entrance] = []

    @property
    def listeners(self) -> list[Listener]:
        """Those of TCP, in the order of the configuration."""
        return [way.listener for way in self._ways if isinstance(way.listener, Listener)]

    @property
    def datagram_listeners(self) -> list[DatagramListener]:
        """Those of UDP, in the order of the configuration."""
        return [way.listener for way in self._ways if isinstance(way.listener, DatagramListener)]

    @property
    def is_forwarding(self) -> bool:
        """Whether clients that speak plain HTTP are connected, between two requests too."""
        return any(entrance.forwarders for entrance in self._entrances)

    def bind(self, passed: PassedSockets) -> None:
        """Bind every listener, or take what was *passed* for it; its clients wait.

        :raises ListenError: a port cannot be bound, or what was passed does not fit.
        """
        for table in self._configuration.listeners:
            self._ways.append(Way(table, self._made(table, passed.network_for(table.name, self._network))))
        passed.check_all_taken(table.name for table in self._configuration.listeners)

    async def open_ports(self) -> None:
        """Have the packet filter open every listener's port. :raises ListenError: it does not."""
        for way in self._ways:
            await _open_port(way.listener.name, way.listener.port)

    def let_in(self) -> None:
        """Serve clients from now on."""
        self._ways = [self._started(way.table, way.listener) for way in self._ways]

    async def prepare(self, configuration: Configuration) -> Coming:
        """Bind the listeners of *configuration* that are new and have their ports opened; their clients wait.

        :raises ConfigurationError: one cannot be had; named with its line. What was bound is closed then.
        """
        old = tuple(way.table for way in self._ways)
        matching = matched(old, configuration.listeners)
        made: dict[str, Listener | DatagramListener] = {}
        self._coming = made
        coming = Coming(made, matching)
        try:
            for index in matching.coming:
                table = configuration.listeners[index]
                try:
                    made[table.name] = self._made(table, self._network)
                    await _open_port(table.name, made[table.name].port)
                except ListenError as error:
                    words = f"{error}{self._still_there(table)}"
                    raise ConfigurationError(
                        [configuration.source.problem(("listener", index, "bind"), words)]
                    ) from error
        except BaseException:
            coming.close()
            raise
        return coming

    def use(
        self, configuration: Configuration, tls: Mapping[str, ListenerTls], local: LocalAddresses, coming: Coming
    ) -> None:
        """Go by *configuration*, for which :meth:`prepare` has made *coming*: those that are new let clients in, those
        that stay take new clients as their table says now, and those that have gone are closed, their connections not.
        """
        self._configuration, self._tls, self._local = configuration, tls, local
        self.limits.use(limits_of(configuration.limits))
        self.limits.logs = configuration.limits.log_refused
        old = {way.table.name: way for way in self._ways}
        ways = []
        for table in configuration.listeners:
            if table.name in coming.made:
                logger.info("listener %r listens on %s", table.name, coming.made[table.name].address)
                ways.append(self._started(table, coming.made[table.name]))
            else:
                ways.append(self._changed(table, old[coming.matching.kept[table.name]]))
        self._ways, self._coming = ways, {}
        for name in coming.matching.going:
            logger.info("listener %r is closed", name)
            old[name].listener.close()
        staying = [way.entrance for way in ways]
        self._entrances = [each for each in self._entrances if each in staying or each.pending or each.forwarders]

    def _started(self, table: Any, listener: Listener | DatagramListener) -> Way:
        """Let clients in."""
        if isinstance(listener, DatagramListener):
            listener.start()
            return Way(table, listener)
        entrance = Entrance(
            listener.name,
            self._gateway,
            self.limits,
            self._doorkeeper,
            _demand(table),
            self._deadlines,
            self.associations,
            self._on_left,
        )
        self._entrances.append(entrance)
        listener.start(partial(_arrived, listener, self._entry_of(entrance, table)))
        return Way(table, listener, entrance)

    def _changed(self, table: Any, way: Way) -> Way:
        """Have a listener that stays take new clients as *table* says."""
        listener, entrance = way.listener, way.entrance
        listener.name = table.name
        if isinstance(listener, TransparentDatagramListener):
            listener.keeps_client_address = table.keep_client_address
        elif isinstance(listener, DatagramListener):
            listener.target = table.to
        else:
            assert entrance is not None
            entrance.name, entrance.demand = table.name, _demand(table)
            listener.limits = self._limits_for(table)
            listener.hand_to(partial(_arrived, listener, self._entry_of(entrance, table)))
        return Way(table, listener, entrance)

    def _still_there(self, table: Any) -> str:
        """Say which listener that there is has the port of *table*, if one has."""
        for way in self._ways:
            if is_udp(way.table) == is_udp(table) and way.listener.address.port == table.bind.port:
                return f"; listener {way.table.name!r} still has the port: change it in two steps"
        return ""

    def close(self) -> None:
        """Take no more clients; send those away that have no connection, and those of UDP, which has no end."""
        for listener in self.listeners:
            listener.close()
        self.send_away()
        for datagrams in self.datagram_listeners:
            datagrams.close("the service stopped")
        self.associations.close()

    def send_away(self) -> None:
        """Close the clients that have no connection; once more when the others' connections have ended."""
        for entrance in self._entrances:
            entrance.close()

    def is_own_listener(self, address: SocketAddress, transport: str) -> bool:
        """Tell whether the literal *address* is a port of this service, for ``TCP`` or ``UDP``."""
        if transport == "UDP" and self.associations.is_reached_by(address, self._local):
            return True
        kind, port = Listener if transport == "TCP" else DatagramListener, address.port
        # Without a generator, and the ports first: it is asked for every connection.
        for way in self._ways:
            if way.listener.address.port == port and _is_reached(way.listener, kind, address, self._local):
                return True
        if not self._coming:
            return False
        return any(_is_reached(each, kind, address, self._local) for each in self._coming.values())

    def _made(self, table: Any, network: SocketNetwork) -> Listener | DatagramListener:
        """Bind the listener of *table*. :raises ListenError: it cannot be."""
        return self._datagrams(table, network) if is_udp(table) else self._streams(table, network)

    def _limits_for(self, table: Any) -> AddressLimits | None:
        """Return what counts the peers of a listener of TCP."""
        # Behind a load balancer the client is known later: the header's entry counts it.
        diverts = isinstance(table, TransparentListener)
        return self.limits if diverts or table.proxy_protocol == "off" else None

    def _streams(self, table: Any, network: SocketNetwork) -> Listener:
        diversion = table.mode if isinstance(table, TransparentListener) else ""
        engine, limits = self._gateway.engine, self._limits_for(table)
        door = self._accepting, engine.call_later, diversion, self.limits.crowd
        return Listener(table.name, table.bind, network, limits, engine, *door)

    def _datagrams(self, table: Any, network: SocketNetwork) -> DatagramListener:
        idle = self._deadlines["udp"]
        if not isinstance(table, TransparentListener):
            return DatagramListener(
                table.name, table.bind, table.to, network, self._gateway, idle, self.limits, self._accepting
            )
        return TransparentDatagramListener(
            table.name,
            table.bind,
            network,
            self._gateway,
            idle,
            self.limits,
            self._accepting,
            self._socket_maker,
            keeps_client_address=table.keep_client_address,
            is_own_listener=self.is_own_listener,
        )

    def _entry_of(self, entrance: Entrance, table: Any) -> Enter:
        """Return what a client of this listener is handed to."""
        tls = self._tls[table.name]
        entry: Enter
        match table:
            case PublishListener():
                announces = _VERSIONS[table.send_proxy_protocol]
                publish = partial(PublishEntry, entrance, announces=announces, to_tls=tls.to_server)
                entry = partial(publish, target=table.to)
                if table.sni:
                    entry = partial(SniEntry, entrance, routes=SniRoutes(table.sni, table.to), then=publish)
            case TransparentListener():
                leave_from = partial(ClientDeparture, self._socket_maker, self._network.poller)
                keeps = leave_from if table.keep_client_address else None
                return partial(
                    TransparentEntry,
                    entrance,
                    mode=table.mode,
                    is_own_listener=self.is_own_listener,
                    leave_from=keeps,
                )
            case _:
                entry = partial(ProxyEntry, entrance)
        if tls.from_client is not None:
            entry = partial(TlsEntry, entrance, role=tls.from_client, then=entry)
        if table.proxy_protocol == "off":
            return entry
        trusted = TrustedSenders(table.trusted or ())
        return lambda arrival: HeaderEntry(entrance, arrival, trusted, self.limits, entry)


def is_udp(table: Any) -> bool:
    """Tell whether the listener of *table* is one of UDP."""
    return isinstance(table, PublishListener | TransparentListener) and table.transport == "udp"


def _demand(table: Any) -> Demand:
    demand: Demand = table.authenticate if isinstance(table, ProxyListener) else "off"
    return demand


def _is_reached(
    listener: Listener | DatagramListener, kind: type, address: SocketAddress, local: LocalAddresses
) -> bool:
    return isinstance(listener, kind) and listener.is_reached_by(address, local)


async def _open_port(name: str, port: OpenPort | ClosedPort) -> None:
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    try:
        port.open(opened.set_result)
    except OSError as error:
        raise ListenError(f"listener {name!r}: the packet filter: {error.strerror}") from error
    code = await opened
    if code:
        raise ListenError(f"listener {name!r}: the packet filter does not open {port.address}")


def _arrived(listener: Listener, entry: Enter, client: Transport, address: SocketAddress) -> None:
    destination = listener.only_destination
    if destination is None:
        try:
            destination = SocketAddress.of_stream(client.getsockname())
        except OSError as error:
            logger.debug("a client of listener %r went away at once: %s", listener.name, error)
            client.close(True)
            if listener.limits is not None:
                listener.limits.release(address.host)
            return
    entry(Arrival(client, address, destination))
