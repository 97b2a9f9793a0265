"""An onward connection of a client that speaks plain HTTP, seen from its client's side."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.gateway import Request
from fwx.impl.transport import INPUT
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceWSP
from fwx.pipe import pipe
from fwx.proxy.http_forward import ForwardRequest, ServerSide

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.deadline import Deadline
    from fwx.impl.user import FWXAuthenticatedUser

logger = logging.getLogger("fwx.onward")

_BLOCK = 64 << 10


class Forwarder(Protocol):
    """Whom an onward connection belongs to (:class:`fwx.http_forwarder.HttpForwarder`)."""

    entrance: Entrance
    arrival: Arrival
    request: ForwardRequest | None
    user: FWXAuthenticatedUser | None

    def connected(self, onward: Onward) -> bool: ...

    def refused(self, onward: Onward, result: int) -> None: ...

    def onward_event(self, onward: Onward) -> None: ...

    def onward_gone(self, onward: Onward) -> None: ...


class Onward:
    """One onward connection; the gateway's entry for it."""

    __slots__ = (
        "_deadline",
        "_far",
        "_forwarder",
        "body_ended",
        "exchanges",
        "is_leaving",
        "near",
        "pending",
        "readable",
        "side",
        "target",
        "user",
    )

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        arrival = forwarder.arrival
        assert forwarder.request is not None
        self.target = forwarder.request.target
        self.user = forwarder.user
        queue = forwarder.entrance.gateway.engine.queue
        self.near, self._far = pipe(queue, arrival.address.sockaddr, arrival.destination.sockaddr)
        self.side = ServerSide()
        self.pending: Any = b""
        self.readable = False
        self.body_ended = False
        self.exchanges = 0
        self.is_leaving = False
        self._deadline: Deadline | None = None
        self.near.watch(self._event)

    @property
    def can_be_used(self) -> bool:
        """Another request may go to the server."""
        return not (self.pending or self.is_leaving or self.near.has_data()) and self.side.is_reusable

    def open(self, agent: str) -> None:
        """Ask the gateway for the connection."""
        entrance, arrival = self._forwarder.entrance, self._forwarder.arrival
        entrance.gateway.open(
            Request(
                self,
                self._far,
                arrival.address,
                self.target,
                source=fwxSourceWSP,
                interface=entrance.name,
                agent=agent,
                user=self.user,
                source_proxy=arrival.source_proxy,
                proxy_header=arrival.header,
            )
        )

    def begin(self, request: ForwardRequest) -> None:
        """Send a request's head; its body follows."""
        self.pending = self.side.begin(request)
        self.body_ended = False
        self.exchanges += 1

    def flush(self) -> bool:
        """Send what is pending; tell whether something went. :raises OSError: the connection is gone."""
        if not self.pending:
            return False
        try:
            count = self.near.send(self.pending)
        except BlockingIOError:
            return False
        self.pending = memoryview(self.pending)[count:] if count < len(self.pending) else b""
        return True

    def receive(self) -> bool:
        """Read once; tell whether there was something. :raises OSError: the connection was reset."""
        if not self.readable:
            return False
        try:
            data = self.near.recv(_BLOCK)
        except BlockingIOError:
            self.readable = False
            return False
        if data:
            self.side.receive(data)
        else:
            self.readable = False
            self.side.end()
        return True

    def leave(self) -> None:
        """End the connection: the server gets FIN and is waited for, for a short while."""
        if not self.is_leaving:
            self.is_leaving = True
            self._deadline = self._forwarder.entrance.farewells.add(self.abort)
            self.near.shutdown_write()
            self._drain()

    def abort(self) -> None:
        """Reset the connection."""
        self._close(True)

    # The gateway's side.

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  HTTP does not tell the local address
        return self._forwarder.connected(self)

    def refused(self, result: int) -> None:
        self._far.close(False)
        self.near.close(False)
        self._forwarder.refused(self, result)

    def _event(self, mask: int) -> None:
        if mask & INPUT:
            self.readable = True
        if self.is_leaving:
            self._drain()
        else:
            self._forwarder.onward_event(self)

    def _drain(self) -> None:
        try:
            while self.near.recv(_BLOCK):
                pass
        except BlockingIOError:
            return
        except OSError as error:
            logger.debug("the connection to %s did not end well: %s", self.target, error)
        self._close(False)

    def _close(self, abortive: bool) -> None:
        if self.near.closed:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self.is_leaving = True
        self.near.close(abortive)
        self._forwarder.onward_gone(self)
