"""The PROXY header that comes before everything else on a listener that requires one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action
from fwx.impl.networks import AddressRange, normalise
from fwx.impl.transport import INPUT
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    FWX_E_NETWORK_RULES_DENIED,
    HRESULT,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from fwx.proxy.proxy_header import ProxyHeader, ProxyHeaderCodec, ProxyHeaderError

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.limits import AddressLimits

logger = logging.getLogger("fwx.header_entry")

_BLOCK = 4096


class TrustedSenders:
    """The addresses that PROXY headers are taken from (``listener.trusted``)."""

    def __init__(self, ranges: tuple[str, ...]) -> None:
        self._ranges = [AddressRange.parse(text) for text in ranges]

    def __contains__(self, address: SocketAddress) -> bool:
        literal = normalise(address.host)
        number = int(literal)
        return any(each.version == literal.version and each.first <= number <= each.last for each in self._ranges)


class HeaderEntry:
    """Reads one PROXY header before a deadline, then hands the client on under the address that it names.

    Only trusted senders are heard, and what does not begin with a header is reset: a header is required or refused,
    never guessed. The limits count the client, once it is known; a sender may bring as many as it likes.
    """

    __slots__ = ("_arrival", "_codec", "_deadline", "_entrance", "_limits", "_next")

    def __init__(
        self,
        entrance: Entrance,
        arrival: Arrival,
        trusted: TrustedSenders,
        limits: AddressLimits,
        then: Callable[[Arrival], object],
    ) -> None:
        """*arrival* is the sender; *then* gets the client, whom *limits* has admitted."""
        self._entrance = entrance
        self._arrival = arrival
        self._limits = limits
        self._next = then
        self._codec = ProxyHeaderCodec()
        self._deadline = entrance.handshakes.add(self._timed_out)
        entrance.handshaking.add(self)
        if arrival.address in trusted:
            arrival.client.watch(self._event)
        else:
            reason = f"{arrival.address.host} may not send PROXY headers (trusted)"
            self._refuse(FWX_E_NETWORK_RULES_DENIED, reason, Action.Denied)

    def close(self) -> None:
        """The service stops."""
        self._refuse(HRESULT_FROM_WIN32(WSAECONNABORTED), "the service is stopping")

    def _event(self, mask: int) -> None:
        if not mask & INPUT:
            return
        while True:
            try:
                data = self._arrival.client.recv(_BLOCK)
            except BlockingIOError:
                return
            except OSError as error:
                self._refuse(HRESULT_FROM_WIN32(WSAECONNRESET), f"the sender went away: {error.strerror}")
                return
            if not data:
                self._refuse(HRESULT_FROM_WIN32(WSAECONNABORTED), "the sender ended before its PROXY header")
                return
            try:
                found = self._codec.receive(data)
            except ProxyHeaderError as error:
                self._refuse(HRESULT_FROM_WIN32(WSAECONNABORTED), str(error))
                return
            if found is not None:
                self._go_on(*found)
                return

    def _go_on(self, header: ProxyHeader, early: bytes) -> None:
        self._settle()
        sender = self._arrival
        arrival = sender._replace(early=early, header=header)
        if header.source is not None and header.destination is not None:
            source = SocketAddress(str(normalise(header.source.host)), header.source.port)
            arrival = arrival._replace(address=source, destination=header.destination, source_proxy=sender.address)
        source = arrival.address
        refused = self._limits.admit(source.host)
        if refused is not None:
            sender.client.close(True)
            if self._limits.logs:
                self._entrance.log(source, Action.Denied, *refused)
            return
        self._next(arrival)

    def _timed_out(self) -> None:
        reason = "the PROXY header was not complete before the deadline (handshake_seconds)"
        self._refuse(HRESULT_FROM_WIN32(WSAETIMEDOUT), reason)

    def _refuse(self, result: HRESULT, reason: str, action: Action = Action.Failed) -> None:
        self._settle()
        self._arrival.client.close(True)
        self._entrance.log(self._arrival.address, action, result, reason)

    def _settle(self) -> None:
        self._deadline.cancel()
        self._entrance.handshaking.discard(self)
