"""Does a real connection arrive? Tried in a copy of this machine's rules and routes, so that nobody is disturbed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fwx.config_model import TransparentListener
from fwx.doctor.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from fwx.doctor.machine import Machine

NAME = "transparent"
MOST_INTERFACES = 16
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_SECONDS = 120.0
# What clients often use; the ports that the rules of the machine name come before.
_PORTS = {"tcp": (80, 443, 25), "udp": (53, 123, 443)}
_MOST_PORTS = 16

_WHY = {
    "nothing": "nobody knows what becomes of what clients send",
    "came": "packets of clients go past the service, or are dropped",
    "diverted": "diverted packets are routed as if they were not, and do not reach the listener",
    "delivered": "diverted packets reach this machine and are dropped there",
}


class ProbeError(Exception):
    """Nothing could be tried; says why."""


class NotRootError(ProbeError):
    """Nothing is tried for an ordinary user."""


def check_arrivals(listeners: Sequence[TransparentListener], machine: Machine) -> Iterator[Finding]:
    """Try each of *listeners*, of which nothing is known to be missing."""
    if not listeners:
        return
    try:
        answers = machine.try_listeners(listeners)
    except NotRootError as error:
        yield ok(NAME, f"no connection has been tried: {error}")
        return
    except ProbeError as error:
        yield warn(NAME, f"no connection could be tried: {error}", "nobody knows whether one would arrive")
        return
    for listener, answer in zip(listeners, answers, strict=True):
        yield from _findings(listener, answer)


def _findings(listener: TransparentListener, answer: dict[str, Any]) -> Iterator[Finding]:
    words = f"listener {listener.name!r}"
    what = "a datagram" if listener.transport == "udp" else "a connection"
    if "error" in answer:
        yield warn(NAME, f"{words}: {what} cannot be tried: {answer['error']}", "nobody knows whether it would arrive")
        return
    arrived, lost = answer["arrived"], answer["lost"]
    if arrived:
        by = ", ".join(f"{name} (port {port})" for name, port in arrived.items())
        others = f"; not by {', '.join(lost)}" if lost else ""
        yield ok(NAME, f"{words}: {what} to somebody else arrives that comes in by {by}{others}")
    elif not lost:
        yield ok(NAME, f"{words}: {what} cannot be tried: no interface has an address of its family")
    else:
        furthest = next(stage for stage in ("delivered", "diverted", "came", "nothing") if stage in lost.values())
        yield fail(NAME, f"{words}: {what} {_FOUND[furthest]}", _WHY[furthest], _mend(listener, furthest))


_FOUND = {
    "nothing": "to somebody else does not come in by any interface",
    "came": "to somebody else comes in, and no rule of nftables diverts it",
    "diverted": "to somebody else is diverted, and not delivered to this machine",
    "delivered": "to somebody else is diverted and delivered, and does not reach the listener",
}


def _mend(listener: TransparentListener, stage: str) -> str:
    family = "-6" if listener.bind.family == socket.AF_INET6 else "-4"
    match stage:
        case "came":
            return f"nft -a list ruleset: change what the rule for port {listener.bind.port} asks of a packet"
        case "diverted":
            return f"ip {family} route add local default dev lo table 100"
        case "delivered":
            passes = "socket transparent 1" if listener.mode == "tproxy" else "ct status dnat"
            return f"nft insert rule inet TABLE input {passes} accept"
    return "nft -a list ruleset"


def try_in_a_copy(listeners: Sequence[TransparentListener], machine: Machine) -> list[dict[str, Any]]:
    """Return what came of each listener. :raises ProbeError: nothing could be tried."""
    if not machine.is_root():
        raise NotRootError("it takes root, for a network namespace")
    try:
        asked = describe(listeners, machine)
    except OSError as error:
        raise ProbeError(f"the machine does not tell: {error}") from error
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "fwx.doctor.copied"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"it takes longer than {_SECONDS:g} s") from error
    if ended.returncode:
        raise ProbeError(ended.stderr.strip().rpartition("\n")[2])
    told: dict[str, Any] = json.loads(ended.stdout)
    if "error" in told:
        raise ProbeError(told["error"])
    answers: list[dict[str, Any]] = told["listeners"]
    return answers


def describe(listeners: Sequence[TransparentListener], machine: Machine) -> dict[str, Any]:
    """Describe what :mod:`fwx.doctor.copied` copies. :raises OSError: it cannot be had."""
    interfaces = [
        {
            "name": each["ifname"],
            "addresses": [
                f"{address['local']}/{address['prefixlen']}"
                for address in each.get("addr_info", ())
                if address.get("scope") == "global" and "local" in address
            ],
        }
        for each in machine.ip("address", "show", "up")
        if "LOOPBACK" not in each.get("flags", ())
    ][:MOST_INTERFACES]
    settings = {name: machine.sysctl(name) for name in _settings([each["name"] for each in interfaces])}
    rules, routes = {}, {}
    for family in ("4", "6"):
        rules[family] = _saved(f"-{family}", "rule", "save")
        tables = {str(rule.get("table")) for rule in machine.ip(f"-{family}", "rule", "show") if "fwmark" in rule}
        tables -= {"local", "main", "default", "None"}
        routes[family] = [_saved(f"-{family}", "route", "save", "table", table) for table in sorted(tables)]
    return {
        "interfaces": interfaces,
        "settings": settings,
        "rules": rules,
        "routes": routes,
        "ruleset": _program("nft", "list", "ruleset").decode(),
        "listeners": [
            {
                "mode": each.mode,
                "transport": each.transport,
                "host": each.bind.host,
                "port": each.bind.port,
                "try": _ports(each.transport, machine),
            }
            for each in listeners
        ],
    }


def _settings(interfaces: Sequence[str]) -> Iterator[str]:
    yield from ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    for name in ("all", "default", *(each for each in interfaces if "." not in each)):
        yield f"net.ipv4.conf.{name}.rp_filter"


def _ports(transport: str, machine: Machine) -> list[int]:
    """Return the ports to try: those that the rules which divert name, then common ones."""
    named = [port for rule in machine.ruleset() for port in _destination_ports(rule, transport)]
    return list(dict.fromkeys([*named, *_PORTS[transport]]))[:_MOST_PORTS]


def _destination_ports(each: dict[str, Any], transport: str) -> Iterator[int]:
    statements = each.get("rule", {}).get("expr", ())
    if not any("tproxy" in statement or "redirect" in statement for statement in statements):
        return
    for statement in statements:
        match = statement.get("match", {})
        left = match.get("left", {})
        payload = left.get("payload", {}) if isinstance(left, dict) else {}
        if payload.get("field") != "dport" or payload.get("protocol") not in (transport, "th"):
            continue
        right = match.get("right")
        values = right.get("set", [right]) if isinstance(right, dict) else [right]
        for value in values:
            first = value["range"][0] if isinstance(value, dict) and "range" in value else value
            if isinstance(first, int) and 0 < first <= 0xFFFF:
                yield first


def _saved(*arguments: str) -> str:
    return b64encode(_program("ip", *arguments)).decode()


def _program(name: str, *arguments: str) -> bytes:
    """:raises OSError: it is not there, or fails."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        raise FileNotFoundError(f"there is no program {name}")
    try:
        ended = subprocess.run(  # noqa: S603  a program of the system's, by its full path
            [program, *arguments], capture_output=True, check=False, timeout=10
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{name} {' '.join(arguments)}: {error}") from error
    if ended.returncode:
        raise OSError(f"{name} {' '.join(arguments)}: {ended.stderr.decode(errors='replace').strip()}")
    return ended.stdout
