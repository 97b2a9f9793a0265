"""Connecting outward, straight: the addresses of both families in a race with a handicap (RFC 8305)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from fwx.impl.transport import ERROR, HANGUP, WRITABLE
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import (
    WIN32_FROM_HRESULT,
    WSAEAFNOSUPPORT,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.deadline import Timer
    from fwx.impl.departure import Departure
    from fwx.impl.engine import Engine
    from fwx.impl.transport import Transport
    from fwx.interfaces import SocketAddress

ATTEMPT_SECONDS = 0.25
"""How long an attempt has before the next one starts beside it (RFC 8305 section 5)."""

MOST_ATTEMPTS = 4
"""Attempts of one dial under way at a time; the next one starts when one of them has failed."""


@dataclass(slots=True)  # not frozen: that makes it five times as dear, for every connection
class Dialled:
    """How dialling has ended.

    :ivar transport: the connection, ``None`` where there is none.
    :ivar code: the Windows error then, with *reason*, words for the log that may be empty.
    :ivar address: the literal address that was reached; ``None`` where an upstream has resolved the name.
    :ivar peer: what the transport is connected to: that address, or the first upstream.
    :ivar early: what the server sent before the transport was handed out.
    :ivar told: what the transport's handler has been told so far, if nothing was read or sent since; else 0.
    """

    transport: Transport | None
    code: int = 0
    reason: str = ""
    address: SocketAddress | None = None
    peer: SocketAddress | None = None
    early: bytes = b""
    told: int = 0


def interleaved(addresses: list[SocketAddress]) -> Iterator[SocketAddress]:
    """Give *addresses* in turn of their families, in their order, that of the first one first (RFC 8305 section 4)."""
    first = addresses[0].family if addresses else 0
    preferred = [address for address in addresses if address.family == first]
    others = [address for address in addresses if address.family != first]
    for pair in zip_longest(preferred, others):
        yield from (address for address in pair if address is not None)


class Dial:
    """Connects to the first of several addresses that answers. *done* is called once with how it ended.

    The next attempt starts when the latest has failed, or has had :data:`ATTEMPT_SECONDS`. The first connection is
    kept, the other attempts are closed. The deadline holds for all together.
    """

    __slots__ = ("_attempts", "_code", "_deadline", "_departure", "_done", "_engine", "_opening", "_timer", "_waiting")

    def __init__(
        self, engine: Engine, departure: Departure, addresses: list[SocketAddress], done: Callable[[Dialled], None]
    ) -> None:
        """*addresses* are literal, the preferred one first."""
        self._engine = engine
        self._departure = departure
        self._done: Callable[[Dialled], None] | None = done
        reachable = departure.reachable(addresses)
        # The next one last.
        self._waiting = [reachable[0]] if len(reachable) == 1 else [*interleaved(reachable)][::-1]
        self._code = WSAEAFNOSUPPORT if addresses else WSAHOST_NOT_FOUND
        self._attempts: list[Transport] = []
        # Attempts that wait for the packet filter.
        self._opening = 0
        self._timer: Timer | None = None
        self._deadline = engine.connect_deadlines.add(self._timed_out)

    def start(self) -> None:
        """Begin with the first address."""
        waiting = self._waiting
        # The common case, without the steps that tell attempts apart.
        if len(waiting) == 1 and self._departure.is_open and self._connect(waiting.pop()):
            return
        self._next()

    def cancel(self) -> None:
        """Give up; *done* is not called."""
        self._done = None
        self._end()

    def _next(self) -> None:
        """Start the next attempt, where there is one and not too many are under way."""
        if self._timer is not None:
            self._stop_timer()
        while self._waiting and self._has_room() and not self._attempt(self._waiting.pop()):
            pass
        if not self._attempts and not self._opening:
            self._finish(Dialled(None, self._code))
        elif self._waiting and self._has_room():
            self._timer = self._engine.call_later(ATTEMPT_SECONDS, self._next)

    def _has_room(self) -> bool:
        return len(self._attempts) + self._opening < MOST_ATTEMPTS

    def _attempt(self, address: SocketAddress) -> bool:
        """Start to connect to *address* once the packet filter lets it; tell whether the attempt is under way."""
        if self._departure.is_open:
            return self._connect(address)
        try:
            if self._departure.open(address, partial(self._opened, address)):
                return self._connect(address)
        except COMError as error:
            self._code = WIN32_FROM_HRESULT(error.hresult)
            return False
        self._opening += 1
        return True

    def _opened(self, address: SocketAddress, code: int) -> None:
        if self._done is None:
            return
        self._opening -= 1
        if code:
            self._code = code
        if code or not self._connect(address):
            self._next()

    def _connect(self, address: SocketAddress) -> bool:
        try:
            transport = self._departure.stream(address)
        except OSError as error:
            self._code = winsock_code(error)
            return False
        try:
            transport.start_connect(address.sockaddr)
        except OSError as error:
            self._code = winsock_code(error)
            transport.close(True)
            return False
        self._attempts.append(transport)
        transport.watch(partial(self._event, transport, address))
        return True

    def _event(self, transport: Transport, address: SocketAddress, mask: int) -> None:
        if transport not in self._attempts:
            return
        # A socket that has failed says so in the mask.
        error = transport.take_error() if mask & (ERROR | HANGUP) else 0
        if error:
            self._attempts.remove(transport)
            transport.close(True)
            self._code = winsock_code(OSError(error, os.strerror(error)))
            self._next()
        elif mask & WRITABLE:
            self._attempts.remove(transport)
            self._finish(Dialled(transport, address=address, peer=address, told=mask))

    def _timed_out(self) -> None:
        self._finish(Dialled(None, WSAETIMEDOUT))

    def _finish(self, dialled: Dialled) -> None:
        self._end()
        done, self._done = self._done, None
        if done is not None:
            done(dialled)

    def _end(self) -> None:
        """Close what is under way, and leave nothing that could call."""
        self._deadline.cancel()
        if self._timer is not None:
            self._stop_timer()
        self._waiting.clear()
        if self._attempts:
            attempts, self._attempts = self._attempts, []
            for transport in attempts:
                transport.close(True)
        self._departure.close()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
