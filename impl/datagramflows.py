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

MOST_RECORDS = 100
"""Records of addresses that make room, in a second. Whoever forges addresses makes as many as he likes: what is beyond
shares one record, so that he cannot fill the log, which would shut the firewall.
"""


class DatagramFlows:
    """The flows of one socket; made and ended on the loop thread."""

    __slots__ = ("_clock", "_crowd", "_crowd_size", "_flows", "_local", "_log", "_on_ended", "_records", "_second")

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
        # The second that began last, the records of addresses that made room in it, and what the others share.
        self._second = clock()
        self._records = 0
        self._crowd: SocketTraffic | None = None
        self._crowd_size = 0

    def __contains__(self, external: SocketAddress) -> bool:
        return external in self._flows

    def __len__(self) -> int:
        return len(self._flows)

    def open(self, external: SocketAddress, verdict: Verdict | None, protocol_name: str) -> None:
        """Begin the flow with *external*, unless there is one; *verdict* is the policy's, if it was asked."""
        if external in self._flows:
            return
        if len(self._flows) >= MOST_FLOWS:
            self._make_room()
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
            external, traffic = self._flows.popitem(last=False)
            self._write(traffic)
            self._on_ended(external)
        self._write_crowd()

    def _make_room(self) -> None:
        external, traffic = self._flows.popitem(last=False)
        if traffic.verdict is not None or self._has_record_left():
            self._write(traffic)
        else:
            self._join_crowd(traffic)
        self._on_ended(external)

    def _has_record_left(self) -> bool:
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._records = now, 0
            self._write_crowd()
        self._records += 1
        return self._records <= MOST_RECORDS

    def _join_crowd(self, traffic: SocketTraffic) -> None:
        crowd = self._crowd
        if crowd is None:
            crowd = self._crowd = SocketTraffic("UDP", traffic.started)
        crowd.sent += traffic.sent
        crowd.received += traffic.received
        self._crowd_size += 1

    def _write_crowd(self) -> None:
        crowd, self._crowd = self._crowd, None
        if crowd is not None:
            self._write(crowd, f"{self._crowd_size} more addresses, too many for records of their own")
            self._crowd_size = 0

    def _write(self, traffic: SocketTraffic, reason: str = "") -> None:
        traffic.local = self._local()
        self._log.write(Action.Terminate, traffic, reason=reason)
