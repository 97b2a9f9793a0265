"""Protocols that rules can name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self
from uuid import UUID, uuid5

from fwx.impl.networks import ANY
from fwx.interfaces.protocols import (
    GUID_NULL,
    WELL_KNOWN_PROTOCOLS,
    PortRange,
    ProtocolConnection,
    ProtocolDefinition,
    by_title,
)

_NAMESPACE: Final = UUID("6b6a6c5c-3a53-5d83-9d5b-0f2f8f6f1f11")
_LAST_PORT: Final = 0xFFFF
_OUTBOUND: Final = frozenset({"outbound", "send", "send_receive"})
_INBOUND: Final = frozenset({"inbound", "receive", "receive_send"})


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol that rules can name, with the identifier that filters see."""

    name: str
    guid: UUID
    connections: tuple[ProtocolConnection, ...]

    @classmethod
    def of(cls, definition: ProtocolDefinition) -> Self:
        """Make the protocol of a well-known *definition*; its title is the name."""
        return cls(definition.title, definition.guid, definition.connections)

    @classmethod
    def configured(cls, name: str, guid: UUID | None, connections: tuple[ProtocolConnection, ...]) -> Self:
        """Make a configured protocol; without *guid* it has the one that its *name* is known by, else a stable own."""
        known = by_title().get(name)
        return cls(name, guid or (known.guid if known else uuid5(_NAMESPACE, name)), connections)

    def outbound(self) -> Iterator[tuple[str, PortRange]]:
        """Give the transport (``TCP``) and the destination ports of each connection that a client begins."""
        return self._in_directions(_OUTBOUND)

    def inbound(self) -> Iterator[tuple[str, PortRange]]:
        """Give the transport and the ports of each connection that others begin, to where a client waits for it."""
        return self._in_directions(_INBOUND)

    def _in_directions(self, directions: frozenset[str]) -> Iterator[tuple[str, PortRange]]:
        for known in self.connections:
            if known.direction in directions:
                yield from ((known.transport.upper(), ports) for ports in known.ports)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The protocols of one transport and port: their names for rules, and the first one's for filters and the log."""

    names: frozenset[str]
    name: str
    guid: UUID


class Protocols:
    """All protocols of a policy, and which of them a transport and a port may be."""

    def __init__(self, configured: Iterable[Protocol]) -> None:
        """Know *configured*, then the well-known ones that have no name of theirs."""
        own = tuple(configured)
        replaced = {protocol.name for protocol in own}
        well_known = (Protocol.of(known) for known in WELL_KNOWN_PROTOCOLS if known.title not in replaced)
        self._all = (*own, *well_known)
        self._reach = tuple((*opening, protocol) for protocol in self._all for opening in protocol.outbound())
        self._arrivals = tuple((*opening, protocol) for protocol in self._all for opening in protocol.inbound())
        self._traffic: dict[tuple[str, int, bool], Traffic] = {}
        self.names = frozenset(protocol.name for protocol in self._all)

    def known(self, guid: UUID) -> Protocol | None:
        """Return the protocol with the identifier *guid*."""
        return next((protocol for protocol in self._all if protocol.guid == guid), None)

    def traffic(self, transport: str, port: int, arrives: bool = False) -> Traffic:
        """Return what begins at *port*; what *arrives* where somebody waits is also what a protocol calls inbound."""
        traffic = self._traffic.get((transport, port, arrives))
        if traffic is None:
            found = [
                protocol
                for known_transport, ports, protocol in ((*self._arrivals, *self._reach) if arrives else self._reach)
                if known_transport == transport and ports.first <= port <= ports.last
            ]
            name, guid = (found[0].name, found[0].guid) if found else (f"unidentified {transport}", GUID_NULL)
            names = frozenset(protocol.name for protocol in found) | {ANY}
            traffic = self._traffic[transport, port, arrives] = Traffic(names, name, guid)
        return traffic

    @cached_property
    def any_traffic(self) -> Traffic:
        """What stands for every protocol."""
        return Traffic(self.names | {ANY}, "", GUID_NULL)

    @cached_property
    def kinds(self) -> frozenset[frozenset[str]]:
        """What the rules can tell apart: the sets of names that the protocols of one transport and port have."""
        edges = {
            (transport, port)
            for transport, ports, _ in self._reach
            for port in (ports.first, ports.last + 1)
            if port <= _LAST_PORT
        }
        return frozenset(self.traffic(*edge).names for edge in edges | {("TCP", 1), ("UDP", 1)})
