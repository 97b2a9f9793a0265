"""The ways out: straight, or through an upstream, which may be reached through another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from fwx.impl.dial import Dial, Dialled
from fwx.impl.passage import Handshake, Hop, Passage

if TYPE_CHECKING:
    from fwx.impl.alert import EventDefinition
    from fwx.impl.departure import Departure
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.upstreambind import BindHandshake
    from fwx.impl.upstreamdatagrams import Relaying
    from fwx.interfaces import SocketAddress


class Route(Protocol):
    """One way out. Datagrams take it by :class:`fwx.impl.datagramways.DatagramWays`.

    :ivar takes_names: a name that may be reached need not be resolved here.
    :ivar no_datagrams: why it carries no datagrams, in words for the log; empty where it does.
    :ivar path: the names of the upstreams on the way, the nearest first, joined by a comma and a space.
    """

    takes_names: bool
    no_datagrams: str
    path: str

    def dial(
        self,
        engine: Engine,
        departure: Departure,
        target: SocketAddress,
        addresses: list[SocketAddress] | None,
        done: Callable[[Dialled], None],
    ) -> Callable[[], None]:
        """Connect to *target*; *done* is called once, later or inside the call. Returns what cancels it.

        :param addresses: the literal addresses of *target* that may be reached, the preferred one first; ``None`` on a
            route that takes names, when the name itself may be.
        """


class Direct:
    """Straight out."""

    takes_names = False
    no_datagrams = ""
    path = ""

    def dial(
        self,
        engine: Engine,
        departure: Departure,
        target: SocketAddress,
        addresses: list[SocketAddress] | None,
        done: Callable[[Dialled], None],
    ) -> Callable[[], None]:
        dial = Dial(engine, departure, addresses or [], done)
        dial.start()
        return dial.cancel


class Upstream:
    """Through a proxy server, and before that through those it is reached by (B8.1)."""

    takes_names = True

    def __init__(
        self,
        name: str,
        address: SocketAddress,
        connect: Callable[[SocketAddress], Handshake],
        failure: EventDefinition,
        via: Upstream | None = None,
        relaying: Relaying | None = None,
        *,
        binding: Callable[[SocketAddress], BindHandshake] | None = None,
    ) -> None:
        """:param name: for the log. :param address: where it listens, a literal or a name.

        :param connect: makes the handshake that asks it for a connection to an address or a name.
        :param failure: signalled when the upstream itself fails, or refuses the account. :param via: what it is
            reached through. :param relaying: how it relays datagrams, ``None`` where its protocol has no way to.
        :param binding: makes the handshake that asks it to bind for an address; ``None`` where its protocol cannot.
        """
        self.name = name
        self.via = via
        self.relaying = relaying
        self.binding = binding
        self.no_datagrams: str = via.no_datagrams if via is not None else ""
        if relaying is None:
            self.no_datagrams = f"through upstream {name!r}, whose protocol carries no UDP"
        self.hops: tuple[Hop, ...] = (*(via.hops if via is not None else ()), Hop(name, address, connect))
        self.path = ", ".join(hop.name for hop in self.hops)
        self.failure = failure

    def dial(
        self,
        engine: Engine,
        departure: Departure,
        target: SocketAddress,
        addresses: list[SocketAddress] | None,
        done: Callable[[Dialled], None],
    ) -> Callable[[], None]:
        targets = [target] if addresses is None else addresses
        passage = Passage(engine, departure, self.hops, targets, self.failure, done)
        passage.start()
        return passage.cancel


def routes(upstreams: Iterable[Upstream] = ()) -> Mapping[str, Route]:
    """Return the routes of a service by the names that rules call them; straight out has none."""
    return {"": Direct(), **{upstream.name: upstream for upstream in upstreams}}


def path_of(engine: Engine, verdict: Verdict) -> str:
    """Return the upstreams that a connection of *verdict* goes through, for the log (B8.10)."""
    route = engine.routes.get(verdict.upstream)
    return "" if route is None else route.path
