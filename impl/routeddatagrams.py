"""The transport of a session's UDP socket: straight out, or through the upstream of each address's rule (B8.7)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from fwx.impl.datagramways import DatagramWays
from fwx.impl.transport import READABLE, WRITABLE

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.transport import DatagramTransport, Handler
    from fwx.impl.upstreamdatagrams import UpstreamDatagrams
    from fwx.interfaces import SocketAddress


class RoutedDatagrams:
    """A datagram transport over the socket's own one and the associations that its addresses need.

    Where an association is not open yet, sending finds no room; when it has failed, what was sent fails, and so does
    what follows for a short while.
    """

    def __init__(self, engine: Engine, straight: DatagramTransport) -> None:
        """Take over *straight*, which is bound."""
        self._straight = straight
        self._ways = DatagramWays(engine, self._way_event)
        self._upstreams: dict[tuple[Any, ...], str] = {}
        self._handler: Handler | None = None
        self._peer: tuple[Any, ...] | None = None
        self._readable: set[UpstreamDatagrams] = set()
        self.fd = straight.fd
        self.bind = straight.bind
        self.getsockname = straight.getsockname
        self.getpeername = straight.getpeername
        self.setsockopt = straight.setsockopt
        self.getsockopt = straight.getsockopt
        self.take_error = straight.take_error

    def route(self, external: SocketAddress, upstream: str) -> None:
        """Have datagrams to *external* go through *upstream*, straight if it is empty."""
        if upstream:
            self._upstreams[external.sockaddr] = upstream
        else:
            self.forget(external)

    def forget(self, external: SocketAddress) -> None:
        """The socket no longer deals with *external*."""
        self._upstreams.pop(external.sockaddr, None)

    def watch(self, handler: Handler) -> None:
        self._handler = handler
        self._straight.watch(handler)

    def connect(self, sockaddr: tuple[Any, ...]) -> None:
        """Make *sockaddr* the only peer. :raises OSError: it cannot be reached straight, where it is to be."""
        if sockaddr not in self._upstreams:
            self._straight.connect(sockaddr)
        self._peer = sockaddr

    def send(self, data: Any) -> None:
        if self._peer in self._upstreams:
            self.send_to(data, self._peer)
        else:
            self._straight.send(data)

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        upstream = self._upstreams.get(sockaddr)
        if upstream is None:
            self._straight.send_to(data, sockaddr)
        elif self._ways.rests(upstream):
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        else:
            self._ways.through(upstream).send_to(data, sockaddr)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        while self._readable:
            way = next(iter(self._readable))
            try:
                return way.receive()
            except BlockingIOError:
                self._readable.discard(way)
        return self._straight.receive()

    def has_data(self) -> bool:
        return self._straight.has_data() or any(way.has_data() for way in self._readable)

    def close(self, abortive: bool) -> None:
        self._handler = None
        self._ways.close()
        self._readable.clear()
        self._straight.close(abortive)

    def _way_event(self, way: UpstreamDatagrams, mask: int) -> None:
        if way.code:
            self._readable.discard(way)
            mask = WRITABLE  # what waits to be sent is told
        elif mask & READABLE:
            self._readable.add(way)
        if self._handler is not None:
            self._handler(mask)
