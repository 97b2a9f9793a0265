"""A client's leave for a secondary connection that no rule need allow (B6.5 to B6.11)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from fwx.interfaces.constants import FWX_FLAG_ADDRESS_BASED, FWX_FLAG_ALLOW_MULTIPLE

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.deadline import Deadline
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.notice import Notice
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress


class _State(Enum):
    OPEN = auto()
    TAKEN = auto()  # by a connection that is not established yet
    ENDED = auto()


class Permission:
    """Leave for one connection, or several, from the client of *session* to *target*.

    It ends when it is used up, withdrawn, when its time has run out, and with its session.

    :ivar target: a literal address, or a name that the client has to use too.
    :ivar protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
    :ivar verdict: what stands in the place of the policy's.
    :ivar own: the address of the firewall itself that it may lead to; ``None`` for none.
    :ivar leaves_from: the local address of the connection, ``None`` for any (B6.9).
    :ivar on_ended: called once, when it ends.
    """

    __slots__ = (
        "_state",
        "deadline",
        "is_address_based",
        "is_multiple",
        "leaves_from",
        "notice",
        "on_ended",
        "own",
        "protocol",
        "session",
        "target",
        "verdict",
    )

    def __init__(
        self,
        session: FWXSession,
        target: SocketAddress,
        protocol: int,
        flags: int,
        verdict: Verdict,
        notice: Notice | None = None,
        leaves_from: SocketAddress | None = None,
        own: SocketAddress | None = None,
    ) -> None:
        self.session = session
        self.target = target
        self.protocol = protocol
        self.is_multiple = bool(flags & FWX_FLAG_ALLOW_MULTIPLE)
        self.is_address_based = bool(flags & FWX_FLAG_ADDRESS_BASED)
        self.verdict = verdict
        self.notice = notice
        self.leaves_from = leaves_from
        self.own = own
        self.deadline: Deadline | None = None
        self.on_ended: Callable[[], None] | None = None
        self._state = _State.OPEN

    @property
    def host(self) -> FilterHost | None:
        """The filter that is told of its connections, if one is."""
        return None if self.notice is None else self.notice.host

    @property
    def is_open(self) -> bool:
        """A connection may be made now."""
        return self._state is _State.OPEN

    @property
    def has_ended(self) -> bool:
        return self._state is _State.ENDED

    def take(self) -> None:
        """A connection is being made; unless several are allowed, no other may meanwhile (B6.6)."""
        if not self.is_multiple and self._state is _State.OPEN:
            self._state = _State.TAKEN

    def give_back(self) -> None:
        """The connection that took it was not made: the client may try again."""
        if self._state is _State.TAKEN:
            self._state = _State.OPEN

    def use(self, connection: ConnectionBase, address: SocketAddress | None = None) -> None:
        """*connection*, which took it, is there; who wanted to know is told, with *address* or the target."""
        if self.is_multiple:
            self._stop_clock()
        else:
            self.end()
        if self.notice is not None:
            self.notice.give(connection, self.protocol, address or self.target)

    def end(self) -> None:
        """No connection may be made any more; those that are there go on. Again it does nothing."""
        if self._state is _State.ENDED:
            return
        self._state = _State.ENDED
        self._stop_clock()
        on_ended, self.on_ended = self.on_ended, None
        if on_ended is not None:
            on_ended()

    def _stop_clock(self) -> None:
        """An unused permission lapses (B6.7); this one has been used."""
        deadline, self.deadline = self.deadline, None
        if deadline is not None:
            deadline.cancel()
