"""The sockets by which answers to datagrams leave: each is bound to the address that clients have spoken to."""

from __future__ import annotations

import logging
import socket
from collections import OrderedDict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.interfaces import SocketAddress
from fwx.transparent.kernel import os_error
from fwx.transparent.orders import Kind

if TYPE_CHECKING:
    from fwx.transparent.sockets import Ordered, SocketMaker

logger = logging.getLogger("fwx.transparent")

MOST_SOCKETS: Final = 1024
"""Sockets of one listener; the one that was used longest ago makes room, and is made again when it is needed."""
MOST_WAITING: Final = 64
"""Answers that wait for their socket; more are lost."""

Sockaddr = tuple[Any, ...]


class _Sender:
    """One socket, made or on its way, and what waits for it."""

    __slots__ = ("ordered", "sock", "users", "waiting")

    def __init__(self) -> None:
        self.ordered: Ordered | None = None
        self.sock: socket.socket | None = None
        self.users: set[SocketAddress] = set()
        self.waiting: deque[tuple[bytes, Sockaddr]] = deque()

    def close(self) -> None:
        if self.ordered is not None:
            self.ordered.cancel()
        if self.sock is not None:
            self.sock.close()


class Answers:
    """Sends to clients in the names of servers. A socket is closed when the last client that it has served is gone."""

    def __init__(self, maker: SocketMaker) -> None:
        self._maker = maker
        self._senders: OrderedDict[Sockaddr, _Sender] = OrderedDict()

    def __len__(self) -> int:
        """The number of sockets that are there or on their way."""
        return len(self._senders)

    def send(self, data: bytes, client: SocketAddress, source: Sockaddr) -> None:
        """Send *data* to *client* as *source*; it may wait a moment. :raises OSError: no room, no socket, ..."""
        sender = self._senders.get(source)
        if sender is None:
            sender = self._make(source)
        else:
            self._senders.move_to_end(source)
        sender.users.add(client)
        if sender.sock is not None:
            sender.sock.sendto(data, client.sockaddr)
        elif len(sender.waiting) < MOST_WAITING:
            sender.waiting.append((bytes(data), client.sockaddr))

    def forget(self, client: SocketAddress) -> None:
        """*client* gets nothing any more."""
        for source, sender in list(self._senders.items()):
            sender.users.discard(client)
            if not sender.users:
                del self._senders[source]
                sender.close()

    def close(self) -> None:
        senders = list(self._senders.values())
        self._senders.clear()
        for sender in senders:
            sender.close()

    def _make(self, source: Sockaddr) -> _Sender:
        if len(self._senders) >= MOST_SOCKETS:
            self._senders.popitem(last=False)[1].close()
        sender = _Sender()
        address = SocketAddress.from_sockaddr(source)
        sender.ordered = self._maker.order(Kind.ANSWER, address, partial(self._made, source, sender))
        self._senders[source] = sender
        return sender

    def _made(self, source: Sockaddr, sender: _Sender, sock: socket.socket | None, code: int) -> None:
        sender.ordered = None
        waiting, sender.waiting = sender.waiting, deque()
        if sock is None:
            logger.warning("no answers leave as %s: %s", SocketAddress.from_sockaddr(source), os_error(code).strerror)
            self._senders.pop(source, None)
            return
        sock.setblocking(False)
        sender.sock = sock
        for data, client in waiting:
            try:
                sock.sendto(data, client)
            except OSError as error:
                logger.debug("an answer to %s is lost: %s", client, error)
