"""The Firewall service: composed from a configuration, started, drained, stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from fwx.aio.tasks import Tasks
from fwx.composition import filters_of, policy_of
from fwx.config import Configuration, ConfigurationError
from fwx.config_model import ProxyListener, PublishListener
from fwx.config_support import unsupported
from fwx.datagram_listener import DatagramListener
from fwx.entries import Entrance, ProxyEntry, PublishEntry
from fwx.firewall_log import FirewallLog
from fwx.handles import DescriptorHandles
from fwx.impl.alert import Alert, Alerts, Category, Severity
from fwx.impl.connection import FWXConnection
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.engine import Engine
from fwx.impl.fault import FaultReporter
from fwx.impl.gateway import Gateway
from fwx.impl.networks import LocalAddresses
from fwx.impl.packetfilter import MemoryPacketFilter
from fwx.impl.route import routes
from fwx.impl.sessions import Sessions
from fwx.interfaces import IFWXFirewall2, SocketAddress
from fwx.interfaces.hresult import FWX_E_TERMINATING
from fwx.limits import AddressLimits
from fwx.listener import Listener
from fwx.network import Poller, SocketNetwork
from fwx.privileges import drop_root, give_to, raise_descriptor_limit, service_account
from fwx.registry import Registry, build_registry
from fwx.resolver import SystemResolver
from fwx.upstreams import upstreams_of
from fwx.workers import WorkerPool

logger = logging.getLogger("fwx.service")

CONNECT_SECONDS = 20.0
# How long a connection that one side has left may stand still before it is ended.
LINGER_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
SESSION_IDLE_SECONDS = 60.0
# How long a client of a UDP port is remembered that neither sends nor gets anything.
UDP_IDLE_SECONDS = 60.0
DRAIN_SECONDS = 10.0
LOG_CLOSE_SECONDS = 10.0
# How long the tasks of filters have to end when they are cancelled.
TASK_SECONDS = 2.0
# How long the threads of the pool have to end what filters gave them.
WORKER_SECONDS = 5.0
ALERT_FLUSH_SECONDS = 5.0
_LAST_TURNS = 4096


class Service:
    """One running firewall on one event loop.

    :meth:`start` opens everything and drops root; :meth:`stop` drains and closes everything. What is composed and
    never started (``fwx components``) only needs :meth:`stop`.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Compose the parts on the running event loop; nothing is opened but the poller.

        :raises ConfigurationError: the configuration asks for what this version cannot do, or an upstream's password
            cannot be used; every key is named.
        :raises FilterLoadError: a filter's class cannot be loaded. :raises RegistryError: two plugins collide.
        """
        problems = unsupported(configuration)
        if problems:
            raise ConfigurationError(problems)
        self.configuration = configuration
        self._loop = asyncio.get_running_loop()
        self.log = FirewallLog(configuration.log_database, on_failure=self._log_failed, on_recovery=self._log_recovered)
        self.alerts = Alerts(time.time, (self.log.write_alert, _show_alert))
        define = partial(self.alerts.define, source="fwx")
        faults = FaultReporter(define("Filter fault", Severity.ERROR, Category.FIREWALL_SERVICE))
        self._log_event = define("Log failure", Severity.ERROR, Category.FIREWALL_SERVICE)
        filters = filters_of(configuration, faults)
        upstream_failure = define("Upstream failure", Severity.WARNING, Category.FIREWALL_SERVICE)
        ways_out = routes(upstreams_of(configuration, upstream_failure))
        self.poller = Poller(self._loop)
        self._tasks = Tasks(self._loop, faults)
        self._network = SocketNetwork(self.poller)
        self._resolver = SystemResolver(self._loop, time.monotonic)
        self.workers = WorkerPool()
        self.handles = DescriptorHandles(self.poller.queue, self.poller, self.workers.submit)
        # The policy keeps it up to date: it is asked about every connection, and first.
        self._local = LocalAddresses()
        limits = configuration.limits
        self._limits = AddressLimits(limits.tcp_per_address, limits.tcp_connects_per_minute_per_address, time.monotonic)
        self._deadlines = {
            name: DeadlineQueue(seconds, time.monotonic, self._loop.call_later)
            for name, seconds in (
                ("handshake", limits.handshake_seconds),
                ("connect", CONNECT_SECONDS),
                ("linger", LINGER_SECONDS),
                ("farewell", FAREWELL_SECONDS),
                ("session", SESSION_IDLE_SECONDS),
                ("udp", UDP_IDLE_SECONDS),
            )
        }
        self.engine = Engine(
            server_name=configuration.service.name,
            queue=self.poller.queue,
            network=self._network,
            registry=None,
            policy=policy_of(configuration, self._local),
            resolver=self._resolver,
            faults=faults,
            alerts=self.alerts,
            clock=time.monotonic,
            wall_clock=time.time,
            call_later=self._loop.call_later,
            connect_deadlines=self._deadlines["connect"],
            linger_deadlines=self._deadlines["linger"],
            write_record=self.log.write,
            packet_filter=MemoryPacketFilter(),
            is_own_listener=self._is_own_listener,
            routes=ways_out,
            handles=self.handles,
            workers=self.workers,
            tasks=self._tasks,
            filters=filters,
        )
        self.sessions = Sessions(self.engine, self._deadlines["session"])
        self.gateway = Gateway(self.engine, self.sessions, self._connection_ended)
        self.registry: Registry = build_registry(self.engine, configuration.service.name)
        self.firewall: Any = self.registry.getUtility(IFWXFirewall2)
        self.listeners: list[Listener] = []
        self.datagram_listeners: list[DatagramListener] = []
        self._entrances: list[Entrance] = []
        self._alert_timer: asyncio.TimerHandle | None = None
        self._started = False
        self._idle = asyncio.Event()

    async def start(self) -> None:
        """Bind, open the log, drop root, initialise the filters, then let clients in.

        :raises ListenError: a port cannot be bound. :raises FirewallLogError: the log cannot be opened.
        :raises PrivilegeError: root cannot be given up. :raises OSError: the state folder cannot be made.
        """
        account = service_account(self.configuration.service.user)
        raise_descriptor_limit()
        for table in self.configuration.listeners:
            self._bind(table)
        self._open_log(account)
        self._started = True
        drop_root(account)
        self.registry.freeze()
        for host in self.engine.filters:
            host.start(self.firewall)
        streams = [table for table in self.configuration.listeners if not _is_udp(table)]
        for listener, table in zip(self.listeners, streams, strict=True):
            self._let_in(listener, table)
        for datagrams in self.datagram_listeners:
            datagrams.start()
        self._flush_alerts()

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> int:
        """Take no more clients, wait for the connections, end what is left, close everything.

        Returns the number of log records that could not be written, 0 when all is well.
        """
        for listener in self.listeners:
            listener.close()
        for entrance in self._entrances:
            entrance.close()
        for datagrams in self.datagram_listeners:
            datagrams.close()
        self._run_queue_dry()  # UDP has no end to drain to
        self.gateway.close()
        await self._drain(drain_seconds)
        for connection in self.sessions.connections():
            connection.end(FWX_E_TERMINATING, "the service stopped")
        self._run_queue_dry()
        for entrance in self._entrances:
            entrance.close()
        await self._tasks.settle(TASK_SECONDS)
        return await self._close()

    def hurry(self) -> None:
        """End a stop's waiting for the connections; called at the second signal."""
        self._idle.set()

    async def _close(self) -> int:
        for host in self.engine.filters:
            host.stop()
        self.sessions.close()
        self.firewall.close_sockets()
        self._run_queue_dry()
        await self._tasks.close(TASK_SECONDS)
        self._run_queue_dry()
        await self._end_workers()
        for deadlines in self._deadlines.values():
            deadlines.close()
        if self._alert_timer is not None:
            self._alert_timer.cancel()
        self._resolver.close()
        self.poller.close()
        if not self._started:
            return 0
        self.alerts.flush()
        return await asyncio.to_thread(self.log.close, LOG_CLOSE_SECONDS)

    async def _end_workers(self) -> None:
        """Let the threads of the pool end what filters gave them, on a loop that goes on with what they wait for."""
        self.workers.close()
        if len(self.workers):
            await asyncio.to_thread(self.workers.join, WORKER_SECONDS)
            self._run_queue_dry()

    def _run_queue_dry(self) -> None:
        """Run what is queued, and what that queues; a filter that never stops posting is left where it is."""
        for _ in range(_LAST_TURNS):
            if not len(self.engine.queue):
                return
            self.engine.queue.drain()
        logger.warning("filters keep posting operations while the service stops")

    async def _drain(self, seconds: float) -> None:
        if not self.sessions.connections():
            return
        logger.info("waiting up to %g s for %d connections", seconds, len(self.sessions.connections()))
        self._idle.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            logger.info("ending %d connections", len(self.sessions.connections()))

    def _open_log(self, account: Any) -> None:
        state = self.configuration.state_dir
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        give_to(account, state)
        self.log.open()
        database = self.log.path
        give_to(account, database, *(Path(f"{database}{suffix}") for suffix in ("-wal", "-shm")))

    def _bind(self, table: Any) -> None:
        if not _is_udp(table):
            network, limits = self._network, self._limits
            listener = Listener(
                table.name, table.bind, network, limits, self.engine, self._accepting, self._loop.call_later
            )
            self.listeners.append(listener)
            return
        self.datagram_listeners.append(
            DatagramListener(
                table.name,
                table.bind,
                table.to,
                self._network,
                self.gateway,
                self._deadlines["udp"],
                self.configuration.limits.udp_per_address,
                self._accepting,
            )
        )

    def _let_in(self, listener: Listener, table: Any) -> None:
        entrance = Entrance(
            listener.name,
            self.gateway,
            self._deadlines["handshake"],
            self._deadlines["farewell"],
            self._limits.release,
        )
        self._entrances.append(entrance)
        match table:
            case ProxyListener():
                listener.start(lambda client, address: ProxyEntry(entrance, client, address))
            case PublishListener():
                target = table.to
                listener.start(lambda client, address: PublishEntry(entrance, client, address, target))

    def _accepting(self) -> bool:
        return self.log.accepting

    def _connection_ended(self, connection: FWXConnection) -> None:
        self._limits.release(connection.client_address.host)
        if not connection.session.connections and not self.sessions.connections():
            self._idle.set()

    def _is_own_listener(self, address: SocketAddress, transport: str) -> bool:
        listeners = self.listeners if transport == "TCP" else self.datagram_listeners
        return any(listener.is_reached_by(address, self._local) for listener in listeners)

    def _flush_alerts(self) -> None:
        self.alerts.flush(due_only=True)
        self._alert_timer = self._loop.call_later(ALERT_FLUSH_SECONDS, self._flush_alerts)

    def _log_failed(self, reason: str) -> None:
        logger.error("the firewall log fails, new connections are refused: %s", reason)
        self._log_event.signal(f"the firewall log fails, new connections are refused: {reason}")

    def _log_recovered(self) -> None:
        logger.warning("the firewall log works again")


def _is_udp(table: Any) -> bool:
    return isinstance(table, PublishListener) and table.transport == "udp"


def _show_alert(alert: Alert) -> None:
    times = f" ({alert.count} times)" if alert.count > 1 else ""
    logger.warning("alert: %s: %s%s", alert.event, alert.message, times)
