"""The link between two neighbouring data filters: what one sends, the other receives, the same buffer object."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fwx.impl.ceiling import FREE, has_room
from fwx.impl.operation import MOST_PENDING
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNRESET, WSAESHUTDOWN

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.operation import Operation
    from fwx.impl.runqueue import RunQueue


class Lane:
    """One direction of a junction: Sends of one filter meet Recvs of the other."""

    __slots__ = ("_queue", "backlog", "code", "on_room", "recvs", "sends", "shut")

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue
        self.sends: deque[Operation] = deque()
        self.recvs: deque[Operation] = deque()
        self.backlog = 0
        self.shut = False
        self.code = 0
        self.on_room: Any = None

    def send(self, operation: Operation) -> None:
        if self.code or self.shut:
            operation.fail(self._queue, self.code or WSAESHUTDOWN)
            return
        self.backlog += len(operation.data)
        self.sends.append(operation)
        self._match()

    def recv(self, operation: Operation) -> None:
        if self.code:
            operation.fail(self._queue, self.code)
            return
        self.recvs.append(operation)
        self._match()

    def refuse(self, operation: Operation, code: int) -> None:
        operation.fail(self._queue, code)

    def end(self) -> None:
        """The sender has no more: the receiver gets what is queued, then a buffer of size 0."""
        self.shut = True
        self._match()

    def fail(self, code: int) -> None:
        """Nothing passes any more: fail all that is pending, and all that comes, with *code*."""
        if self.code:
            return
        self.code = code
        self.fail_sends(code)
        self.fail_recvs(code)
        if self.on_room is not None:
            self.on_room()

    def fail_sends(self, code: int) -> None:
        self.backlog = 0
        while self.sends:
            self.sends.popleft().fail(self._queue, code)

    def fail_recvs(self, code: int) -> None:
        while self.recvs:
            self.recvs.popleft().fail(self._queue, code)

    def _match(self) -> None:
        queue = self._queue
        matched = False
        while self.sends:
            send = self.sends[0]
            size = len(send.data)
            taken = 0
            if size:
                if not self.recvs:
                    break
                recv = self.recvs.popleft()
                taken = size if recv.buffer is None else min(size, recv.data)
                if recv.buffer is None and send.is_whole:
                    recv.succeed(queue, send.handed_on())
                else:
                    recv.deliver(queue, memoryview(send.data)[:taken])
                self.backlog -= taken
                matched = True
            if taken < size:
                send.data = memoryview(send.data)[taken:]
                send.is_whole = False
            else:
                self.sends.popleft().succeed(queue, send.buffer)
        if self.shut and not self.sends:
            while self.recvs:
                self.recvs.popleft().deliver(queue, b"")
        if matched and self.on_room is not None:
            self.on_room()


class JunctionEnd:
    """One filter's view of the junction with its neighbour; source and sink of that filter's socket."""

    datagrams = False

    __slots__ = ("_inbound", "_outbound", "_queue", "closed", "holder")

    def __init__(self, inbound: Lane, outbound: Lane) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._queue = outbound._queue
        self.closed = False
        self.holder: Holder | None = None

    @property
    def backlog(self) -> int:
        return self._outbound.backlog

    @property
    def on_room(self) -> Any:
        return self._outbound.on_room

    @on_room.setter
    def on_room(self, function: Any) -> None:
        self._outbound.on_room = function

    def takes_recv(self) -> bool:
        return len(self._inbound.recvs) < MOST_PENDING

    def takes_send(self, ahead: int = 0) -> bool:
        waiting = self._outbound.backlog + ahead
        return (waiting < FREE or has_room(self, waiting, ahead)) and len(self._outbound.sends) < MOST_PENDING

    def has_data(self) -> bool:
        return bool(self._inbound.sends) or self._inbound.shut or bool(self._inbound.code)

    def recv(self, operation: Operation) -> None:
        if self.closed:
            self._inbound.refuse(operation, ERROR_OPERATION_ABORTED)
        else:
            self._inbound.recv(operation)

    def send(self, operation: Operation) -> None:
        self._outbound.send(operation)

    def shutdown(self, abortive: bool) -> None:
        """End the sending direction, or with *abortive* both, as a reset of a network connection does."""
        if abortive:
            self.close(True)
        else:
            self._outbound.end()

    def close(self, abortive: bool) -> None:
        """Close both directions: the neighbour reads the end (or a reset) and can no longer send."""
        if self.closed:
            return
        self.closed = True
        self._inbound.fail_recvs(ERROR_OPERATION_ABORTED)
        self._inbound.fail(WSAECONNRESET)
        if abortive:
            self._outbound.fail_sends(ERROR_OPERATION_ABORTED)
            self._outbound.fail(WSAECONNRESET)
        else:
            self._outbound.end()

    def abort(self, code: int) -> None:
        """The connection is being ended: fail everything in both directions with *code*."""
        self.closed = True
        self._inbound.fail(code)
        self._outbound.fail(code)


def junction(queue: RunQueue) -> tuple[JunctionEnd, JunctionEnd]:
    """Make the two ends of a link between neighbours: the client side's and the server side's."""
    to_server, to_client = Lane(queue), Lane(queue)
    return JunctionEnd(inbound=to_client, outbound=to_server), JunctionEnd(inbound=to_server, outbound=to_client)
