"""The faults that no table shows by itself: names that do not exist or exist twice, and listeners on one address.

They are sought in the data as written, so that they are found in one go with the faults of form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fwx.alert_events import event_problems
from fwx.config_model import Limits
from fwx.config_problems import KeyPath, Problem, did_you_mean
from fwx.config_source import Source
from fwx.config_values import read_bind
from fwx.directories import SEPARATOR
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.protocols import by_title
from fwx.network_problems import network_problems

DEFAULT_RULE = "Default rule"
"""The rule that is always last, by the name that it has in the log."""

_PREDEFINED: Mapping[str, frozenset[str]] = {
    "network": frozenset({"any", "external", "localhost"}),
    "computers": frozenset({"any", "external", "localhost"}),
    "domains": frozenset({"any", "external", "localhost"}),
    "urls": frozenset({"any", "external", "localhost"}),
    "protocol": frozenset({"any"}),
    "user": frozenset({"any", "authenticated"}),
    "rule": frozenset({DEFAULT_RULE}),
    "system_rule": frozenset({DEFAULT_RULE}),
}
# Networks and sets stand in the same lists, so they share their names; all rules are in one log.
_NAME_SPACES: tuple[tuple[str, ...], ...] = (
    ("network", "computers", "domains", "urls"),
    ("listener",),
    ("protocol",),
    ("user",),
    ("directory",),
    ("schedule",),
    ("upstream",),
    ("filter",),
    ("system_rule", "rule"),
    ("network_rule",),
    ("alert",),
)


# Kinds of sets that do not fit everywhere.
_SETS: Mapping[str, str] = {"computers": "computers", "domains": "domains", "urls": "URLs"}


class _Reference(NamedTuple):
    key: str
    what: str
    known: frozenset[str]


def reference_problems(source: Source) -> list[Problem]:
    """Return what is wrong with the names and addresses of *source*, in no order."""
    return [
        *_repeated_names(source),
        *_unknown_names(source),
        *_groups_of_everybody(source),
        *_users_of_directories(source),
        *_late_directories(source),
        *_loops(source),
        *_repeated_binds(source),
        *network_problems(source),
        *event_problems(source),
    ]


def _named(source: Source, table: str) -> Iterator[tuple[KeyPath, str]]:
    for path, data in source.tables(table):
        name = data.get("name")
        if isinstance(name, str):
            yield (*path, "name"), name


def _repeated_names(source: Source) -> Iterator[Problem]:
    for space in _NAME_SPACES:
        first: dict[str, KeyPath] = {}
        for table in space:
            for path, name in _named(source, table):
                if name in _PREDEFINED.get(table, ()):
                    yield source.problem(path, f"{name!r} is predefined; expected another name")
                elif name in first:
                    yield source.problem(path, _taken(source, name, first[name]))
                first.setdefault(name, path)


def _taken(source: Source, name: str, first: KeyPath) -> str:
    return f"{name!r} is already the name of a [[{first[0]}]] in line {source.lines.line(first)}; expected another name"


def _unknown_names(source: Source) -> Iterator[Problem]:
    references = _references(source)
    via = _Reference("via", "upstream", next(each.known for each in references if each.key == "upstream"))
    networks = frozenset({name for _, name in _named(source, "network")} | _PREDEFINED["network"])
    related = (_Reference("from", "network", networks), _Reference("to", "network", networks))
    for table, possible in (
        ("system_rule", references),
        ("rule", references),
        ("upstream", (via,)),
        ("network_rule", related),
    ):
        for path, data in source.tables(table):
            for reference in possible:
                for place, name in _written_names((*path, reference.key), data.get(reference.key)):
                    if name not in reference.known and not _may_be_in_directory(source, name, reference):
                        yield source.problem(place, _unknown(name, reference, source))


def _may_be_in_directory(source: Source, name: str, reference: _Reference) -> bool:
    """Users and groups of directories are not known here; those that name a directory must name one that there is."""
    if reference.key not in ("users", "groups"):
        return False
    directories = {directory for _, directory in _named(source, "directory")}
    prefix, separator, rest = name.partition(SEPARATOR)
    return prefix in directories and bool(rest) if separator else bool(directories)


def _users_of_directories(source: Source) -> Iterator[Problem]:
    """Find users of the configuration whose names are those of a directory's users."""
    directories = {directory for _, directory in _named(source, "directory")}
    for path, name in _named(source, "user"):
        prefix, separator, _ = name.partition(SEPARATOR)
        if separator and prefix in directories:
            message = f"{name!r} is the name of a user of the directory {prefix!r}; expected another name"
            yield source.problem(path, message)


def _late_directories(source: Source) -> Iterator[Problem]:
    """Find directories that may take longer than a client is waited for."""
    limits = source.data.get("limits")
    handshake = limits.get("handshake_seconds") if isinstance(limits, dict) else None
    longest = handshake if isinstance(handshake, int | float) else Limits.model_fields["handshake_seconds"].default
    for path, table in source.tables("directory"):
        seconds = table.get("timeout_seconds")
        if isinstance(seconds, int | float) and seconds >= longest:
            message = f"{seconds:g} is not less than handshake_seconds in [limits], {longest:g}: clients would be gone"
            yield source.problem((*path, "timeout_seconds"), message)


def _groups_of_everybody(source: Source) -> Iterator[Problem]:
    """Find rules that name groups beside users who are everybody: it is not clear who is meant."""
    for path, rule in (*source.tables("system_rule"), *source.tables("rule")):
        users, groups = rule.get("users"), rule.get("groups")
        if groups and isinstance(users, list) and "any" in users:
            yield source.problem((*path, "users"), "'any' is everybody; leave it out where groups are written")


def _loops(source: Source) -> Iterator[Problem]:
    """Find the upstreams that are reached through themselves; each loop is told once, where the file has it first."""
    via: dict[str, str] = {}
    for _, table in source.tables("upstream"):
        name, through = table.get("name"), table.get("via")
        if isinstance(name, str) and isinstance(through, str):
            via.setdefault(name, through)
    told: set[str] = set()
    for path, table in source.tables("upstream"):
        name = table.get("name")
        chain: list[str] = []
        while isinstance(name, str) and name in via and name not in chain:
            chain.append(name)
            name = via[name]
        if chain and name == chain[0] and name not in told:
            told.update(chain)
            yield source.problem((*path, "via"), f"leads back to {name!r}: {' via '.join([*chain, name])}")


def _references(source: Source) -> tuple[_Reference, ...]:
    defined = {space: {name for _, name in _named(source, space)} for space in (n for s in _NAME_SPACES for n in s)}
    networks = defined["network"] | defined["computers"] | _PREDEFINED["network"]
    return (
        _Reference("protocols", "protocol", frozenset(defined["protocol"] | _PREDEFINED["protocol"] | set(by_title()))),
        _Reference("from", "network", frozenset(networks)),
        _Reference("to", "network or set", frozenset(networks | defined["domains"] | defined["urls"])),
        _Reference("users", "user", frozenset(defined["user"] | _PREDEFINED["user"])),
        _Reference("groups", "group", frozenset(_groups(source))),
        _Reference("schedule", "schedule", frozenset(defined["schedule"])),
        _Reference("upstream", "upstream", frozenset(defined["upstream"])),
        _Reference("filters", "filter", frozenset(defined["filter"])),
    )


def _groups(source: Source) -> Iterator[str]:
    for path, user in source.tables("user"):
        for _, group in _written_names(path, user.get("groups")):
            yield group


def _written_names(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str):
            yield (*path, index), item


def _unknown(name: str, reference: _Reference, source: Source) -> str:
    for table, words in _SETS.items():
        if name in {each for _, each in _named(source, table)}:
            if reference.key == "from" and table != "computers":
                return f"{name!r} is a set of {words}; a source has no name, expected a network"
            return f"{name!r} is a set of {words}; expected a network"
    hint = did_you_mean(name, reference.known)
    return f"unknown {reference.what} {name!r}{hint or _all_known(reference)}"


def _all_known(reference: _Reference) -> str:
    if not reference.known:
        return f"; this file defines no {reference.what}"
    if len(reference.known) > 12:
        return f"; expected the name of a {reference.what}"
    return f"; expected one of {', '.join(sorted(reference.known))}"


def _repeated_binds(source: Source) -> Iterator[Problem]:
    earlier: list[tuple[KeyPath, SocketAddress, object]] = []
    for path, bind, transport in _binds(source):
        for other_path, other, other_transport in earlier:
            if transport == other_transport and _collide(bind, other):
                where = f"line {source.lines.line(other_path)} binds {other} already"
                yield source.problem(path, f"{bind} is taken: {where}; expected another address or port")
                break
        earlier.append((path, bind, transport))


def _binds(source: Source) -> Iterable[tuple[KeyPath, SocketAddress, object]]:
    console = source.data.get("console")
    tables = [*source.tables("listener"), *((("console",), console) for _ in (0,) if isinstance(console, dict))]
    for path, table in tables:
        text = table.get("bind")
        address = _bind_or_none(text) if isinstance(text, str) else None
        if address is not None:
            yield (*path, "bind"), address, table.get("transport", "tcp")


def _bind_or_none(text: str) -> SocketAddress | None:
    try:
        return read_bind(text)
    except ValueError:
        return None  # reported as a fault of form


def _collide(one: SocketAddress, other: SocketAddress) -> bool:
    """Tell whether the kernel refuses to listen on both; a wildcard takes the port on every address of its family."""
    if one.port != other.port or one.port == 0 or one.family != other.family:
        return False
    first, second = one.address, other.address
    assert first is not None
    assert second is not None
    return first == second or first.is_unspecified or second.is_unspecified
