"""The data filters of a UDP connection, or of one of its destinations, between the client and the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fwx.impl.chain import link
from fwx.impl.datagramjunction import datagram_junction
from fwx.impl.iobuffer import FWXIOBuffer, data_of
from fwx.impl.operation import DatagramOperation
from fwx.interfaces.hresult import WSAECONNABORTED

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.chain import Member
    from fwx.impl.datagramjunction import DatagramJunctionEnd
    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import IFWXIOBuffer, SocketAddress

logger = logging.getLogger("fwx.datagramchain")

Datagram = bytes | memoryview
Passed = Callable[[Datagram, "SocketAddress"], None]


class DatagramChain:
    """Filters between two ends that it drives itself: what comes out at the one is handed to a function.

    A filter that does not keep up loses datagrams, as a socket does; what waits for it is bounded.
    """

    __slots__ = ("_client", "_ends", "_queue", "_server")

    def __init__(
        self,
        members: list[Member],
        queue: RunQueue,
        outward: Passed | None,
        inward: Passed,
        holder: Holder | None = None,
    ) -> None:
        """:param members: in chain order. :param outward: gets what is for the server, with its target; ``None`` where
            the last member emulates that.

        :param inward: gets what is for the client, with its source. :param holder: the connection.
        """
        self._queue = queue
        self._client, first = datagram_junction(queue)
        self._server: DatagramJunctionEnd | None = None
        last: DatagramJunctionEnd | None = None
        self._ends = [self._client, first]
        if outward is not None:
            last, self._server = datagram_junction(queue)
            self._ends += [last, self._server]
        self._ends += link(members, first, last, queue)
        for end in self._ends:
            end.holder = holder
        _Outlet(self._client, queue, inward).ask()
        if outward is not None and self._server is not None:
            _Outlet(self._server, queue, outward).ask()

    @property
    def backlog(self) -> int:
        """Bytes that no filter has taken yet."""
        return sum(end.backlog for end in self._ends)

    def from_client(self, data: Datagram, target: SocketAddress) -> bool:
        """Give the chain a datagram of the client; ``False`` when there is no room and it is lost."""
        return self._send(self._client, data, target)

    def from_server(self, data: Datagram, source: SocketAddress) -> bool:
        """Give the chain a datagram for the client."""
        return self._server is not None and self._send(self._server, data, source)

    def abort(self) -> None:
        """Fail what is pending everywhere: the connection, or the destination, ends."""
        for end in self._ends:
            end.abort(WSAECONNABORTED)

    def _send(self, end: DatagramJunctionEnd, data: Datagram, external: SocketAddress) -> bool:
        if not end.takes_send():
            return False
        end.send(DatagramOperation(_SILENT, None, None, FWXIOBuffer(data), data, external))
        return True


class _Outlet:
    """Asks one end of the chain for datagrams, again and again."""

    __slots__ = ("_end", "_passed", "_queue")

    def __init__(self, end: DatagramJunctionEnd, queue: RunQueue, passed: Passed) -> None:
        self._end = end
        self._queue = queue
        self._passed = passed

    def ask(self) -> None:
        self._end.recv(DatagramOperation(self, self, None, None))  # type: ignore[arg-type]  # the one method is there

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if not fSuccess or pIOBuffer is None:
            return
        self.ask()
        # A filter that sent without an address has nobody to send to: only one that the chain knows can be meant.
        if ExternalAddress is not None:
            self._passed(data_of(pIOBuffer), ExternalAddress)

    def completion_failed(self, error: BaseException) -> None:
        """Never a filter's fault: the functions are the service's own."""
        logger.error("a datagram could not be passed on", exc_info=error)


class _Silent:
    """The owner of Sends that nobody waits for."""

    def completion_failed(self, error: BaseException) -> None:
        raise AssertionError("a Send without a completion does not complete") from error


_SILENT: Any = _Silent()
