"""From a configuration to the parts of a service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fwx.config import Configuration, ConfigurationError
from fwx.config_model import AddressLimits, Limits, TransparentListener
from fwx.config_problems import Problem
from fwx.config_rules import Rule as RuleTable
from fwx.crowd import MIB, CrowdFigures
from fwx.denials import DenialFigures
from fwx.filter_loader import filter_clsid, make_filter, option_problems
from fwx.firewall_log import FirewallLog
from fwx.firewall_log_schema import FirewallLogError
from fwx.garbage import uncollected
from fwx.impl.domainset import DomainSet
from fwx.impl.fault import FaultReporter
from fwx.impl.filterhost import FilterHost
from fwx.impl.networkrules import NetworkRule
from fwx.impl.networks import AddressRange, AddressSet, ComputerSet, LocalAddresses, Network, Networks
from fwx.impl.policy import Policy
from fwx.impl.protocol import Protocol
from fwx.impl.rule import EMBEDDED_DEFAULT, Rule
from fwx.impl.rulequotas import RuleLimits
from fwx.impl.schedule import Calendar, Schedule
from fwx.impl.urlset import UrlSet
from fwx.interfaces.protocols import PortRange, ProtocolConnection
from fwx.limits import HALF_OPEN, Figures, LimitTable
from fwx.local_users import LocalUser
from fwx.logs.jsonlines import JsonSink
from fwx.logs.retention import Keep
from fwx.logs.sink import Sink
from fwx.logs.sql import SqlSink
from fwx.logs.w3c import W3cSink
from fwx.packetfilter.plan import Plan, table_name, without
from fwx.protection import default_memory


def log_of(
    configuration: Configuration, on_failure: Callable[[str], object], on_recovery: Callable[[], object]
) -> FirewallLog:
    """Make the firewall log of *configuration*; the two are called as :class:`fwx.firewall_log.FirewallLog` says.

    :raises ConfigurationError: there is no driver for the SQL database.
    """
    table, state = configuration.log, configuration.state_dir
    size = None if table.keep_megabytes is None else table.keep_megabytes << 20
    keep = Keep(table.keep_days, size)
    others: list[tuple[str, Sink]] = []
    sinks = (("w3c", table.w3c, W3cSink), ("json", table.json_lines, JsonSink))
    for kind, files, sink in sinks:
        if files is not None:
            most = None if files.megabytes is None else files.megabytes << 20
            folder = state / files.directory
            others.append((kind, sink(folder, fields=files.fields, most_bytes=most, keep=keep)))
    if table.sql is not None:
        try:
            others.append(("sql", SqlSink(table.sql, f"{socket.gethostname()}:{state}", keep)))
        except FirewallLogError as error:
            raise ConfigurationError([configuration.source.problem(("log", "sql"), str(error))]) from error
    return FirewallLog(
        configuration.log_database,
        others=others,
        keep=keep,
        spool_directory=state,
        spool_bytes=table.spool_megabytes << 20,
        on_error=table.on_error,
        on_failure=on_failure,
        on_recovery=on_recovery,
    )


def policy_of(configuration: Configuration, local: LocalAddresses) -> Policy:
    """Make the policy of *configuration*; without rules it is the embedded default, behind system rules if there are
    any. *local* is this host."""
    with uncollected():
        return _policy_of(configuration, local)


def _policy_of(configuration: Configuration, local: LocalAddresses) -> Policy:
    if not configuration.all_rules:
        return Policy.embedded_default(local)
    rules = tuple(map(_rule_of, configuration.rules)) or (EMBEDDED_DEFAULT,)
    return Policy(
        Networks(
            (Network(network.name, network.ranges) for network in configuration.networks),
            local,
            (ComputerSet(computers.name, computers.ranges) for computers in configuration.computers),
        ),
        (DomainSet(domains.name, domains.names) for domains in configuration.domains),
        (
            Protocol.configured(
                protocol.name,
                protocol.guid,
                tuple(
                    ProtocolConnection(
                        ports.transport.upper(), ports.direction, (PortRange(ports.first, ports.last_port),)
                    )
                    for ports in protocol.ports
                ),
            )
            for protocol in configuration.protocols
        ),
        (*(replace(_rule_of(rule), system=True) for rule in configuration.system_rules), *rules),
        calendar_of(configuration),
        url_sets=(UrlSet(urls.name, urls.urls) for urls in configuration.urls),
        network_rules=(
            NetworkRule(rule.name, rule.source, rule.destination, rule.relation) for rule in configuration.network_rules
        ),
    )


def _rule_of(rule: RuleTable) -> Rule:
    return Rule(
        rule.name,
        rule.action,
        rule.protocols,
        rule.source,
        rule.destination,
        rule.filters,
        rule.log,
        rule.upstream or "",
        rule.users,
        rule.groups,
        rule.schedule or "",
        rule.source_ports,
        rule.shadow,
        _limits_of(rule),
        rule.content_types,
        enabled=rule.enabled,
    )


def _limits_of(rule: RuleTable) -> RuleLimits | None:
    limits = RuleLimits(rule.limits.connections_per_user, rule.limits.new_per_second_per_address)
    return None if limits == RuleLimits() else limits


def limits_of(limits: Limits) -> LimitTable:
    """Return what *limits* say of client addresses, of those that are excepted, and of all together."""
    figures, table, crowd = _figures_of(limits), limits.exceptions, crowd_of(limits)
    if table is None:
        return LimitTable(figures, crowd=crowd)
    return LimitTable(figures, AddressSet(map(AddressRange.parse, table.addresses)), _figures_of(table), crowd)


def crowd_of(limits: Limits) -> CrowdFigures:
    """Return what *limits* say of all clients together, and of memory."""
    megabytes = limits.memory_megabytes
    return CrowdFigures(
        limits.handshakes,
        limits.connects,
        limits.look_ups,
        limits.udp_sessions,
        default_memory() if megabytes is None else megabytes * MIB or None,
        limits.memory_per_connection_kilobytes << 10,
    )


def denials_of(limits: Limits) -> DenialFigures:
    """Return what *limits* say of what is denied."""
    return DenialFigures(
        limits.denials_before_alert, limits.denial_records_per_second, limits.denial_records_per_minute_per_address
    )


def _figures_of(limits: AddressLimits) -> Figures:
    half_open = limits.tcp_half_open_per_address or max(HALF_OPEN, limits.tcp_per_address // 2)
    return Figures(
        limits.tcp_per_address,
        limits.tcp_connects_per_minute_per_address,
        half_open,
        limits.http_requests_per_minute_per_address,
        limits.udp_per_address,
    )


def keeps_client_addresses(configuration: Configuration) -> bool:
    """Tell whether servers see the address of the client, whichever way it has come in."""
    return all(
        isinstance(table, TransparentListener) and table.keep_client_address for table in configuration.listeners
    )


def calendar_of(configuration: Configuration) -> Calendar:
    """Return the schedules of *configuration*, by the clock of this machine."""
    return Calendar(
        Schedule(each.name, each.days, tuple((hours.start, hours.end) for hours in each.hours))
        for each in configuration.schedules
    )


def users_of(configuration: Configuration) -> tuple[LocalUser, ...]:
    """Return the users of *configuration*.

    :raises ConfigurationError: a password is no Argon2id hash; every one is named, with its line.
    """
    users = tuple(LocalUser(user.name, user.groups, user.password) for user in configuration.users)
    problems = [
        configuration.source.problem(("user", index, "password"), "is no Argon2id hash; 'fwx user add' makes one")
        for index, user in enumerate(users)
        if not user.has_hash
    ]
    if problems:
        raise ConfigurationError(problems)
    return users


def plan_of(configuration: Configuration) -> Plan:
    """Say what the table of the nftables back end guards."""
    table = configuration.packet_filter
    ports = {
        transport: without(table.guard, [each[1:] for each in table.exceptions if each[0] == transport])
        for transport in ("tcp", "udp")
    }
    redirected = without(
        [
            (listener.bind.port, listener.bind.port)
            for listener in configuration.listeners
            if isinstance(listener, TransparentListener) and listener.mode == "redirect" and listener.bind.port
        ],
        (),
    )
    return Plan(table_name(configuration.service.name), ports["tcp"], ports["udp"], table.interfaces, redirected)


def options_fit(configuration: Configuration, index: int, filter_class: type) -> list[Problem]:
    """Return what is wrong with the options of a ``[[filter]]`` table, that at *index*, for *filter_class*."""
    options = configuration.filters[index].options
    return option_problems(filter_class, options, configuration.source, ("filter", index, "options"))


def filter_host(configuration: Configuration, index: int, filter_class: type, faults: FaultReporter) -> FilterHost:
    """Return the filter of a ``[[filter]]`` table, that at *index*, whose options fit; it is made when it starts."""
    table = configuration.filters[index]
    factory: Callable[[], Any] = partial(make_filter, filter_class, table.options)
    return FilterHost(
        table.name,
        filter_clsid(table.name),
        factory,
        faults,
        everywhere=table.everywhere,
        opens_on_error=table.on_error == "open",
    )
