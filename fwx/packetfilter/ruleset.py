"""The table as commands of nftables' JSON: its sets, its one chain, and the elements that stand for holes.

Each address family has four sets, by what a hole says: ``any`` a port, ``port`` an address and a port, ``peer`` a port
and its peer, ``flow`` all of it. Numbers are written as numbers: nftables ignores those that are text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from fwx.packetfilter.hole import PROTOCOLS, Hole
from fwx.packetfilter.nft import Command
from fwx.packetfilter.plan import Plan, Range

FAMILY = "inet"
CHAIN = "input"
HOLDER = "holder"
# Before the chains of other tables, which can still drop what this one accepts.
PRIORITY = -10

_FIELDS = {
    "any": ("protocol", "port"),
    "port": ("protocol", "local", "port"),
    "peer": ("protocol", "port", "remote", "remote_port"),
    "flow": ("protocol", "local", "port", "remote", "remote_port"),
}
_VERSIONS = (4, 6)
SETS = tuple(f"{kind}{version}" for version in _VERSIONS for kind in _FIELDS)
_NUMBERS = {name: number for number, name in PROTOCOLS.items()}


def set_of(hole: Hole) -> str:
    """Return the name of the set that *hole* belongs in."""
    if hole.remote is None:
        kind = "any" if hole.local.is_unspecified else "port"
    else:
        kind = "peer" if hole.local.is_unspecified else "flow"
    return f"{kind}{hole.local.version}"


def make_table(plan: Plan, holder: int | None, holes: Iterable[Hole], seconds: int) -> list[Command]:
    """Put a new table in the place of the one that there may be, all at once.

    :param holder: the process that answers for it; ``None`` for nobody.
    """
    table: Command = {"table": {"family": FAMILY, "name": plan.table}}
    commands: list[Command] = [{"add": table}, {"delete": table}, {"add": table}]
    commands.append({"add": {"set": {**_set(plan.table, HOLDER), "type": "mark"}}})
    if holder is not None:
        commands.append({"add": {"element": {**_set(plan.table, HOLDER), "elem": [holder]}}})
    for name in SETS:
        types = [_type(field, int(name[-1])) for field in _FIELDS[name[:-1]]]
        commands.append({"add": {"set": {**_set(plan.table, name), "type": types, "flags": ["timeout"]}}})
    chain = {"family": FAMILY, "table": plan.table, "name": CHAIN}
    hook = {"type": "filter", "hook": "input", "prio": PRIORITY, "policy": "accept"}
    commands.append({"add": {"chain": {**chain, **hook}}})
    rule = {"family": FAMILY, "table": plan.table, "chain": CHAIN}
    commands += [{"add": {"rule": {**rule, "expr": expressions}}} for expressions in _rules(plan)]
    return commands + add_holes(plan.table, holes, seconds)


def add_holes(table: str, holes: Iterable[Hole], seconds: int) -> list[Command]:
    return _elements("add", table, holes, seconds)


def delete_holes(table: str, holes: Iterable[Hole]) -> list[Command]:
    return _elements("delete", table, holes, None)


def get_holes(table: str, holes: Iterable[Hole]) -> Iterator[str]:
    """Yield a command for each set that succeeds when all of *holes* are in it."""
    for name, members in _by_set(holes).items():
        elements = ", ".join(" . ".join(str(part) for part in _key(hole)) for hole in members)
        yield f"get element {FAMILY} {table} {name} {{ {elements} }}"


def delete_table(table: str) -> list[Command]:
    return [{"delete": {"table": {"family": FAMILY, "name": table}}}]


def list_table(table: str) -> list[Command]:
    return [{"list": {"table": {"family": FAMILY, "name": table}}}]


def list_tables() -> list[Command]:
    return [{"list": {"tables": {"family": FAMILY}}}]


def holes_of(listing: Iterable[dict[str, Any]]) -> set[Hole]:
    """Return the holes that a listing of the table shows. :raises ValueError: an element is none of ours."""
    found: set[Hole] = set()
    for each in listing:
        if "set" in each and each["set"]["name"] in SETS:
            found.update(_hole(each["set"]["name"], element) for element in each["set"].get("elem", ()))
    return found


def holder_of(listing: Iterable[dict[str, Any]]) -> int | None:
    """Return the process that a listing of the table names."""
    for each in listing:
        if "set" in each and each["set"]["name"] == HOLDER:
            return next(iter(each["set"].get("elem", ())), None)
    return None


def drops_of(listing: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """Return how many packets a listing of the table says were dropped, and how many bytes they had."""
    packets = octets = 0
    for each in listing:
        expressions = each.get("rule", {}).get("expr", ())
        if {"drop": None} in expressions:
            counters = [part["counter"] for part in expressions if part.get("counter")]
            packets += sum(counter["packets"] for counter in counters)
            octets += sum(counter["bytes"] for counter in counters)
    return packets, octets


def shape_of(listing: Iterable[dict[str, Any]]) -> list[Any]:
    """Return what a listing of the table shows without what may change: elements, counters, handles."""
    return [_without_state(each) for each in listing if "metainfo" not in each]


def _rules(plan: Plan) -> list[list[Command]]:
    iifname = {"meta": {"key": "iifname"}}
    if plan.interfaces:
        outside = [_match("!=", iifname, {"set": list(plan.interfaces)})]
    else:
        outside = [_match("==", iifname, "lo")]
    accept: Command = {"accept": None}
    transparent = _match("==", {"socket": {"key": "transparent"}}, 1)
    rules = [
        [*outside, accept],
        [_match("in", {"ct": {"key": "state"}}, ["established", "related"]), accept],
        # What goes to others and was diverted to a transparent socket on purpose.
        [_match("!=", {"fib": {"result": "type", "flags": ["daddr"]}}, "local"), transparent, accept],
    ]
    if plan.redirected:
        # The destination has been rewritten on purpose; whoever addresses the port itself has no such mark.
        ports = {"set": [_range(each) for each in plan.redirected]}
        dport = _match("==", {"payload": {"protocol": "tcp", "field": "dport"}}, ports)
        rules.append([dport, _match("in", {"ct": {"key": "status"}}, "dnat"), accept])
    for name in SETS:
        version = int(name[-1])
        parts = [_expression(field, version) for field in _FIELDS[name[:-1]]]
        family = _match("==", {"meta": {"key": "nfproto"}}, f"ipv{version}")
        rules.append([family, _match("==", {"concat": parts}, f"@{name}"), accept])
    for protocol, ranges in (("tcp", plan.tcp), ("udp", plan.udp)):
        if ranges:
            ports = {"set": [_range(each) for each in ranges]}
            dport = {"payload": {"protocol": protocol, "field": "dport"}}
            rules.append([_match("==", dport, ports), {"counter": None}, {"drop": None}])
    return rules


def _match(operator: str, left: Any, right: Any) -> Command:
    return {"match": {"op": operator, "left": left, "right": right}}


def _range(ports: Range) -> Any:
    return ports[0] if ports[0] == ports[1] else {"range": list(ports)}


def _type(field: str, version: int) -> str:
    if field == "protocol":
        return "inet_proto"
    return f"ipv{version}_addr" if field in ("local", "remote") else "inet_service"


def _expression(field: str, version: int) -> Command:
    ip = "ip" if version == 4 else "ip6"
    match field:
        case "protocol":
            return {"meta": {"key": "l4proto"}}
        case "local" | "remote":
            return {"payload": {"protocol": ip, "field": "daddr" if field == "local" else "saddr"}}
    return {"payload": {"protocol": "th", "field": "dport" if field == "port" else "sport"}}


def _set(table: str, name: str) -> Command:
    return {"family": FAMILY, "table": table, "name": name}


def _elements(operation: str, table: str, holes: Iterable[Hole], seconds: int | None) -> list[Command]:
    commands: list[Command] = []
    for name, members in _by_set(holes).items():
        values: list[Any] = [{"concat": _key(hole)} for hole in members]
        if seconds is not None:
            values = [{"elem": {"val": value, "timeout": seconds}} for value in values]
        commands.append({operation: {"element": {**_set(table, name), "elem": values}}})
    return commands


def _by_set(holes: Iterable[Hole]) -> dict[str, list[Hole]]:
    found: dict[str, list[Hole]] = defaultdict(list)
    for hole in holes:
        found[set_of(hole)].append(hole)
    return found


def _key(hole: Hole) -> list[str | int]:
    fields = _FIELDS[set_of(hole)[:-1]]
    values: dict[str, str | int] = {
        "protocol": PROTOCOLS[hole.protocol],
        "local": str(hole.local),
        "port": hole.port,
        "remote": str(hole.remote),
        "remote_port": hole.remote_port,
    }
    return [values[field] for field in fields]


def _hole(name: str, element: Any) -> Hole:
    try:
        value = element["elem"]["val"] if "elem" in element else element
        parts = dict(zip(_FIELDS[name[:-1]], value["concat"], strict=True))
        unspecified = "0.0.0.0" if name.endswith("4") else "::"  # noqa: S104  stands for every address
        protocol = parts["protocol"]
        return Hole(
            _NUMBERS[protocol] if protocol in _NUMBERS else int(protocol),
            ip_address(parts.get("local", unspecified)),
            parts["port"],
            ip_address(parts["remote"]) if "remote" in parts else None,
            parts.get("remote_port", 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the set {name} has {element!r} in it") from error


def _without_state(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {"handle", "packets", "bytes", *(("elem",) if value.get("name") in (*SETS, HOLDER) else ())}
        return {key: _without_state(each) for key, each in value.items() if key not in hidden}
    if isinstance(value, list):
        return [_without_state(each) for each in value]
    return value
