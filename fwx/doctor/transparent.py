"""Does what clients send to others arrive at a transparent listener?

For ``tproxy`` a rule of nftables marks packets and gives them to the listener's port, a routing rule sends what is
marked to a table of its own, and that table delivers it to this machine. For ``redirect`` a rule of nftables is enough.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from fwx.config_model import Configuration, TransparentListener
from fwx.doctor.copied import SOMEWHERE
from fwx.doctor.finding import Finding, Verdict, fail, ok, warn
from fwx.doctor.machine import Machine
from fwx.doctor.probe import check_arrivals
from fwx.interfaces import SocketAddress
from fwx.transparent.kernel import make_transparent

NAME = "transparent"
_MARK = 1
_TABLE = 100


def check_transparent(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Check each transparent listener, and what all of them need of the kernel."""
    listeners = [each for each in configuration.listeners if isinstance(each, TransparentListener)]
    complete = []
    for listener in listeners:
        version = 6 if listener.bind.family == socket.AF_INET6 else 4
        tproxy = listener.mode == "tproxy"
        found = list(_tproxy(listener, version, machine) if tproxy else [_redirect(listener, machine)])
        yield from found
        if all(each.verdict is Verdict.OK for each in found):
            complete.append(listener)
    yield from check_arrivals(complete, machine)
    for version in sorted({6 if each.bind.family == socket.AF_INET6 else 4 for each in listeners}):
        yield _forwarding(version, machine)
    if any(each.bind.family == socket.AF_INET for each in listeners):
        yield _reverse_path(machine)


def _tproxy(listener: TransparentListener, version: int, machine: Machine) -> Iterator[Finding]:
    yield _socket(listener.name, listener.bind)
    rules = [rule for rule in _statements(machine) if "tproxy" in rule and _port(rule["tproxy"]) == listener.bind.port]
    words = f"listener {listener.name!r}"
    port = listener.bind.port
    if not rules:
        why = "packets of clients go past the service"
        command = f"nft add rule inet TABLE prerouting meta l4proto {listener.transport} tproxy to :{port}"
        command += f" meta mark set {_MARK}"
        yield fail(NAME, f"{words}: no rule of nftables diverts to port {port}", why, command)
        return
    yield ok(NAME, f"{words}: {len(rules)} rules of nftables divert to port {port}")
    mark = next((number for number in map(_mark, rules) if number), 0)
    if not mark:
        why = "without a mark nothing sends the diverted packets to this machine"
        yield fail(NAME, f"{words}: the rule sets no mark", why, f"add 'meta mark set {_MARK}' to the rule")
        return
    yield from _routing(words, version, mark, machine)


def _routing(words: str, version: int, mark: int, machine: Machine) -> Iterator[Finding]:
    family = f"-{version}"
    rules = [rule for rule in machine.ip(family, "rule", "show") if _number(rule.get("fwmark", 0)) == mark]
    if not rules:
        why = "diverted packets are routed as if they were not, and do not reach the listener"
        yield fail(
            NAME,
            f"{words}: no routing rule for mark {mark}",
            why,
            f"ip {family} rule add fwmark {mark} lookup {_TABLE}",
        )
        return
    table = str(rules[0].get("table", _TABLE))
    # What a packet with the mark would do: a probe of the routes that sends nothing.
    try:
        way: dict[str, Any] = next(iter(machine.ip(family, "route", "get", SOMEWHERE[version], "mark", str(mark))), {})
    except OSError as error:
        way = {"type": str(error)}
    if way.get("type") != "local":
        yield fail(
            NAME,
            f"{words}: a packet with mark {mark} is not delivered to this machine ({way.get('type', 'no route')})",
            f"the routing table {table} lacks its one route",
            f"ip {family} route add local default dev lo table {table}",
        )
    else:
        yield ok(NAME, f"{words}: packets with mark {mark} are delivered to this machine by the table {table}")


def _redirect(listener: TransparentListener, machine: Machine) -> Finding:
    port = listener.bind.port
    words = f"listener {listener.name!r}"
    if any("redirect" in rule and _port(rule["redirect"]) == port for rule in _statements(machine)):
        return ok(NAME, f"{words}: nftables redirects to port {port}")
    command = f"nft add rule inet TABLE prerouting meta l4proto tcp redirect to :{port}"
    why = "connections of clients go past the service"
    return fail(NAME, f"{words}: no rule of nftables redirects to port {port}", why, command)


def _socket(name: str, bind: SocketAddress) -> Finding:
    """Try the socket option without which nothing is transparent."""
    try:
        with socket.socket(bind.family, socket.SOCK_STREAM) as sock:
            make_transparent(sock, bind.family)
    except OSError as error:
        why = "a transparent socket takes the capability CAP_NET_ADMIN"
        return fail(NAME, f"listener {name!r}: IP_TRANSPARENT: {error.strerror}", why, "sudo fwx serve")
    return ok(NAME, f"listener {name!r}: the socket may be transparent")


def _forwarding(version: int, machine: Machine) -> Finding:
    name = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
    if machine.sysctl(name) != "0":
        return ok(NAME, f"{name} is on")
    why = "what clients send and no listener takes is dropped, such as pings; a gateway forwards"
    return warn(NAME, f"{name} is off", why, f"sysctl -w {name}=1")


def _reverse_path(machine: Machine) -> Finding:
    strict = [
        name
        for name in ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter")
        if machine.sysctl(name) == "1"
    ]
    if not strict:
        return ok(NAME, "rp_filter is not strict")
    why = "answers to clients whose way back is another interface are dropped"
    settings = " ".join(f"{name}=2" for name in strict)
    return warn(NAME, f"{' and '.join(strict)} strict", why, f"sysctl -w {settings}")


def _statements(machine: Machine) -> Iterator[dict[str, Any]]:
    """Yield each rule of nftables as one dictionary of its statements."""
    for each in machine.ruleset():
        if "rule" in each:
            yield {key: value for statement in each["rule"].get("expr", ()) for key, value in statement.items()}


def _port(statement: Any) -> int | None:
    port = statement.get("port") if isinstance(statement, dict) else None
    return port if isinstance(port, int) else None


def _mark(rule: dict[str, Any]) -> int:
    """Return the mark that a rule sets, 0 for none."""
    mangle = rule.get("mangle", {})
    if mangle.get("key") == {"meta": {"key": "mark"}} and isinstance(mangle.get("value"), int):
        return int(mangle["value"])
    return 0


def _number(value: Any) -> int:
    """Read a number as iproute2 writes it: ``0x1`` or ``1``."""
    try:
        return int(str(value).partition("/")[0], 0)
    except ValueError:
        return -1
