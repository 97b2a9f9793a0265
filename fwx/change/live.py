"""The parts of a running service that a configuration decides about: made ready beside the old, exchanged at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.composition import denials_of, keeps_client_addresses
from fwx.config_problems import ConfigurationError, KeyPath
from fwx.courses import ended
from fwx.impl import retirement
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.ruledata import RuleData, RuleDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwx.accounts import Accounts
    from fwx.alerts.alerting import Alerting
    from fwx.change.parts import Parts
    from fwx.config import Configuration
    from fwx.denials import Denials
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.interim import InterimRecords
    from fwx.impl.policy import Policy
    from fwx.impl.route import Route
    from fwx.impl.ruledata import PreparedRuleData
    from fwx.period_watch import PeriodWatch
    from fwx.user_directories import UserDirectories
    from fwx.watchdog import Watchdog
    from fwx.ways_in import Coming, WaysIn

logger = logging.getLogger("fwx.change")

INIT_SECONDS: Final = 30.0
"""How long ``FilterInit`` of a blocking filter may take when a change brings the filter; and all filters together to
make their data of the rules, and to be told of the change."""


class Ready(NamedTuple):
    """What stands beside the parts in force, ready to take their place.

    :ivar hosts: the filters in their order, those that stay among them; :ivar rule_data: what they have made of the
        rules. :ivar directories: ``None`` where they stay.
    """

    parts: Parts
    hosts: tuple[FilterHost, ...]
    rule_data: PreparedRuleData
    coming: Coming
    directories: UserDirectories | None

    def discard(self) -> None:
        """It is not wanted after all: close it, and shut the new filters down."""
        self.coming.close()
        if self.directories is not None:
            _close(self.directories)
        _end(self.parts.filters.values())


@dataclass(slots=True)
class LiveParts:
    """Whatever a service has of its configuration; on the loop thread.

    :ivar firewall: what ``FilterInit`` is given. :ivar handshakes: the deadlines of ``handshake_seconds``.
    """

    engine: Engine
    firewall: Any
    ways_in: WaysIn
    accounts: Accounts
    denials: Denials
    handshakes: DeadlineQueue
    interim: InterimRecords
    watchdog: Watchdog
    period_watch: PeriodWatch
    alerting: Alerting

    def start(self, parts: Parts) -> None:
        """Have *parts*, which the service is composed of, in force before anybody comes in."""
        self.engine.known_as = self.accounts.known_as
        self.accounts.register(parts.configuration)
        self.accounts.use(parts.users, self.accounts.make_directories(parts.configuration, parts.directories))
        self._set_figures(parts.configuration)

    async def prepare(self, parts: Parts, before: Parts) -> Ready:
        """Start the new filters, bind the new listeners, make the directories; the service goes on as before.

        :raises ConfigurationError: something cannot be had; named with its line. What was made is gone then.
        """
        configuration = parts.configuration
        current = {host.name: host for host in self.engine.filters}
        directories: UserDirectories | None = None
        coming: Coming | None = None
        try:
            for index, table in enumerate(configuration.filters):
                if table.name in parts.filters:
                    await self._start(parts.filters[table.name], configuration, index)
            hosts = tuple(parts.filters.get(table.name) or current[table.name] for table in configuration.filters)
            rule_data = await self._rule_data(parts.policy, hosts, configuration)
            if parts.fingerprint != before.fingerprint:
                directories = self.accounts.make_directories(configuration, parts.directories)
            coming = await self.ways_in.prepare(configuration)
        except BaseException:
            if directories is not None:
                _close(directories)
            _end(parts.filters.values())
            raise
        return Ready(parts, hosts, rule_data, coming, directories)

    def put_in_force(self, ready: Ready) -> None:
        """Have *ready* take the place of what is in force; nothing here waits, and nothing is meant to fail."""
        parts, engine = ready.parts, self.engine
        engine.policy = parts.policy
        ready.rule_data.enforce()
        engine.routes = {**self._still_named(parts.routes), **parts.routes}
        self._set_figures(parts.configuration)
        if ready.directories is not None:  # which says that users may have changed, too
            self.accounts.use(parts.users, ready.directories)
        self.ways_in.use(parts.configuration, parts.tls, parts.local, ready.coming)
        self.alerting.put_in_force(parts.alerts)  # before filters go that may remove their events (B9.22)
        self.alerting.warn_of_unknown_events()
        retirement.use(engine, ready.hosts)
        self.period_watch.renew()
        self.firewall.net_config.look_again()

    async def tell_filters(self) -> list[str]:
        """Tell the filters that a change is in force (B7.15); return what they failed in, in words."""
        rule_data = RuleData(self.engine)
        try:
            async with asyncio.timeout(INIT_SECONDS):
                return await ended(rule_data.notify())
        except TimeoutError:
            return [f"ReloadConfiguration of filter {rule_data.asking!r} has not returned after {INIT_SECONDS:g} s"]

    async def _rule_data(
        self, policy: Policy, hosts: tuple[FilterHost, ...], configuration: Configuration
    ) -> PreparedRuleData:
        """Have *hosts* make their data of the rules (B7.12). :raises ConfigurationError: some cannot."""
        rule_data = RuleData(self.engine)
        try:
            async with asyncio.timeout(INIT_SECONDS):
                return await ended(rule_data.prepare(policy, hosts))
        except TimeoutError:
            name = rule_data.asking
            failures = {name: f"PrepareRulesData of filter {name!r} has not returned after {INIT_SECONDS:g} s"}
        except RuleDataError as error:
            failures = dict(error.failures)
        places: dict[str, KeyPath] = {
            table.name: ("filter", index, "use") for index, table in enumerate(configuration.filters)
        }
        # One that only finishes its connections has no table any more.
        raise ConfigurationError(
            configuration.source.problem(places.get(name, ("filter",)), words) for name, words in failures.items()
        )

    async def _start(self, host: FilterHost, configuration: Configuration, index: int) -> None:
        """Have a filter initialised. :raises ConfigurationError: it has failed, or takes too long."""
        course = host.start(self.firewall)
        try:
            async with asyncio.timeout(INIT_SECONDS):
                await ended(course)
        except TimeoutError:
            words = f"FilterInit has not returned after {INIT_SECONDS:g} s"
            raise ConfigurationError([configuration.source.problem(("filter", index, "use"), words)]) from None
        finally:
            if not course.has_ended:  # it is called off
                course.when_ended(lambda: self._called_off(host))
        if host.state != "ready":
            problem = configuration.source.problem(("filter", index, "use"), host.reason)
            raise ConfigurationError([problem])

    def _called_off(self, host: FilterHost) -> None:
        """A filter that nobody waits for any more is back from ``FilterInit``: tell it that it is not wanted."""
        if self.engine.stopping:  # no thread is left to tell it
            host.release()
        else:
            _end([host])

    def _set_figures(self, configuration: Configuration) -> None:
        engine, limits = self.engine, configuration.limits
        engine.logs_establishing = configuration.log.establish
        engine.keeps_client_addresses = keeps_client_addresses(configuration)
        engine.quotas.non_tcp_a_second = limits.udp_new_per_second_per_rule
        self.denials.figures = denials_of(limits)
        if limits.handshake_seconds != self.handshakes.seconds:
            self.handshakes.change(limits.handshake_seconds)
        self.interim.interval = configuration.log.intermediate_seconds
        self.watchdog.seconds = configuration.service.blocked_loop_seconds

    def _still_named(self, routes: Mapping[str, Route]) -> dict[str, Route]:
        """Return the routes that are no more and that connections have still to take, as they began."""
        named = {verdict for connection in self.engine.sessions.connections() for verdict in _upstreams(connection)}
        return {name: self.engine.routes[name] for name in named if name not in routes and name in self.engine.routes}


def _upstreams(connection: Any) -> Iterator[str]:
    yield connection.verdict.upstream
    if isinstance(connection, FWXDatagramConnection):
        for destination in connection.destinations:
            if destination.verdict is not None:
                yield destination.verdict.upstream


def _close(directories: UserDirectories) -> None:
    directories.close()
    for pool in directories.pools:
        pool.close()


def _end(hosts: Any) -> None:
    """Shut down filters that have been started and saw nothing."""
    for host in hosts:
        if host.state == "ready":
            host.stop()
            host.release()
