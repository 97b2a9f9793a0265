"""What one UDP connection remembers of its destinations, how it forgets them, and what the log says of them (B2.16)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fwx.impl.connectionrecord import destination_record
from fwx.impl.datagramanswers import DatagramAnswers
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.udpdestination import STANDING, Destination, State
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED, HRESULT_FROM_WIN32, S_OK

if TYPE_CHECKING:
    from fwx.impl.datagramconnection import FWXDatagramConnection
    from fwx.impl.datagramservers import DatagramServers
    from fwx.impl.rulequotas import Refused
    from fwx.impl.upstreamdatagrams import UpstreamDatagrams
    from fwx.interfaces import SocketAddress


class Destinations(OrderedDict["SocketAddress", Destination]):
    """A connection's destinations by their targets, the one that was quiet for longest first.

    :ivar answers: whose answers come from which address. :ivar has_met_anyone: there has been one, remembered or not.
    """

    __slots__ = ("_connection", "_most", "_servers", "answers", "has_met_anyone")

    def __init__(self, connection: FWXDatagramConnection, servers: DatagramServers, most: int) -> None:
        """*most* are remembered at a time."""
        super().__init__()
        self._connection = connection
        self._servers = servers
        self._most = most
        self.answers = DatagramAnswers()
        self.has_met_anyone = False

    @property
    def strangers(self) -> int:
        """How many have written to the client by themselves."""
        return sum(1 for each in self.values() if each.secondary and each.permission is None)

    @property
    def bytes_waiting(self) -> int:
        """Bytes that wait for a name, for an upstream, or for filters of one destination."""
        return sum(each.bytes_waiting for each in self.values())

    def remember(self, target: SocketAddress) -> Destination:
        """Make a destination, in the place of what was known of *target*, and of the oldest if there are too many."""
        self.has_met_anyone = True
        known = self.pop(target, None)
        if known is None and len(self) >= self._most:
            known = self.popitem(last=False)[1]
        if known is not None:
            self._forget(known)
        destination = self[target] = Destination(target, self._connection.engine.clock())
        return destination

    def expire(self, destination: Destination, result: int = S_OK, reason: str = "") -> None:
        """Forget what was quiet for long, or may not go on."""
        if self.get(destination.target) is destination:
            del self[destination.target]
            self._forget(destination, result=result, reason=reason)

    def waiting_for(self, way: UpstreamDatagrams) -> Iterator[Destination]:
        """Go through those whose datagrams wait until *way* is open."""
        return (each for each in list(self.values()) if each.state is State.ASSOCIATING and each.way is way)

    def deny(self, destination: Destination, result: int, reason: str, action: Action = Action.Denied) -> None:
        """Refuse it, and every datagram to it while it is remembered; logged once."""
        self._stop(destination)
        if destination.verdict is None or destination.verdict.log:
            self._log(destination, action, result, reason)

    def drop(self, destination: Destination) -> None:
        """Do not remember it: the next datagram may fare better."""
        destination.state = State.DENIED
        destination.waiting.clear()
        destination.give_place_back()
        self.pop(destination.target, None)

    def refuse(self, destination: Destination, refused: Refused) -> None:
        """Its rule has let in too many (B11.4): do not remember it, and log the first of a second."""
        self.drop(destination)
        if refused.is_first and destination.verdict is not None and destination.verdict.log:
            self._log(destination, Action.Denied, refused.result, refused.reason)

    def fail(self, way: UpstreamDatagrams) -> None:
        """End what went through *way*, which has failed."""
        self.answers.close(way)
        result = int(HRESULT_FROM_WIN32(way.code))
        for destination in list(self.values()):
            if destination.way is way and self.pop(destination.target, None) is not None:
                self._forget(destination, Action.Failed, result, way.reason)

    def bar(self, destination: Destination) -> None:
        """Refuse it because the connection's IP filter does not include it, as long as that filter is there (B6.34)."""
        destination.is_barred = True
        reason = f"the IP filter does not include {destination.address or destination.target}"
        self.deny(destination, int(FWX_E_ADDRESS_NOT_ALLOWED), reason)

    def forget_barred(self) -> None:
        """The IP filter is another one: have what the last one did not include judged anew, when something is sent."""
        for destination in [each for each in self.values() if each.is_barred]:
            del self[destination.target]

    def judge_again(self, admits: Callable[[SocketAddress | None], bool]) -> None:
        """End what the IP filter does not include, as *admits* says (B6.34)."""
        for destination in list(self.values()):
            if destination.state in STANDING and not admits(destination.address):
                del self[destination.target]
                reason = f"the IP filter does not include {destination.address or destination.target}"
                self._forget(destination, Action.Terminate, int(FWX_E_ADDRESS_NOT_ALLOWED), reason)

    def abort(self) -> None:
        """End look-ups and chains: the connection is ending."""
        for destination in self.values():
            _cancel(destination)
            if destination.chain is not None:
                destination.chain.abort()

    def log_all(self, action: Action, result: int, reason: str) -> None:
        """Log every one that stands: the connection has ended."""
        for destination in self.values():
            if destination.state in STANDING:
                self._log_end(destination, action, result, reason)

    def log_interim(self, now: float, interval: float) -> None:
        """Log the running totals of those that stand and are due (B9.11)."""
        for destination in self.values():
            due = now - destination.logged_at >= interval and destination.state in STANDING
            if due and destination.verdict is not None and destination.verdict.log:
                self.log_going_on(destination, Action.Intermediate)

    def log_going_on(self, destination: Destination, action: Action) -> None:
        """Log *destination*, which goes on; its next record tells what has come since."""
        record = self._log(destination, action, *self._connection.result, _filters_of(destination))
        destination.logged_at = self._connection.engine.clock()
        destination.logged_before = (record.bytes_sent, record.bytes_received, record.connection_time)

    def clear(self) -> None:
        for destination in self.values():
            destination.give_place_back()
        super().clear()
        self.answers.clear()

    def _stop(self, destination: Destination) -> None:
        """Nothing goes there any more; what let the client do so is open again, unless it was used."""
        destination.state = State.DENIED
        destination.waiting.clear()
        destination.give_place_back()
        if destination.permission is not None:
            destination.permission.give_back()

    def _forget(
        self, destination: Destination, action: Action = Action.Terminate, result: int = S_OK, reason: str = ""
    ) -> None:
        """It makes room for others, or has failed: it is logged, its filters are detached, its way is closed."""
        _cancel(destination)
        had_way = destination.state in STANDING
        self._stop(destination)
        orphans = self.answers.forget(destination, self.values())
        for address in orphans if destination.way is None else ():
            self._servers.close_to(address)
        place = destination.leaves_from
        if place is not None and all(each.leaves_from != place for each in self.values()):
            self._servers.close_at(place)
        if destination.chain is not None:
            destination.chain.abort()
        self._connection.release([*destination.tied, *destination.members])
        if had_way:
            self._log_end(destination, action, result, reason)

    def _log_end(self, destination: Destination, action: Action, result: int, reason: str) -> None:
        if destination.verdict is not None and destination.verdict.log:
            self._log(destination, action, result, reason, _filters_of(destination))

    def _log(self, destination: Destination, action: Action, result: int, reason: str, filters: str = "") -> LogRecord:
        connection = self._connection
        seconds = connection.engine.clock() - destination.started
        record = destination_record(connection, destination, action, (int(result), reason), filters, seconds)
        connection.engine.write_record(record)
        return record


def _filters_of(destination: Destination) -> str:
    return ", ".join(member.host.name for member in (*destination.tied, *destination.members))


def _cancel(destination: Destination) -> None:
    cancel: Any = destination.cancel
    if cancel is not None:
        cancel()
