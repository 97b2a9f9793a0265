"""The client's side of a SOCKS5 UDP association, as a datagram transport of the engine."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from fwx.interfaces import SocketAddress
from fwx.proxy.socks5_datagram import FragmentError, HeaderCodec

logger = logging.getLogger("fwx.udp_relay")

# Datagrams that are thrown away at one call, so that a flood of them leaves the others their turn.
_DROPPED_AT_ONCE: Final = 256

Handler = Callable[[int], None]


class Datagrams(Protocol):
    """What the relay needs of the socket that clients send to (:class:`fwx.impl.transport.DatagramTransport`)."""

    fd: int

    def watch(self, handler: Handler) -> None: ...

    def receive(self) -> tuple[bytes, tuple[Any, ...]]: ...

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None: ...

    def take_error(self) -> tuple[int, tuple[Any, ...] | None] | None: ...

    def has_data(self) -> bool: ...

    def getsockname(self) -> tuple[Any, ...]: ...

    def close(self, abortive: bool) -> None: ...


class UdpRelay:
    """Takes the headers off what the client sends, and puts them on what it gets.

    It hears one client alone: the host of the control connection, and the port that the client named; where it named
    none, the port that its first good datagram comes from. Fragments, strangers and what is malformed are dropped.

    :ivar dropped: how many datagrams were, by what was wrong with them. :ivar moved: whether a datagram of the client
        or for it has passed since somebody set it to false.
    """

    def __init__(
        self, datagrams: Datagrams, client: SocketAddress, on_met: Callable[[SocketAddress], object] = lambda _: None
    ) -> None:
        """:param datagrams: bound. :param client: its port is 0 where the client did not say which it sends from.

        :param on_met: told the client's address when its first good datagram has come.
        """
        self._datagrams = datagrams
        self._receive = datagrams.receive
        self._send_to = datagrams.send_to
        self._client = client
        self._sockaddr: tuple[Any, ...] | None = client.sockaddr if client.port else None
        self._met = False
        self._on_met = on_met
        self._codec = HeaderCodec()
        self.fd = datagrams.fd
        self.dropped: Counter[str] = Counter()
        self.moved = False
        self.watch = datagrams.watch
        self.take_error = datagrams.take_error
        self.has_data = datagrams.has_data
        self.getsockname = datagrams.getsockname
        self.close = datagrams.close

    @property
    def client(self) -> SocketAddress:
        """Where the client sends from; port 0 until it is known."""
        return self._client

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        """Take one datagram of the client: its payload and its target.

        :raises BlockingIOError: there is none now. :raises InterruptedError: so many were dropped that others get
            their turn first. :raises OSError: the socket failed.
        """
        for _ in range(_DROPPED_AT_ONCE):
            datagram, sockaddr = self._receive()
            if sockaddr != self._sockaddr and not self._may_be_client(sockaddr):
                self._drop(sockaddr, "of strangers", "it is not the association's client")
                continue
            try:
                taken = self._codec.split(datagram)
            except FragmentError as error:
                self._drop(sockaddr, "fragments", str(error))
                continue
            except ValueError as error:
                self._drop(sockaddr, "malformed", str(error))
                continue
            if not self._met:
                self._meet(sockaddr)
            self.moved = True
            return taken
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        """Give the client a datagram that came from *sockaddr*. :raises OSError: it has not said where it is, ..."""
        if self._sockaddr is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._send_to(self._codec.header(sockaddr) + data, self._sockaddr)
        self.moved = True

    def send(self, data: Any) -> None:  # noqa: ARG002  the protocol's signature
        """:raises OSError: an association has no one peer."""
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def _may_be_client(self, sockaddr: tuple[Any, ...]) -> bool:
        """Tell whether one that is not known to be the client may be: it has the host, and the port if it named one."""
        sender = SocketAddress.from_sockaddr(sockaddr)
        return sender.host == self._client.host and self._client.port in (0, sender.port)

    def _meet(self, sockaddr: tuple[Any, ...]) -> None:
        self._met = True
        self._sockaddr = sockaddr
        self._client = SocketAddress.from_sockaddr(sockaddr)
        self._on_met(self._client)

    def _drop(self, sockaddr: tuple[Any, ...], kind: str, reason: str) -> None:
        self.dropped[kind] += 1
        logger.debug("a datagram of %s is dropped: %s", sockaddr[:2], reason)
