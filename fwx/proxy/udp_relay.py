"""The client's side of a SOCKS5 UDP association, as a datagram transport of the engine."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from fwx.interfaces import SocketAddress
from fwx.proxy.socks5_datagram import datagram_header, parse_datagram

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
    """

    def __init__(self, datagrams: Datagrams, client: SocketAddress) -> None:
        """*datagrams* is bound; *client* has port 0 where the client did not say which it sends from."""
        self._datagrams = datagrams
        self._client = client
        self.fd = datagrams.fd
        self.dropped = 0
        self.watch = datagrams.watch
        self.take_error = datagrams.take_error
        self.has_data = datagrams.has_data
        self.getsockname = datagrams.getsockname
        self.close = datagrams.close

    @property
    def client(self) -> SocketAddress:
        """Where the client sends from; port 0 until it is known."""
        return self._client

    def receive(self) -> tuple[memoryview, tuple[Any, ...]]:
        """Take one datagram of the client: its payload and its target.

        :raises BlockingIOError: there is none now. :raises InterruptedError: so many were dropped that others get
            their turn first. :raises OSError: the socket failed.
        """
        for _ in range(_DROPPED_AT_ONCE):
            datagram, sockaddr = self._datagrams.receive()
            sender = SocketAddress.from_sockaddr(sockaddr)
            if sender.host != self._client.host or self._client.port not in (0, sender.port):
                self._drop(sender, "it is not the association's client")
                continue
            try:
                payload, target = parse_datagram(datagram)
            except ValueError as error:
                self._drop(sender, str(error))
                continue
            self._client = sender
            return payload, (target.host, target.port)
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        """Give the client a datagram that came from *sockaddr*. :raises OSError: it has not said where it is, ..."""
        if not self._client.port:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        header = datagram_header(SocketAddress.from_sockaddr(sockaddr))
        self._datagrams.send_to(b"".join((header, data)), self._client.sockaddr)

    def send(self, data: Any) -> None:  # noqa: ARG002  the protocol's signature
        """:raises OSError: an association has no one peer."""
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def _drop(self, sender: SocketAddress, reason: str) -> None:
        self.dropped += 1
        logger.debug("a datagram of %s is dropped: %s", sender, reason)
