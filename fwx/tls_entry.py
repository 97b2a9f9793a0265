"""The TLS of a listener: its handshake comes before whatever the client says in plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action
from fwx.impl.tlshandshake import Secured, TlsHandshake
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED, WSAETIMEDOUT

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.tlsrole import Role


class TlsEntry:
    """Shakes hands with a client before a deadline, then hands it on: from there on it is one in plain.

    Who fails gets the alert that TLS has for it, and a record; who speaks no TLS is reset.
    """

    __slots__ = ("_arrival", "_entrance", "_handshake", "_next")

    def __init__(
        self, entrance: Entrance, arrival: Arrival, role: Callable[[], Role], then: Callable[[Arrival], object]
    ) -> None:
        """*role* makes the server's part of one handshake; *then* gets the client with TLS taken off."""
        self._entrance = entrance
        self._arrival = arrival
        self._next = then
        gateway = entrance.gateway
        self._handshake = TlsHandshake(
            arrival.client,
            role(),
            arrival.early,
            "the client",
            gateway.engine.queue,
            gateway.stragglers,
            entrance.handshakes,
            self._ended,
        )
        entrance.handshaking.add(self)
        self._handshake.start()

    def close(self) -> None:
        """The service stops."""
        self._handshake.cancel()
        self._leave(WSAECONNABORTED, "the service is stopping")

    def _ended(self, secured: Secured) -> None:
        if secured.transport is not None:
            self._entrance.handshaking.discard(self)
            self._next(self._arrival._replace(client=secured.transport, early=b""))
            return
        setting = " (handshake_seconds)" if secured.code == WSAETIMEDOUT else ""
        self._leave(secured.code, secured.reason + setting)
        if secured.alert:
            self._entrance.say_farewell(self._arrival.client, secured.alert)
        else:
            self._arrival.client.close(True)

    def _leave(self, code: int, reason: str) -> None:
        """The client gets no connection."""
        entrance = self._entrance
        entrance.handshaking.discard(self)
        entrance.release(self._arrival.address)
        entrance.log(self._arrival.address, Action.Failed, HRESULT_FROM_WIN32(code), reason)
