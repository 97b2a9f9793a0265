"""What the engine tells somebody who records connections; while nobody does, it asks once for each connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fwx.impl.connection import FWXConnection
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import SocketAddress

Passed = Callable[[Any, "SocketAddress"], None]


@dataclass(slots=True)
class Ends:
    """What a connection is established with: both transports, and what has come ahead of them."""

    client: Transport
    server: Transport | None
    prefix: bytes
    answer: bytes


class Tracer(Protocol):
    """Hears of every connection while it is the engine's ``tracer``; all calls are made on the loop thread."""

    def established(self, connection: FWXConnection, ends: Ends) -> None:
        """*connection* begins to pump between *ends*; what it is to use in their place is put there."""

    def sockets(self, connection: ConnectionBase, member: Any, made: tuple[Any, Any]) -> tuple[Any, Any]:
        """The data filter *member* gets the two sockets *made*; returns what it gets in their place."""

    def destination(
        self, connection: ConnectionBase, destination: Destination, outward: Passed, inward: Passed
    ) -> Passed:
        """*destination* of a UDP connection is open; *outward* and *inward* take its datagrams to both sides.

        Returns what is to be used in the place of *inward*. Then its chain is made, if it has one, and
        :meth:`destination_ready` is called.
        """

    def destination_ready(self, destination: Destination) -> None:
        """The chain and the exit of *destination* are there, and can be replaced."""

    def destination_denied(self, connection: ConnectionBase, destination: Destination, filter_name: str) -> None:
        """The filter *filter_name* has refused *destination*."""

    def bound(self, session: FWXSession, address: SocketAddress) -> None:
        """A filter has had a port bound for *session*: the service has chosen *address*."""

    def ended(self, connection: ConnectionBase, denied_by: str) -> None:
        """*connection* is over; *denied_by* names the filter that has refused it, if one has."""
