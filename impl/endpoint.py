"""The network's end of a link: a transport as the neighbour of a data filter's socket."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.ceiling import FREE, LARGEST_BLOCK, SMALLEST_BLOCK, has_room
from fwx.impl.operation import MOST_PENDING
from fwx.impl.transport import ENDING, ERROR, INPUT, OUTPUT
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNABORTED, WSAECONNRESET, WSAESHUTDOWN

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.operation import Operation
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.transport import Transport

# Bytes that are received for posted Recvs before their completions, and the other connections, get their turn.
_MOST_AT_ONCE = 16 * LARGEST_BLOCK
# Blocks that are read and thrown away when a socket is closed with data unread.
_DISCARDS = 16


class EndpointOwner(Protocol):
    """Told what happens to the transport; the connection, or a network socket."""

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        """The end is through: closed, or both directions have ended."""

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        """The transport was reset or failed with the Windows error *code*."""

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        """The peer will send no more; or the endpoint is *doomed*: it has an error that only a Send or Recv will meet,
        if one comes, or was closed with data left that the peer may never read."""


class Endpoint:
    """Sends and receives for the posted operations of one neighbour over one transport.

    Source and sink of a link: :meth:`recv` and :meth:`send` take operations, everything completes through the run
    queue. Nothing is read ahead of a posted Recv, and one Send at a time is on its way, so a peer that stops costs
    what its neighbour had posted.
    """

    datagrams = False

    __slots__ = (
        "_eof",
        "_fixed_size",
        "_listener",
        "_prefix",
        "_queue",
        "_readable",
        "_recvs",
        "_sends",
        "_shutting",
        "_size",
        "backlog",
        "broken",
        "closed",
        "ended",
        "holder",
        "hung_up",
        "on_room",
        "owner",
        "received",
        "reset_on_close",
        "sent",
        "transport",
        "write_ended",
    )

    def __init__(self, transport: Transport, queue: RunQueue, owner: EndpointOwner) -> None:
        """Take over the connected *transport*; its events come here from now on."""
        self.transport = transport
        self.owner = owner
        self.received = 0
        self.sent = 0
        self.backlog = 0
        self.broken = 0
        self.reset_on_close = False
        self.closed = False
        self.ended = False
        self.write_ended = False
        self.on_room: Any = None
        self.holder: Holder | None = None
        self._queue = queue
        self._readable = False
        self.hung_up = False
        self._eof = False
        self._recvs: deque[Operation] = deque()
        self._sends: deque[Operation] = deque()
        self._shutting = False
        self._prefix = b""
        # Small at first, so that an idle or chatty connection costs little; it grows while blocks come back full.
        self._size = SMALLEST_BLOCK
        self._fixed_size = False
        transport.watch(self.handle)

    def set_prefix(self, data: bytes) -> None:
        """Have *data* received before what the transport brings: bytes that came with a proxy request."""
        self._prefix = data

    def set_block_size(self, size: int) -> None:
        """Receive in blocks of *size* bytes instead of the size that adapts itself."""
        self._size = size
        self._fixed_size = True

    def handle(self, mask: int) -> None:
        """Take the edges of readiness; called by the poller."""
        if self.closed:
            return
        if mask & INPUT:
            self._readable = True
            if mask & ENDING:
                self.hung_up = True
                self.owner.endpoint_faltered(self, bool(mask & ERROR))
            if self._recvs:
                self._fill()
        if mask & OUTPUT and self._sends and not self.closed:
            self._flush()

    def takes_recv(self) -> bool:
        return len(self._recvs) < MOST_PENDING

    def takes_send(self, ahead: int = 0) -> bool:
        waiting = self.backlog + ahead
        return (waiting < FREE or has_room(self, waiting, ahead)) and len(self._sends) < MOST_PENDING

    def has_data(self) -> bool:
        return bool(self._prefix) or self._eof or (not self.closed and self.transport.has_data())

    def recv(self, operation: Operation) -> None:
        """Take a posted Recv."""
        if self.closed or self.broken:
            operation.fail(self._queue, self.broken or ERROR_OPERATION_ABORTED)
            return
        self._recvs.append(operation)
        if (self._readable or self._prefix) and len(self._recvs) == 1:
            self._fill()

    def send(self, operation: Operation) -> None:
        """Take a posted Send."""
        if self.closed or self.broken or self._shutting:
            operation.fail(self._queue, self.broken or (WSAESHUTDOWN if self._shutting else WSAECONNABORTED))
            return
        self.backlog += len(operation.data)
        self._sends.append(operation)
        if len(self._sends) == 1:
            self._flush()

    def shutdown(self, abortive: bool) -> None:
        """End the sending direction: by FIN behind what is queued, or at once by a reset of the whole connection."""
        if abortive:
            self.close(True)
            return
        if self._shutting or self.closed:
            return
        self._shutting = True
        if not self._sends:
            self._end_write()

    def close(self, abortive: bool) -> None:
        """End both directions. What is queued to be sent still goes out unless *abortive*; pending Recvs fail."""
        if self.closed:
            return
        abortive = abortive or self.reset_on_close
        if self.closing and not abortive:
            return
        self._fail(self._recvs, ERROR_OPERATION_ABORTED)
        if abortive or self.broken or not self._sends:
            self._close_now(abortive or bool(self.broken), ERROR_OPERATION_ABORTED)
            return
        self._shutting = True
        self.ended = True  # nobody receives any more; the last flushed Send closes
        self.owner.endpoint_faltered(self, True)

    def abort(self, code: int) -> None:
        """Reset the connection; everything pending fails with *code*."""
        if not self.closed:
            self._fail(self._recvs, code)
            self._close_now(True, code)

    @property
    def closing(self) -> bool:
        """The neighbour has closed its socket; what it had queued is still going out."""
        return self.ended and not self._eof and not self.closed

    @property
    def through(self) -> bool:
        """Both directions have ended, or the transport is closed."""
        return self.closed or (self.ended and self.write_ended)

    def _fill(self) -> None:
        recvs, left = self._recvs, _MOST_AT_ONCE
        while recvs and (self._readable or self._prefix):
            if left <= 0:
                self._queue.defer(self._fill_again)
                return
            block: bytes | None = b""
            if not self.ended:
                capacity = recvs[0].data
                size = self._size if capacity is None else min(capacity, LARGEST_BLOCK)
                block = self._receive(size, capacity is None)
                if block is None:
                    return
                left -= len(block)
            recvs.popleft().deliver(self._queue, block)
            if not block and not self.ended:
                self._end_read()

    def _fill_again(self) -> None:
        if not self.closed:
            self._fill()

    def _receive(self, size: int, adapts: bool) -> bytes | None:
        """Read at most *size* bytes, what came ahead of the transport first; ``None`` when there is nothing now."""
        if self._prefix:
            block, self._prefix = self._prefix[:size], self._prefix[size:]
            self.received += len(block)
            return block
        try:
            block = self.transport.recv(size)
        except BlockingIOError:
            self._readable = False
            return None
        except OSError as error:
            self._break(winsock_code(error))
            return None
        count = len(block)
        self.received += count
        if count < size:
            # A short read means that the kernel has no more, unless the end is behind it.
            self._readable = self.hung_up or not count
        if adapts and not self._fixed_size:
            if count == size:
                self._size = min(size << 1, self._queue.ceiling.block)
            elif count < size >> 2 and size > SMALLEST_BLOCK:
                self._size = size >> 1
        return block

    def _flush(self) -> None:
        sends = self._sends
        send = self.transport.send
        while sends:
            operation = sends[0]
            data = operation.data
            if len(data):
                try:
                    count = send(data)
                except BlockingIOError:
                    return
                except OSError as error:
                    self._break(winsock_code(error))
                    return
                self.sent += count
                self.backlog -= count
                if count < len(data):
                    operation.data = memoryview(data)[count:]
                    return
            sends.popleft().succeed(self._queue, operation.buffer)
        if self._shutting:
            self._end_write()
        if self.on_room is not None and not self.closed:
            self.on_room()

    def _end_read(self) -> None:
        self.ended = self._eof = True
        if self.through:
            self.owner.endpoint_ended(self)

    def _end_write(self) -> None:
        if self.write_ended:
            return
        self.write_ended = True
        if self.ended and not self._recvs:
            self._close_now(False, 0)
            return
        self.transport.shutdown_write()
        if self.through:
            self.owner.endpoint_ended(self)
        elif self.hung_up:
            self.owner.endpoint_faltered(self, False)

    def _break(self, code: int) -> None:
        if self.broken or self.closed:
            return
        self.broken = code
        self._fail(self._recvs, code)
        self._fail_sends(code)
        if self.on_room is not None:
            self.on_room()
        self.owner.endpoint_broken(self, code)

    def _close_now(self, abortive: bool, code: int) -> None:
        self.closed = True
        self._fail_sends(code)
        if not abortive and not self._eof:
            self._discard_unread()
        self.transport.close(abortive)
        self.owner.endpoint_ended(self)

    def _discard_unread(self) -> None:
        """Empty the socket: closing it with data unread would make the kernel send a reset instead of FIN (B3.26)."""
        try:
            for _ in range(_DISCARDS):
                if not self.transport.recv(LARGEST_BLOCK):
                    return
        except OSError:
            return

    def _fail_sends(self, code: int) -> None:
        self.backlog = 0
        self._fail(self._sends, code)

    def _fail(self, operations: deque[Operation], code: int) -> None:
        while operations:
            operations.popleft().fail(self._queue, code or WSAECONNRESET)
