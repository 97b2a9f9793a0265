"""Connecting outward: one address after the other until one answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.transport import WRITABLE
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import WSAETIMEDOUT, WSAHOST_NOT_FOUND

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline, DeadlineQueue
    from fwx.impl.engine import Engine, Resolved
    from fwx.impl.transport import Streams, Transport
    from fwx.interfaces import SocketAddress

Dialled = Callable[["Transport | None", "SocketAddress | None", int], None]


class Dial:
    """One attempt to connect. *done* is called once with the transport and the address, or with the Windows error.

    A later address is tried when an earlier one fails; the deadline holds for all together.
    """

    __slots__ = ("_addresses", "_deadline", "_done", "_network", "_transport")

    def __init__(
        self, network: Streams, addresses: list[SocketAddress], deadlines: DeadlineQueue, done: Dialled
    ) -> None:
        """*addresses* are literal, the preferred one first."""
        self._network = network
        self._addresses = addresses
        self._done: Dialled | None = done
        self._transport: Transport | None = None
        self._deadline: Deadline = deadlines.add(self._timed_out)

    def start(self) -> None:
        self._next(WSAHOST_NOT_FOUND)

    def cancel(self) -> None:
        """Give up; *done* is not called."""
        self._done = None
        self._deadline.cancel()
        if self._transport is not None:
            self._transport.close(True)
            self._transport = None

    def _next(self, code: int) -> None:
        while self._addresses:
            address = self._addresses[0]
            try:
                transport = self._network.stream(address.family)
            except OSError as error:
                code = winsock_code(error)
                self._addresses.pop(0)
                continue
            try:
                transport.start_connect(address.sockaddr)
            except OSError as error:
                code = winsock_code(error)
                transport.close(True)
                self._addresses.pop(0)
                continue
            self._transport = transport
            transport.watch(self._event)
            return
        self._finish(None, None, code)

    def _event(self, mask: int) -> None:
        transport = self._transport
        if transport is None:
            return
        error = transport.take_error()
        if error:
            self._transport = None
            transport.close(True)
            self._addresses.pop(0)
            self._next(winsock_code(OSError(error, os.strerror(error))))
        elif mask & WRITABLE:
            self._transport = None
            self._finish(transport, self._addresses[0], 0)

    def _timed_out(self) -> None:
        if self._transport is not None:
            self._transport.close(True)
            self._transport = None
        self._finish(None, None, WSAETIMEDOUT)

    def _finish(self, transport: Transport | None, address: SocketAddress | None, code: int) -> None:
        self._deadline.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(transport, address, code)


def resolve_in_time(engine: Engine, name: SocketAddress, done: Resolved) -> Callable[[], None]:
    """Look *name* up; *done* is called once, with ``WSAETIMEDOUT`` when the deadline of connecting has passed.

    Returns what cancels the look-up: *done* is then not called.
    """
    cancel: Callable[[], None] | None = None

    def give_up() -> None:
        deadline.cancel()
        if cancel is not None:
            cancel()

    def too_late() -> None:
        give_up()
        done([], WSAETIMEDOUT)

    def resolved(addresses: list[SocketAddress], code: int) -> None:
        deadline.cancel()
        done(addresses, code)

    deadline = engine.connect_deadlines.add(too_late)
    cancel = engine.resolver.resolve(name, resolved)
    return give_up
