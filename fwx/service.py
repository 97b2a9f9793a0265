"""The Firewall service: composed from a configuration, started, drained, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwx.accounts import Accounts
from fwx.aio.tasks import Tasks
from fwx.alerts.alerting import Alerting
from fwx.alerts.control import AlertsControl
from fwx.change.changer import Changer
from fwx.change.control import ChangeControl
from fwx.change.live import LiveParts
from fwx.change.parts import Parts, read_parts
from fwx.change.running import Running
from fwx.composition import denials_of, log_of, plan_of
from fwx.config import Configuration, ConfigurationError
from fwx.config_model import TransparentListener
from fwx.config_support import unsupported
from fwx.control.server import ControlServer
from fwx.courses import ended
from fwx.denials import Denials
from fwx.explain_control import ExplainControl
from fwx.filter_reload import FilterReloader
from fwx.handles import DescriptorHandles
from fwx.impl.culprit import culprit_of
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.engine import Engine
from fwx.impl.fault import FaultReporter
from fwx.impl.gateway import Gateway
from fwx.impl.interim import InterimRecords
from fwx.impl.packetfilter import MemoryPacketFilter
from fwx.impl.ruledata import RuleData
from fwx.impl.sessions import Sessions
from fwx.interfaces import IFWXFirewall2, SocketAddress
from fwx.interfaces.hresult import FWX_E_TERMINATING
from fwx.limits_control import LimitsControl
from fwx.network import Poller, SocketNetwork
from fwx.packetfilter.backend import NftablesPacketFilter
from fwx.packetfilter.lockdown import log_drops
from fwx.packetfilter.plan import Plan
from fwx.passed_sockets import PassedSockets
from fwx.period_watch import PeriodWatch
from fwx.ports import ports_of_others
from fwx.privileges import drop_root, give_to, raise_descriptor_limit, service_account
from fwx.protection import Protection
from fwx.registry import Registry, build_registry
from fwx.resolver import SystemResolver
from fwx.sessions_control import SessionsControl
from fwx.tracing.control import TraceControl
from fwx.transparent.sockets import SocketMaker
from fwx.user_directories import DirectorySurroundings
from fwx.watchdog import Watchdog
from fwx.ways_in import WaysIn
from fwx.workers import WORKERS, WorkerPool

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase

logger = logging.getLogger("fwx.service")

CONNECT_SECONDS = 20.0
# How long a connection that one side has left may stand still before it is ended.
LINGER_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
SESSION_IDLE_SECONDS = 60.0
# How long a client of plain HTTP may take from a response to the end of its next request's head.
KEEP_ALIVE_SECONDS = 60.0
# How long a client that waits for a connection from outside (BIND) may wait.
BIND_SECONDS = 120.0
# How long a client of a UDP port is remembered that neither sends nor gets anything.
UDP_IDLE_SECONDS = 60.0
DRAIN_SECONDS = 10.0
LOG_CLOSE_SECONDS = 10.0
# How long the tasks of filters have to end when they are cancelled.
TASK_SECONDS = 2.0
# How long the threads of the pool have to end what filters gave them, each time that it is waited for, and then what
# follows alerts; and how long after the second signal.
WORKER_SECONDS = 5.0
HURRIED_SECONDS = 0.5
ALERT_FLUSH_SECONDS = 5.0
_LAST_TURNS = 4096


class Service:
    """One running firewall on one event loop.

    :meth:`start` opens everything and drops root; :meth:`stop` drains and closes everything. What is composed and
    never started (``fwx components``) only needs :meth:`stop`.
    """

    def __init__(self, configuration: Configuration, passed: PassedSockets | None = None) -> None:
        """Compose the parts on the running event loop; nothing is opened but the poller.

        :param passed: sockets that were opened for listeners.
        :raises ConfigurationError: the configuration asks for what this version cannot do, or an upstream's password or
            a certificate cannot be used; every key is named.
        :raises FilterLoadError: a filter's class cannot be loaded. :raises RegistryError: two plugins collide.
        """
        problems = unsupported(configuration)
        if problems:
            raise ConfigurationError(problems)
        self._passed = PassedSockets() if passed is None else passed
        self._loop = asyncio.get_running_loop()
        self.log = log_of(configuration, self._log_failed, self._log_recovered)
        self.alerting = Alerting(configuration, self.log.write_alert, self._loop, monotonic=time.monotonic)
        self.alerts, self._events = self.alerting.alerts, self.alerting.events
        figures = denials_of(configuration.limits)
        self.denials = Denials(self.log.write, time.monotonic, figures, self._events.denied)
        faults = FaultReporter(self._events.filter_fault)
        parts = read_parts(configuration, faults, self._events.upstream_failure)
        self.running = Running(parts)
        self.poller = Poller(self._loop)
        self.packet_filter = self._make_packet_filter()
        self._socket_maker = SocketMaker(self.poller, self._events.socket_maker_failure.signal)
        self._tasks = Tasks(self._loop, faults)
        self._resolver = SystemResolver(self._loop, time.monotonic)
        self.workers = WorkerPool()
        # What hangs in filters does not hold up the files of others.
        self._files = WorkerPool(WORKERS, WORKERS)
        self.handles = DescriptorHandles(self.poller.queue, self.poller, self._files.submit)
        self._deadlines = _deadlines(configuration.limits.handshake_seconds, self._loop)
        network = SocketNetwork(self.poller)
        self.engine = self._make_engine(network, parts, faults)
        self.engine.quotas.exceeded = self._events.rule_limit
        self._watchdog = Watchdog(
            configuration.service.blocked_loop_seconds,
            time.monotonic,
            self._loop.call_later,
            lambda frame: culprit_of(frame, (*self.engine.filters, *self.engine.retired)),
            self._events.filter_blocks,
        )
        self.sessions = Sessions(self.engine, self._deadlines["session"])
        self.gateway = Gateway(self.engine, self.sessions, self._connection_ended)
        self._interim = InterimRecords(self.engine, configuration.log.intermediate_seconds)
        self.gateway.stragglers.on_empty = self._note_idle
        self.registry: Registry = build_registry(self.engine, configuration.service.name)
        around = DirectorySurroundings(
            self._loop, self.poller.queue.post, self._resolver, self._events.directory_failure.signal
        )
        self._accounts = Accounts(self.registry, around)
        self.firewall: Any = self.registry.getUtility(IFWXFirewall2)
        self._period_watch = PeriodWatch(self.engine, self._loop.call_later)
        self._reloader = FilterReloader(self.running, self.engine, self.firewall)
        self.ways_in = WaysIn(
            configuration,
            self.gateway,
            network,
            parts.local,
            parts.tls,
            self._accounts.doorkeeper,
            self._deadlines,
            self._socket_maker,
            self._accepting,
            self._note_idle,
        )
        self.ways_in.limits.exceeded = self._events.limit
        self._protection = Protection(self.engine, self.ways_in.limits.crowd, self._events)
        live = LiveParts(
            self.engine,
            self.firewall,
            self.ways_in,
            self._accounts,
            self.denials,
            self._deadlines["handshake"],
            self._interim,
            self._watchdog,
            self._period_watch,
            self.alerting,
        )
        live.start(parts)
        self.changer = Changer(self.running, live, self._events.upstream_failure, lambda: self._socket_maker.is_running)
        sessions_control = SessionsControl(self.engine)
        alerts_control = AlertsControl(self.alerting)
        self._control = ControlServer(
            configuration.state_dir,
            {"reload filter": self._reloader.reload, "reset alert": alerts_control.reset},
            {
                "trace": TraceControl(self.running, self.engine).trace,
                "explain": ExplainControl(self.running, self.engine).explain,
                "sessions": sessions_control.sessions,
                "kill sessions": sessions_control.kill,
                "limits": LimitsControl(self.engine, self.ways_in.limits).limits,
                **ChangeControl(self.changer).streams,
                "alerts": alerts_control.alerts,
            },
        )
        self._alert_timer: asyncio.TimerHandle | None = None
        self._started = False
        self._idle = asyncio.Event()
        self._is_draining = False
        self._worker_seconds = WORKER_SECONDS

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.running.configuration

    async def start(self) -> None:
        """Bind, open the log, start the packet filter, drop root, initialise the filters, then let clients in.

        :raises ListenError: a port cannot be bound, or opened. :raises HelperError: there is no packet filter.
        :raises SocketMakerError: a transparent listener has nobody who makes its sockets.
        :raises FirewallLogError: the log cannot be opened.
        :raises ControlError: the control socket cannot be made.
        :raises PrivilegeError: root cannot be given up. :raises OSError: the state folder cannot be made.
        """
        account = service_account(self.configuration.service.user)
        raise_descriptor_limit()
        self.ways_in.bind(self._passed)
        self._open_log(account)
        self.changer.remember_start(None if account is None else (account.pw_uid, account.pw_gid))
        self._control.open(account)
        self._started = True
        if isinstance(self.packet_filter, NftablesPacketFilter):
            self.packet_filter.start(account)
            log_drops(self.engine, self.packet_filter.dropped_before)
            self._warn_others(self.packet_filter.plan)
        if any(
            isinstance(table, TransparentListener) and table.makes_sockets for table in self.configuration.listeners
        ):
            self._socket_maker.start(account)
        drop_root(account)
        await self.ways_in.open_ports()
        self.registry.freeze()
        for host in self.engine.filters:
            await ended(host.start(self.firewall))
            await ended(RuleData(self.engine).begin(host))
        self.alerting.warn_of_unknown_events()
        self.ways_in.let_in()
        await self._control.start()
        self._watchdog.start()
        self._protection.start()
        self._interim.start()
        self._period_watch.start()
        self._flush_alerts()
        self.changer.open()

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> int:
        """Take no more clients, wait for the connections, end what is left, close everything.

        Returns the number of log records that could not be written, 0 when all is well.
        """
        self._reloader.close()
        await self.changer.close()
        await self._control.stop()
        self.ways_in.close()
        self._run_queue_dry()  # UDP has no end to drain to
        self.gateway.close()
        await self._drain(drain_seconds)
        for connection in self.sessions.connections():
            connection.end(FWX_E_TERMINATING, "the service stopped")
        self._run_queue_dry()
        await self._let_filters_return()
        self.ways_in.send_away()
        self.gateway.stragglers.close()
        await self._tasks.settle(TASK_SECONDS)
        return await self._close()

    def hurry(self) -> None:
        """End a stop's waiting for the connections, and nearly that for threads; called at the second signal."""
        self._worker_seconds = HURRIED_SECONDS
        self._idle.set()

    async def _close(self) -> int:
        self._interim.close()
        self.firewall.end_notices()
        self._accounts.close()
        self._run_queue_dry()  # so that filters hear of what they have asked for
        hosts = (*self.engine.filters, *self.engine.retired)
        shutting = [host.stop() for host in hosts]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._worker_seconds):
                for each in shutting:
                    await ended(each)
        self.sessions.close()
        for host in hosts:
            host.release()
        self.firewall.close_sockets()
        self._run_queue_dry()
        await self._tasks.close(TASK_SECONDS)
        self._run_queue_dry()
        await self._end_workers()
        self.engine.strands.close()
        self._run_queue_dry()
        for deadlines in self._deadlines.values():
            deadlines.close()
        if self._alert_timer is not None:
            self._alert_timer.cancel()
        if isinstance(self.packet_filter, NftablesPacketFilter):
            always = self.configuration.packet_filter.lockdown == "always"
            await self.packet_filter.stop(lock=always or self.alerting.stopped_by != "")
        await self._socket_maker.stop()
        self._resolver.close()
        self._watchdog.stop()
        self._protection.close()
        self._period_watch.stop()
        self.poller.close()
        self.changer.forget()
        if not self._started:
            return 0
        await self.alerting.close(self._worker_seconds)
        self.denials.flush()
        return await asyncio.to_thread(self.log.close, LOG_CLOSE_SECONDS)

    def _make_engine(self, network: SocketNetwork, parts: Parts, faults: FaultReporter) -> Engine:
        return Engine(
            server_name=self.configuration.service.name,
            queue=self.poller.queue,
            network=network,
            registry=None,
            policy=parts.policy,
            resolver=self._resolver,
            faults=faults,
            alerts=self.alerts,
            clock=time.monotonic,
            wall_clock=time.time,
            call_later=self._loop.call_later,
            connect_deadlines=self._deadlines["connect"],
            linger_deadlines=self._deadlines["linger"],
            datagram_deadlines=self._deadlines["udp"],
            write_record=self.denials.write,
            packet_filter=self.packet_filter,
            is_own_listener=self._is_own_listener,
            routes=parts.routes,
            handles=self.handles,
            workers=self.workers,
            tasks=self._tasks,
            filters=tuple(parts.filters.values()),
            accepting=self._accepting,
        )

    def _make_packet_filter(self) -> MemoryPacketFilter | NftablesPacketFilter:
        if self.configuration.packet_filter.backend == "memory":
            return MemoryPacketFilter()
        return NftablesPacketFilter(
            plan_of(self.configuration),
            self.poller,
            self._loop.call_later,
            on_failure=self._events.packet_filter_failure.signal,
            on_difference=self._events.packet_filter_changed.signal,
        )

    def _warn_others(self, plan: Plan) -> None:
        """Name the ports of other programs that the packet filter closes; an operator may not have thought of them."""
        for port, owner in ports_of_others(os.getpid()):
            if plan.guards(port.transport, port.port):
                words = "packet filter: %s/%d of %s is closed to new clients; 'except' in [packet_filter] opens it"
                logger.warning(words, port.transport, port.port, owner or "a program")

    async def _let_filters_return(self) -> None:
        """Wait for the threads of blocking filters, whose connections are ending; one that hangs holds nobody up."""
        if len(self.engine.strands) and not self._is_idle():
            logger.info("waiting up to %g s for %d calls of filters", self._worker_seconds, len(self.engine.strands))
            await self._wait_idle(self._worker_seconds)
            self.engine.strands.abandon()
            self._run_queue_dry()

    async def _end_workers(self) -> None:
        """Let the threads of the pools end what they were given, on a loop that goes on with what they wait for."""
        for pool in (self.workers, self._files, *self._accounts.pools, *self.changer.pools):
            pool.close()
            if len(pool):
                await asyncio.to_thread(pool.join, self._worker_seconds)
                self._run_queue_dry()

    def _run_queue_dry(self) -> None:
        """Run what is queued, and what that queues; a filter that never stops posting is left where it is."""
        for _ in range(_LAST_TURNS):
            if not len(self.engine.queue):
                return
            self.engine.queue.drain()
        logger.warning("filters keep posting operations while the service stops")

    async def _drain(self, seconds: float) -> None:
        if self._is_idle():
            return
        logger.info("waiting up to %g s for %d connections", seconds, len(self.sessions.connections()))
        self._idle.clear()
        await self._wait_idle(seconds)
        if not self._is_idle():
            logger.info("ending %d connections", len(self.sessions.connections()))

    async def _wait_idle(self, seconds: float) -> None:
        """Wait until the last client has gone, or the stop is hurried, at most *seconds*."""
        self._is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _open_log(self, account: Any) -> None:
        state = self.configuration.state_dir
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        give_to(account, state)
        self.log.open()
        give_to(account, *self.log.paths)

    def _accepting(self) -> bool:
        return self.log.accepting

    def _connection_ended(self, connection: ConnectionBase) -> None:
        if not connection.session.connections:
            self._note_idle()

    def _note_idle(self) -> None:
        """Tell a stop that waits, when the last client has gone."""
        if self._is_draining and self._is_idle():
            self._idle.set()

    def _is_idle(self) -> bool:
        waiting = self.ways_in.is_forwarding or len(self.gateway.stragglers)
        return not waiting and not self.sessions.connections()

    def _is_own_listener(self, address: SocketAddress, transport: str) -> bool:
        return self.ways_in.is_own_listener(address, transport)  # which is made after the engine

    def _flush_alerts(self) -> None:
        self.log.look()
        self.alerts.flush(due_only=True)
        self.denials.flush()
        self._alert_timer = self._loop.call_later(ALERT_FLUSH_SECONDS, self._flush_alerts)

    def _log_failed(self, reason: str) -> None:
        logger.error("the firewall log fails: %s", reason)
        self._events.log_failure.signal(f"the firewall log fails: {reason}")

    def _log_recovered(self) -> None:
        logger.warning("the firewall log works again")


def _deadlines(handshake_seconds: float, loop: asyncio.AbstractEventLoop) -> dict[str, DeadlineQueue]:
    return {
        name: DeadlineQueue(seconds, time.monotonic, loop.call_later)
        for name, seconds in (
            ("handshake", handshake_seconds),
            ("connect", CONNECT_SECONDS),
            ("linger", LINGER_SECONDS),
            ("farewell", FAREWELL_SECONDS),
            ("keep_alive", KEEP_ALIVE_SECONDS),
            ("bind", BIND_SECONDS),
            ("session", SESSION_IDLE_SECONDS),
            ("udp", UDP_IDLE_SECONDS),
        )
    }
