"""A port at an upstream: asked for by BIND, through the chain, and waited at until the one peer is there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fwx.impl.passage import Handshake, Hop, Passage
from fwx.impl.transport import INPUT
from fwx.impl.winsock import winsock_code, winsock_name
from fwx.interfaces.hresult import WSAECONNABORTED, WSAECONNRESET

if TYPE_CHECKING:
    from fwx.impl.departure import Departure
    from fwx.impl.dial import Dialled
    from fwx.impl.engine import Engine
    from fwx.impl.route import Upstream
    from fwx.impl.transport import Transport
    from fwx.interfaces import SocketAddress

logger = logging.getLogger("fwx.upstreambind")

_BLOCK = 16 << 10


class BindHandshake(Handshake, Protocol):
    """The client's side of BIND, without I/O; the host hands it in. It is established twice.

    :ivar bound: what the latest reply says: where others may connect, then who has; ``None`` where it says no address.
    """

    @property
    def bound(self) -> SocketAddress | None: ...

    def expect_peer(self) -> None:
        """Go on after the first reply: :meth:`receive` takes the second one, whose beginning ``early`` may be.

        :raises OSError: as :meth:`receive`.
        """


class UpstreamOwner(Protocol):
    """Told how it goes; the binding."""

    def upstream_listens(self, bound: SocketAddress) -> None:
        """Others may connect to *bound*."""

    def upstream_accepted(self, peer: SocketAddress, transport: Transport, early: bytes) -> None:
        """The connection of *peer* is carried by *transport*, which is the owner's now, after *early*."""

    def upstream_failed(self, code: int, reason: str) -> None:
        """Nobody will come, because of the Windows error *code*; *reason* is for the log."""


class UpstreamBind:
    """One request to the upstream of a route to bind. Its owner is told until it is cancelled, or has failed."""

    __slots__ = ("_cancel", "_handshake", "_name", "_owner", "_transport")

    def __init__(self, owner: UpstreamOwner, name: str) -> None:
        """*name* is the upstream's, for the log."""
        self._owner: UpstreamOwner | None = owner
        self._name = name
        self._cancel: Callable[[], None] | None = None
        self._handshake: BindHandshake | None = None
        self._transport: Transport | None = None

    def start(self, engine: Engine, departure: Departure, upstream: Upstream, peer: SocketAddress) -> None:
        """Ask *upstream*, which can bind, for a port that *peer* may connect to; the unspecified address is anybody."""
        passage = Passage(
            engine, departure, (*upstream.hops[:-1], self._asking(upstream)), [peer], upstream.failure, self._bound
        )
        self._cancel = passage.cancel
        passage.start()

    def cancel(self) -> None:
        """Give up; the owner is told no more."""
        self._owner = None
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close(True)

    def _asking(self, upstream: Upstream) -> Hop:
        def connect(peer: SocketAddress) -> Handshake:
            assert upstream.binding is not None
            self._handshake = upstream.binding(peer)
            return self._handshake

        return upstream.hops[-1]._replace(connect=connect)

    def _bound(self, dialled: Dialled) -> None:
        """The first reply is there."""
        self._cancel = None
        if self._owner is None:
            return
        if dialled.transport is None:
            self._fail(dialled.code, dialled.reason)
            return
        self._transport = dialled.transport
        handshake = self._handshake
        assert handshake is not None
        bound = handshake.bound
        if bound is None or not bound.port:
            self._fail(WSAECONNABORTED, f"upstream {self._name!r}: its reply says no address to connect to")
            return
        assert bound.address is not None
        if bound.address.is_unspecified and dialled.peer is not None:
            bound = dialled.peer.with_port(bound.port)  # as RFC 1928's implementations mean it: where it was reached
        self._owner.upstream_listens(bound)
        transport = self._transport
        if transport is None:
            return
        try:
            handshake.expect_peer()
        except OSError as error:
            self._broken(error)
            return
        if not self._has_come(handshake):
            transport.watch(self._event)

    def _event(self, mask: int) -> None:
        transport, handshake = self._transport, self._handshake
        if transport is None or handshake is None or not mask & INPUT:
            return
        try:
            while not handshake.established:
                data = transport.recv(_BLOCK)
                if not data:
                    self._fail(WSAECONNRESET, f"upstream {self._name!r}: it closed the connection before anybody came")
                    return
                handshake.receive(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error)
            return
        self._has_come(handshake)

    def _has_come(self, handshake: BindHandshake) -> bool:
        """Hand over what the second reply speaks of, if it is there."""
        owner, transport = self._owner, self._transport
        if not handshake.established or owner is None or transport is None:
            return False
        peer = handshake.bound
        if peer is None:
            self._fail(WSAECONNABORTED, f"upstream {self._name!r}: its second reply says no address")
            return True
        self._owner = self._transport = None
        owner.upstream_accepted(peer, transport, handshake.early)
        return True

    def _broken(self, error: OSError) -> None:
        code = winsock_code(error)
        self._fail(code, f"upstream {self._name!r}: {error.strerror or winsock_name(code)}")

    def _fail(self, code: int, reason: str) -> None:
        owner = self._owner
        self.cancel()
        if owner is not None:
            owner.upstream_failed(code, reason)
