"""A destination of a UDP connection: judged once, shown to the filters once, remembered while it is used."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXUdpDestination
from fwx.interfaces.hresult import E_INVALIDARG, FWX_E_BAD_CONTEXT, COMError

if TYPE_CHECKING:
    from fwx.impl.chain import Member
    from fwx.impl.datagramchain import Datagram, DatagramChain
    from fwx.impl.destinationevent import HasDestinations
    from fwx.impl.permission import Permission
    from fwx.impl.policy import Verdict
    from fwx.impl.rulequotas import Place
    from fwx.impl.upstreamdatagrams import UpstreamDatagrams
    from fwx.interfaces import SocketAddress

MOST_WAITING = 16
"""Datagrams that wait while a destination's name is looked up, or its upstream asked; more are lost."""


class Exit(Protocol):
    """What datagrams leave by: a socket, or an association with an upstream."""

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None: ...

    def take_error(self) -> object: ...


class State(Enum):
    """How a destination stands."""

    RESOLVING = auto()
    ASSOCIATING = auto()
    OPEN = auto()
    HEARD = auto()  # it has written to the client, who has not asked for it
    DENIED = auto()


STANDING = frozenset({State.ASSOCIATING, State.OPEN, State.HEARD})
"""What is logged when it ends."""


class Destination:
    """What the connection remembers of one destination (B2.16).

    :ivar target: what the client named. :ivar address: the literal address that it stands for, once it is known; of a
        name that an upstream looks up it stays ``None``. :ivar way: the upstream's association that leads there.
    :ivar exit: what sends to it once it is open, and *sockaddr* where to.
    :ivar answering: the addresses that its answers come from.
    :ivar secondary: a filter has announced it, or approved that it writes to the client (B2.11).
    :ivar permission: what lets the client reach it, where that is no rule.
    :ivar place: what it occupies of its rule's limits.
    :ivar members: the filters that were attached for this destination alone (B2.18). :ivar tied: those that go with it,
        and see every datagram of the connection.
    :ivar is_barred: the connection's IP filter is why it is denied.
    """

    __slots__ = (
        "address",
        "answering",
        "cancel",
        "chain",
        "exit",
        "hides_behind",
        "is_barred",
        "logged_at",
        "logged_before",
        "members",
        "permission",
        "place",
        "received",
        "secondary",
        "sent",
        "sockaddr",
        "started",
        "state",
        "target",
        "tied",
        "verdict",
        "waiting",
        "way",
    )

    def __init__(self, target: SocketAddress, started: float) -> None:
        self.target = target
        self.started = self.logged_at = started
        # Bytes sent and received and milliseconds, of the last record that said them.
        self.logged_before = (0, 0, 0)
        self.state = State.RESOLVING
        self.address: SocketAddress | None = None
        self.verdict: Verdict | None = None
        self.permission: Permission | None = None
        # The own address that a network rule has it leave by, where others show the client's.
        self.hides_behind: SocketAddress | None = None
        self.place: Place | None = None
        self.secondary = False
        self.members: list[Member] = []
        self.tied: list[Member] = []
        self.is_barred = False
        self.chain: DatagramChain | None = None
        self.cancel: object = None
        self.waiting: deque[Datagram] = deque()
        self.way: UpstreamDatagrams | None = None
        self.exit: Exit | None = None
        self.sockaddr: tuple[Any, ...] = ()
        self.answering: set[SocketAddress] = set()
        self.sent = 0
        self.received = 0

    def takes_more(self) -> bool:
        """Tell whether one more datagram may wait."""
        return len(self.waiting) < MOST_WAITING

    @property
    def bytes_waiting(self) -> int:
        """Bytes that wait here, or in its chain."""
        return sum(map(len, self.waiting)) + (0 if self.chain is None else self.chain.backlog)

    def give_place_back(self) -> None:
        """It is no longer one of those that its rule counts."""
        place, self.place = self.place, None
        if place is not None:
            place.give_back()

    @property
    def leaves_from(self) -> SocketAddress | None:
        """The own address that a filter (B6.9) or a network rule wants datagrams to leave by; ``None`` for any."""
        return self.hides_behind if self.permission is None else self.permission.leaves_from


@implementer(IFWXUdpDestination)
class FWXUdpDestination(Unknown):
    """The object that ``fwx_Udp_Destination`` brings (B2.15)."""

    __slots__ = ("_connection", "_valid")

    def __init__(self, connection: HasDestinations) -> None:
        self._connection = connection
        self._valid = True

    def Deny(self, Reserved: int) -> None:
        """Refuse the destination: this datagram and every later one to it are thrown away (B2.19).

        :raises COMError: ``E_INVALIDARG`` *Reserved* is not 0; ``FWX_E_BAD_CONTEXT`` outside the handler of its event.
        """
        if Reserved != 0:
            raise COMError(E_INVALIDARG, "Reserved must be 0")
        if not self._valid or not self._connection.deny_destination():
            raise COMError(FWX_E_BAD_CONTEXT, "Deny is for the handler of fwx_Udp_Destination")

    def invalidate(self) -> None:
        """The event is over."""
        self._valid = False
