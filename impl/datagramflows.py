"""Whom a UDP socket exchanges datagrams with: one flow for each external address, counted and logged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action
from fwx.impl.socketrecord import SocketTraffic

if TYPE_CHECKING:
    from fwx.impl.policy import Verdict
    from fwx.impl.socketrecord import SocketLog
    from fwx.interfaces import SocketAddress

MOST_FLOWS = 1024
"""Addresses that one socket knows at a time; the one that was quiet for longest makes room (and is logged)."""


class DatagramFlows:
    """The flows of one socket; made and ended on the loop thread."""

    __slots__ = ("_clock", "_flows", "_local", "_log", "_on_ended")

    def __init__(
        self,
        log: SocketLog,
        clock: Callable[[], float],
        local: Callable[[], SocketAddress | None],
        on_ended: Callable[[SocketAddress], None],
    ) -> None:
        """*local* tells the socket's own address; *on_ended* hears of an address that it no longer deals with."""
        self._log = log
        self._clock = clock
        self._local = local
        self._on_ended = on_ended
        self._flows: OrderedDict[SocketAddress, SocketTraffic] = OrderedDict()

    def __contains__(self, external: SocketAddress) -> bool:
        return external in self._flows

    def __len__(self) -> int:
        return len(self._flows)

    def open(self, external: SocketAddress, verdict: Verdict | None, protocol_name: str) -> None:
        """Begin the flow with *external*, unless there is one; *verdict* is the policy's, if it was asked."""
        if external in self._flows:
            return
        if len(self._flows) >= MOST_FLOWS:
            self._end(*self._flows.popitem(last=False))
        traffic = SocketTraffic("UDP", self._clock(), None, external, verdict)
        traffic.application_protocol = protocol_name
        self._flows[external] = traffic

    def sent(self, external: SocketAddress, size: int) -> None:
        traffic = self._flows.get(external)
        if traffic is not None:
            traffic.sent += size
            self._flows.move_to_end(external)

    def received(self, external: SocketAddress, size: int) -> None:
        traffic = self._flows.get(external)
        if traffic is not None:
            traffic.received += size
            self._flows.move_to_end(external)

    def end_all(self) -> None:
        """The socket has ended: log every flow."""
        while self._flows:
            self._end(*self._flows.popitem(last=False))

    def _end(self, external: SocketAddress, traffic: SocketTraffic) -> None:
        traffic.local = self._local()
        self._log.write(Action.Terminate, traffic)
        self._on_ended(external)
