"""What a change means for what runs: what may not change without a restart, which listeners and filters stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os.path import realpath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.config_model import TransparentListener
from fwx.config_problems import KeyPath, Problem

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.config_model import Listener

LIVE_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "service": frozenset({"blocked_loop_seconds"}),
    "log": frozenset({"establish", "intermediate_seconds"}),
    "packet_filter": frozenset(),
    "console": frozenset(),
}
"""Of the tables that take a restart, the keys that do not; every other table changes while the service runs."""

_RESTART: Final = "it takes a restart"


def restart_problems(old: Configuration, new: Configuration, *, makes_sockets: bool) -> list[Problem]:
    """Return what *new* has otherwise than *old* and a running service cannot take, each with its key.

    :param makes_sockets: whether the service has what makes sockets that speak for others.
    """
    found = [*_settings(old, new), *_folders(old, new), *_transparent(old, new, makes_sockets)]
    return [new.source.problem(path, f"{words}; {_RESTART}") for path, words in found]


def _settings(old: Configuration, new: Configuration) -> Iterator[tuple[KeyPath, str]]:
    for name, live in LIVE_KEYS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before is None or after is None:
            if before is not after:
                yield (name,), "is changed"
            continue
        for key, field in type(after).model_fields.items():
            written = field.alias or key
            # Paths are compared where they lead, below.
            if written not in live | {"state_dir", "sqlite"} and getattr(before, key) != getattr(after, key):
                yield (name, written), "is changed"


def _folders(old: Configuration, new: Configuration) -> Iterator[tuple[KeyPath, str]]:
    if realpath(new.state_dir) != realpath(old.state_dir):
        yield ("service", "state_dir"), f"is {new.state_dir}, and the service runs with {old.state_dir}"
    elif realpath(new.log_database) != realpath(old.log_database):
        yield ("log", "sqlite"), f"is {new.log_database}, and the service runs with {old.log_database}"


def _transparent(old: Configuration, new: Configuration, makes_sockets: bool) -> Iterator[tuple[KeyPath, str]]:
    staying = matched(old.listeners, new.listeners).kept
    for index, table in enumerate(new.listeners):
        if not isinstance(table, TransparentListener):
            continue
        place: KeyPath = ("listener", index)
        if table.name not in staying and table.mode == "tproxy":
            yield (*place, "bind"), "is a port that takes what is sent to others, which root alone can open"
        elif table.name not in staying and new.packet_filter.backend == "nftables":
            yield (*place, "bind"), "is a port that the packet filter has to know from its start"
        if table.makes_sockets and not makes_sockets:
            key = "transport" if table.transport == "udp" else "keep_client_address"
            yield (*place, key), "needs sockets that speak for others, which root alone can have made"


class Matching(NamedTuple):
    """Which listeners stay open.

    :ivar kept: the names of those that do, with what each was called. :ivar coming: the places of those that do not, in
        the new order. :ivar going: the names of those that are closed.
    """

    kept: Mapping[str, str]
    coming: tuple[int, ...]
    going: tuple[str, ...]


def matched(old: tuple[Listener, ...], new: tuple[Listener, ...]) -> Matching:
    """Say which listeners *new* has in common with *old*: those with the same socket, whatever else they have.

    One that gets another name stays open, unless its port is any free one.
    """
    kept: dict[str, str] = {}
    left = {table.name: place_of(table) for table in old}
    for table in new:
        if left.get(table.name) == place_of(table):
            kept[table.name] = table.name
            del left[table.name]
    for table in new:
        if table.name in kept or table.bind.port == 0:
            continue
        before = next((name for name, place in left.items() if place == place_of(table)), None)
        if before is not None:
            kept[table.name] = before
            del left[before]
    coming = tuple(index for index, table in enumerate(new) if table.name not in kept)
    return Matching(kept, coming, tuple(left))


def place_of(table: Any) -> tuple[str, str, object]:
    """Return what makes two listeners have one socket: the transport, how clients are diverted, and the address."""
    diversion = table.mode if isinstance(table, TransparentListener) else ""
    return getattr(table, "transport", "tcp"), diversion, table.bind
