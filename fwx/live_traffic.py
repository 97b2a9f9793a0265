"""What clients have open now: each TCP connection, each UDP socket and each destination of one, as a person asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fwx.impl.acceptedconnection import FWXAcceptedConnection
from fwx.impl.connection import FWXConnection
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.udpdestination import STANDING, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.connection_criteria import ConnectionCriteria
    from fwx.impl.chain import Member
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import SocketAddress


class Live(NamedTuple):
    """A connection, or one *destination* of a UDP one; a UDP connection without it is the client's socket itself."""

    connection: ConnectionBase
    destination: Destination | None = None

    @property
    def has_ended(self) -> bool:
        """It is there no longer."""
        connection, destination = self.connection, self.destination
        if connection.terminating or destination is None:
            return connection.terminating
        return destination.state is State.DENIED

    @property
    def verdict(self) -> Verdict | None:
        """What has let it in; ``None`` while that is not known."""
        verdict = self.connection.verdict if self.destination is None else self.destination.verdict
        return None if verdict is None or verdict.needs_resolution or not verdict.allowed else verdict

    @property
    def rule(self) -> str:
        """The rule that has let it in; empty where none has, or not yet."""
        return "" if self.verdict is None else self.verdict.rule

    @property
    def targets(self) -> tuple[SocketAddress, ...]:
        """What its target is called: as the client has named it, and the address that this stands for."""
        connection, destination = self.connection, self.destination
        named: Any = connection if destination is None else destination
        known = getattr(named, "target", None), getattr(named, "address", None), getattr(named, "bound", None)
        return tuple(address for address in dict.fromkeys(known) if address is not None)

    @property
    def members(self) -> list[Member]:
        """The data filters that see what passes."""
        destination = self.destination
        if destination is None:
            return self.connection.members
        known = [*destination.tied, *destination.members]
        return [*(each for each in self.connection.members if each not in known), *known]

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters that see it, by the rule, or because they see everything, or as they have attached themselves."""
        verdict = self.verdict
        named = () if verdict is None else verdict.filters
        seeing = [host.name for host in self.connection.filters if host.everywhere or host.name in named]
        return tuple(dict.fromkeys([*seeing, *(member.host.name for member in self.members)]))

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes from the client and to it."""
        if self.destination is not None:
            return self.destination.sent, self.destination.received
        return self.connection.traffic if isinstance(self.connection, FWXConnection) else (0, 0)

    @property
    def age(self) -> float:
        """Seconds since it was asked for."""
        destination = self.destination
        return self.connection.age if destination is None else self.connection.engine.clock() - destination.started

    @property
    def state(self) -> str:
        """``opening``, ``open``, or ``waiting`` for others."""
        connection, destination = self.connection, self.destination
        if destination is not None:
            return "open" if destination.state in (State.OPEN, State.HEARD) else "opening"
        if isinstance(connection, FWXConnection):
            return "open" if connection.is_established else "opening"
        return "open" if isinstance(connection, FWXDatagramConnection) else "waiting"

    @property
    def transport(self) -> str:
        """``TCP`` or ``UDP``."""
        return "UDP" if isinstance(self.connection, FWXDatagramConnection) else "TCP"

    def fits(self, criteria: ConnectionCriteria) -> bool:
        """Tell whether *criteria* mean it."""
        return criteria.fits(self.connection.session.address, self.rule, self.filters, self.targets)

    def end(self, result: int, reason: str) -> None:
        """End it, for *result* and *reason* in the log; of a UDP connection the destination alone, if there is one."""
        if self.destination is None:
            self.connection.end(result, reason)
        elif isinstance(self.connection, FWXDatagramConnection):
            self.connection.end_destination(self.destination, result, reason)

    def told(self) -> dict[str, Any]:
        """Return what JSON has for it."""
        connection, verdict = self.connection, self.verdict
        named = [str(target) for target in self.targets]
        sent, received = self.traffic
        return {
            "session": connection.session.id,
            "connection": connection.id,
            "transport": self.transport,
            "state": self.state,
            "arrived": isinstance(connection, FWXAcceptedConnection),
            "client": str(connection.client_address),
            "target": named[0] if named else "",
            "address": named[-1] if len(named) > 1 else "",
            "rule": self.rule,
            "upstream": "" if verdict is None else verdict.upstream,
            "protocol": "" if verdict is None else verdict.protocol,
            "filters": list(self.filters),
            "interface": connection.interface,
            "agent": connection.agent,
            "seconds": round(self.age, 3),
            "sent": sent,
            "received": received,
        }


def live_in(session: FWXSession, *, by_destination: bool = True) -> Iterator[Live]:
    """Go through what *session* has open, the oldest first.

    :param by_destination: give a UDP connection as its destinations, and as itself while it has none; else as itself.
    """
    for connection in sorted(session.connections, key=lambda each: each.id):
        if connection.terminating:
            continue
        destinations: list[Destination] = []
        if by_destination and isinstance(connection, FWXDatagramConnection):
            destinations = [each for each in connection.destinations if _is_live(each)]
        yield from (Live(connection, each) for each in destinations)
        if not destinations:
            yield Live(connection)


def _is_live(destination: Destination) -> bool:
    return destination.state in STANDING or destination.state is State.RESOLVING
