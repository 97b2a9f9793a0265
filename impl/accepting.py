"""The Accepts of a listening socket: posted calls on one side, connections that wait on the other."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fwx.impl.argument import INT_MOST, whole
from fwx.impl.transport import INPUT
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAETIMEDOUT, winsock_error

if TYPE_CHECKING:
    from fwx.impl.deadline import Timer
    from fwx.impl.engine import Engine
    from fwx.impl.localend import LocalEnd
    from fwx.impl.policy import Verdict
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXAcceptCompletion

# Connections that nobody may have, taken off the backlog before the others get their turn.
_REFUSED_AT_ONCE = 64
# What passes when others close something. The connection stays in the backlog, so asking again at once is in vain.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_SECONDS = 0.1


class PostedAccept:
    """One Accept that waits. *started* is when it was posted, by the engine's clock."""

    __slots__ = ("completion", "started", "timer", "user_data")

    def __init__(self, completion: IFWXAcceptCompletion | None, user_data: object, started: float) -> None:
        self.completion = completion
        self.user_data = user_data
        self.started = started
        self.timer: Timer | None = None


class Accepted(NamedTuple):
    """One connection as the kernel gave it, or an upstream. *verdict* is the policy's, where one was asked; *early* is
    what the peer sent ahead of the transport.
    """

    transport: Transport
    local: SocketAddress
    remote: SocketAddress
    verdict: Verdict | None = None
    early: bytes = b""


class Acceptor:
    """Matches Accepts with connections, in the order of both; the kernel keeps what nobody has asked for yet.

    Where descriptors or memory run out one Accept fails, the others wait for a moment, and the recoverer of filters
    hears of it (B11.11).
    """

    __slots__ = ("_admits", "_done", "_engine", "_is_short", "_pause", "_posted", "_transport")

    def __init__(
        self,
        transport: Transport,
        admits: Callable[[Accepted], Accepted | None],
        done: Callable[[PostedAccept, Accepted | None, int], None],
        engine: Engine,
    ) -> None:
        """:param transport: listens. :param admits: returns what may connect, ``None`` for what is to be reset (B6.34).

        :param done: gets each Accept once, with its connection or with the Windows error.
        """
        self._transport = transport
        self._admits = admits
        self._done = done
        self._engine = engine
        self._is_short = False
        self._pause: Timer | None = None
        self._posted: deque[PostedAccept] = deque()

    def __len__(self) -> int:
        return len(self._posted)

    def post(self, accept: PostedAccept) -> None:
        self._posted.append(accept)
        if len(self._posted) == 1 and self._pause is None:
            self._transport.watch_accept(self._ready)

    def expire(self, accept: PostedAccept) -> None:
        """Fail *accept* because its time is up."""
        if accept in self._posted:
            self._posted.remove(accept)
            self._done(accept, None, WSAETIMEDOUT)
            self._rest()

    def close(self) -> None:
        """Give the port back; what waits fails."""
        if self._pause is not None:
            self._pause.cancel()
        self._has_enough()
        self._transport.close(False)
        while self._posted:
            self._done(self._posted.popleft(), None, ERROR_OPERATION_ABORTED)

    def _ready(self, _mask: int) -> None:
        refused = 0
        while self._posted and refused < _REFUSED_AT_ONCE:
            try:
                transport, sockaddr = self._transport.accept()
                accepted = _accepted(transport, sockaddr)
            except BlockingIOError:
                self._has_enough()  # the kernel reserves the descriptor before it looks for a connection
                return
            except OSError as error:
                self._done(self._posted.popleft(), None, winsock_code(error))
                if error.errno in SHORTAGES:
                    self._wait_a_moment()
                    return
                continue
            self._has_enough()
            admitted = self._admits(accepted)
            if admitted is not None:
                self._done(self._posted.popleft(), admitted, 0)
            else:
                refused += 1
                transport.close(True)
        self._rest()

    def _wait_a_moment(self) -> None:
        self._is_short = True
        self._engine.recoverer.ran_short(self)
        self._transport.pause_accept()
        self._pause = self._engine.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._posted:
            self._transport.watch_accept(self._ready)
            self._ready(INPUT)  # whoever waited may have gone, and then nothing would tell that there is enough
        else:
            self._has_enough()

    def _has_enough(self) -> None:
        """There is what an Accept needs, or none is wanted that could meet the shortage."""
        if self._is_short:
            self._is_short = False
            self._engine.recoverer.has_enough(self)

    def _rest(self) -> None:
        if not self._posted:
            self._transport.pause_accept()


def _accepted(transport: Transport, sockaddr: tuple[Any, ...]) -> Accepted:
    """:raises OSError: the connection has gone already."""
    try:
        local = SocketAddress.from_sockaddr(transport.getsockname())
    except OSError:
        transport.close(True)
        raise
    return Accepted(transport, local, SocketAddress.from_sockaddr(sockaddr))


def listen_on(local_end: LocalEnd[Any], backlog: Any, answered: Callable[[int], None]) -> None:
    """Open the bound port of *local_end* and have the kernel take connections there; what every ``Listen`` does.

    :raises COMError: ``E_INVALIDARG`` *backlog* is no number; the Winsock error of the listen or the packet filter.
    """
    backlog = max(whole(backlog, "Backlog", -INT_MOST, INT_MOST), 0)
    transport = local_end.transport
    assert transport is not None
    local_end.open_port(None, answered)
    try:
        transport.listen(backlog)
    except OSError as error:
        local_end.close_ports()
        raise winsock_error(winsock_code(error), str(error)) from error
