"""IFWXReservedPorts: ports of the firewall that are kept for a later call (B6.26)."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.loopthread import on_loop
from fwx.impl.portrun import bind_run
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXReservedPorts, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, FWX_E_TERMINATING, WSAENOBUFS, COMError, winsock_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.engine import Engine

MOST_RESERVED = 1024
"""Ports that are reserved at a time."""


@implementer(IFWXReservedPorts)
class FWXReservedPorts(Unknown):
    """A run of bound ports that nothing listens on, and that are closed in the packet filter.

    They are free again when nobody has the object any more, when its last reference is released, when a method has
    taken them over and is done, and when the service stops.
    """

    __slots__ = ("_count", "_finalizer", "_first", "_protocol", "_transports")

    def __init__(self, protocol: int, transports: list[Any], give_back: Callable[[list[Any]], object]) -> None:
        """*transports* are bound to consecutive ports; *give_back* closes those that are left, from any thread."""
        self._protocol = protocol
        self._transports = transports
        self._first = SocketAddress.from_sockaddr(transports[0].getsockname())
        self._count = len(transports)
        # Memory is the garbage collector's, and it may run on any thread.
        self._finalizer = weakref.finalize(self, give_back, transports)
        self._finalizer.atexit = False

    def GetFirstPort(self) -> int:
        """Return the lowest port, in host byte order."""
        return self._first.port

    def GetCount(self) -> int:
        """Return how many ports follow one another."""
        return self._count

    def GetTransportProtocol(self) -> int:
        """Return ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``."""
        return self._protocol

    # The service's side.

    def FinalRelease(self) -> None:
        self.end()

    def end(self) -> None:
        """Give back the ports that nothing has taken over. Again it does nothing."""
        self._finalizer()

    def take(self, protocol: int, count: int) -> list[Any]:
        """Hand over the first *count* transports; what is left stays reserved for nobody.

        :raises COMError: ``E_INVALIDARG`` it has been used, or has fewer ports, or ports of another transport.
        """
        if protocol != self._protocol:
            raise COMError(E_INVALIDARG, "the ports are reserved for another transport")
        if count > len(self._transports):
            raise COMError(E_INVALIDARG, f"{len(self._transports)} ports are left of the reservation, not {count}")
        taken = self._transports[:count]
        del self._transports[:count]
        self.end()
        return taken


class Reservations:
    """The ports that filters have reserved, so that none outlives the service."""

    __slots__ = ("_closed", "_engine", "_runs")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: list[list[Any]] = []
        self._closed = False

    def __len__(self) -> int:
        """The number of ports that are reserved now."""
        return sum(map(len, self._runs))

    def reserve(self, protocol: int, address: SocketAddress, count: int) -> FWXReservedPorts:
        """Do :meth:`fwx.impl.firewall.FWXFirewall.ReservePorts` with checked arguments."""
        return on_loop(self._engine.queue, self._reserve, protocol, address, count)

    def close(self) -> None:
        """The service stops."""
        self._closed = True
        for run in list(self._runs):
            self._close(run)

    def _reserve(self, protocol: int, address: SocketAddress, count: int) -> FWXReservedPorts:
        if self._closed:
            raise COMError(FWX_E_TERMINATING, "the service stops")
        if len(self) + count > MOST_RESERVED:
            raise winsock_error(WSAENOBUFS, f"{len(self)} ports are reserved")
        network = self._engine.network
        make: Callable[[int], Any] = network.stream if protocol == FWX_PROTOCOL_TCP else network.datagram
        run = bind_run(make, address, count)
        self._runs.append(run)
        return FWXReservedPorts(protocol, run, self._give_back)

    def _give_back(self, run: list[Any]) -> None:
        if run:
            self._engine.queue.call(self._close, run)

    def _close(self, run: list[Any]) -> None:
        """Close what is left of *run*."""
        self._runs = [each for each in self._runs if each is not run]
        while run:
            run.pop().close(False)


def take_reserved(reserved: Any, protocol: int, count: int) -> list[Any]:
    """Take over *count* ports of a reservation; they are the caller's.

    :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it is not one of the service's, or does not fit.
    """
    if reserved is None:
        raise COMError(E_POINTER, "reserved ports are needed")
    if not isinstance(reserved, FWXReservedPorts):
        raise COMError(E_INVALIDARG, f"reserved ports of ReservePorts are needed, not {type(reserved).__name__}")
    return reserved.take(protocol, count)
