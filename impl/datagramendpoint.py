"""The network's end of a link of datagrams: a transport as the neighbour of a UDP socket."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.ceiling import FREE, has_room
from fwx.impl.operation import MOST_PENDING
from fwx.impl.transport import ENDING, INPUT, OUTPUT
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    ERROR_OPERATION_ABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
)

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.operation import DatagramOperation
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.transport import DatagramTransport

# Datagrams taken at one event, so that a flood leaves the others their turn.
_TAKEN_AT_ONCE = 256
# What the kernel reports of an earlier datagram, by ICMP, and not of the call that it answers so.
REPORTED = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EPROTO, errno.ENOPROTOOPT}
)


class DatagramOwner(Protocol):
    """Told what passes; a UDP socket, or the connection whose datagrams they are."""

    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        """Tell whether a datagram that came from *external* may be received."""

    def datagram_sent(self, external: SocketAddress | None, size: int) -> None:
        """A datagram has left, to *external* or to the connected peer."""

    def datagrams_ended(self) -> None:
        """The transport is closed."""


class DatagramEndpoint:
    """Sends and receives whole datagrams for the posted operations of one neighbour.

    Nothing is received ahead of a posted Recv: what comes meanwhile waits in the kernel's buffer, and what does not fit
    there is lost, as UDP has it. An error that the network reports (ICMP) fails the oldest Recv, or the next one;
    ``WSAECONNRESET`` stands for "nobody listens there", as in Winsock.
    """

    datagrams = True

    __slots__ = (
        "_closing",
        "_error",
        "_owner",
        "_queue",
        "_readable",
        "_recvs",
        "_sends",
        "_shutting",
        "backlog",
        "closed",
        "holder",
        "on_room",
        "transport",
    )

    def __init__(self, transport: DatagramTransport, queue: RunQueue, owner: DatagramOwner) -> None:
        """Take over the *transport*; :meth:`start` begins to watch it."""
        self.transport = transport
        self.backlog = 0
        self.closed = False
        self.on_room: Any = None
        self.holder: Holder | None = None
        self._owner = owner
        self._queue = queue
        self._readable = False
        self._recvs: deque[DatagramOperation] = deque()
        self._sends: deque[DatagramOperation] = deque()
        self._shutting = False
        self._closing = False
        self._error: tuple[int, SocketAddress | None] | None = None

    def start(self) -> None:
        """Have the transport's events come here; on the loop thread."""
        if not self.closed:
            self.transport.watch(self.handle)

    def handle(self, mask: int) -> None:
        """Take the edges of readiness; called by the poller."""
        if self.closed:
            return
        if mask & ENDING:
            self._take_errors()
        if mask & INPUT:
            self._readable = True
            self._fill()
        if mask & OUTPUT and self._sends and not self.closed:
            self._flush()

    def takes_recv(self) -> bool:
        return len(self._recvs) < MOST_PENDING

    def takes_send(self, ahead: int = 0) -> bool:
        waiting = self.backlog + ahead
        return (waiting < FREE or has_room(self, waiting, ahead)) and len(self._sends) < MOST_PENDING

    def has_data(self) -> bool:
        return not self.closed and self.transport.has_data()

    def recv(self, operation: DatagramOperation) -> None:
        """Take a posted Recv."""
        if self._closing:
            operation.fail(self._queue, ERROR_OPERATION_ABORTED)
            return
        self._recvs.append(operation)
        if self._error is not None:
            self._report(*self._error)
        elif self._readable:
            self._fill()

    def send(self, operation: DatagramOperation) -> None:
        """Take a posted Send or SendTo."""
        if self._shutting:
            operation.fail(self._queue, ERROR_OPERATION_ABORTED if self._closing else WSAESHUTDOWN)
            return
        self.backlog += len(operation.data)
        self._sends.append(operation)
        if len(self._sends) == 1:
            self._flush()

    def shutdown(self, abortive: bool) -> None:
        """Send no more; with *abortive* close, there is no reset to send."""
        if abortive:
            self.close(True)
        self._shutting = True

    def close(self, abortive: bool) -> None:
        """Receive no more; what is queued still goes out unless *abortive*."""
        if self.closed:
            return
        self._shutting = self._closing = True
        while self._recvs:
            self._recvs.popleft().fail(self._queue, ERROR_OPERATION_ABORTED)
        if abortive or not self._sends:
            self._close_now()

    def expire_recv(self) -> None:
        """The oldest Recv has waited for too long."""
        if self._recvs:
            self._recvs.popleft().fail(self._queue, WSAETIMEDOUT)

    def expire_send(self) -> None:
        """The oldest Send has waited for too long; a datagram is sent whole or not at all."""
        if self._sends:
            operation = self._sends.popleft()
            self.backlog -= len(operation.data)
            operation.fail(self._queue, WSAETIMEDOUT)

    def _fill(self) -> None:
        recvs, receive, owner = self._recvs, self.transport.receive, self._owner
        for _ in range(_TAKEN_AT_ONCE):
            if not recvs:
                return
            try:
                block, sockaddr = receive()
            except BlockingIOError:
                self._readable = False
                return
            except InterruptedError:  # many were dropped: no fault of who receives
                break
            except OSError as error:
                if error.errno in REPORTED:
                    self._take_errors()
                else:
                    recvs.popleft().fail(self._queue, winsock_code(error))
                continue
            external = SocketAddress.from_sockaddr(sockaddr)
            if owner.admits_datagram(external, len(block)):
                recvs.popleft().deliver_from(self._queue, block, external)
        self._queue.defer(self._again)

    def _again(self) -> None:
        if not self.closed:
            self._fill()

    def _flush(self) -> None:
        sends = self._sends
        while sends:
            operation = sends[0]
            try:
                self._transmit(operation)
            except BlockingIOError:
                return
            except OSError as error:
                sends.popleft().fail(self._queue, winsock_code(error))
            else:
                sends.popleft().succeed(self._queue, operation.buffer)
                self._owner.datagram_sent(operation.target, len(operation.data))
            self.backlog -= len(operation.data)
        if self._closing and not self.closed:
            self._close_now()
        if self.on_room is not None and not self.closed:
            self.on_room()

    def _transmit(self, operation: DatagramOperation) -> None:
        """Send one datagram. An error that is an earlier one's is kept for a Recv, and the call made once more."""
        try:
            self._transmit_once(operation)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in REPORTED or not self._take_errors():
                raise
            self._transmit_once(operation)

    def _transmit_once(self, operation: DatagramOperation) -> None:
        if operation.target is None:
            self.transport.send(operation.data)
        else:
            self.transport.send_to(operation.data, operation.target.sockaddr)

    def _take_errors(self) -> bool:
        """Take what the network has reported; tell whether there was anything."""
        taken = False
        while (reported := self.transport.take_error()) is not None:
            taken = True
            number, target = reported
            code = winsock_code(OSError(number, "reported by the network"))
            code = WSAECONNRESET if code == WSAECONNREFUSED else code
            self._report(code, None if target is None else SocketAddress.from_sockaddr(target))
        return taken

    def _report(self, code: int, external: SocketAddress | None) -> None:
        """Fail the oldest Recv, or the next one that comes; of several errors meanwhile the last counts."""
        if self._recvs:
            self._error = None
            self._recvs.popleft().fail_from(self._queue, code, external)
        else:
            self._error = (code, external)

    def _close_now(self) -> None:
        self.closed = True
        self.backlog = 0
        while self._sends:
            self._sends.popleft().fail(self._queue, ERROR_OPERATION_ABORTED)
        self.transport.close(False)
        self._owner.datagrams_ended()
