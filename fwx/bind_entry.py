"""The way in for BIND: a client of the proxy port that waits for one connection from outside."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fwx.entrance import outcome_of
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAETIMEDOUT

if TYPE_CHECKING:
    from fwx.entrance import Entrance
    from fwx.impl.binding import Binding
    from fwx.impl.deadline import Deadline
    from fwx.impl.request import Request
    from fwx.proxy import ProxyHandshake

_FAMILIES = {"SOCKS4": (socket.AF_INET,), "SOCKS5": (socket.AF_INET, socket.AF_INET6)}


class BindEntry:
    """Gives the client its two replies (RFC 1928 section 6): where others may connect, and who has come."""

    __slots__ = ("_binding", "_client", "_deadline", "_entrance", "_handshake")

    def __init__(self, entrance: Entrance, handshake: ProxyHandshake) -> None:
        """*handshake* has come to its request, to bind."""
        self._entrance = entrance
        self._handshake = handshake
        self._binding: Binding | None = None
        self._deadline: Deadline | None = None

    def open(self, request: Request) -> None:
        """Begin."""
        asked = self._handshake.request
        assert asked is not None
        self._client = request.client
        self._binding = self._entrance.gateway.bind(request, self, _FAMILIES[asked.protocol])

    def listening(self, bound: SocketAddress) -> bool:
        self._deadline = self._entrance.arrivals.add(self._nobody_came)
        return self._entrance.answer(self._client, self._handshake.succeeded(bound))

    def connected(self, bound: SocketAddress) -> bool:
        self._stop_deadline()
        return self._entrance.answer(self._client, self._handshake.succeeded(bound))

    def refused(self, result: int) -> None:
        self._stop_deadline()
        self._entrance.say_farewell(self._client, self._handshake.refused(outcome_of(result)))

    def _nobody_came(self) -> None:
        if self._binding is not None:
            self._binding.give_up(HRESULT_FROM_WIN32(WSAETIMEDOUT), "nobody came in time")

    def _stop_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
