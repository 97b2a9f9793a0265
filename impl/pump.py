"""The built-in pump: moves the data of a connection that no data filter watches (B3.1)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.ceiling import SMALLEST_BLOCK
from fwx.impl.transport import ENDING, ERROR, HANGUP, INPUT, OUTPUT, READABLE, WRITABLE
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import WSAECONNRESET

if TYPE_CHECKING:
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.transport import Transport

# Blocks that one direction moves before the other connections get their turn.
_ROUNDS = range(16)
# The mask of nearly every event: there is data, and the socket could be written to all along.
_PLAIN = READABLE | WRITABLE


class PumpOwner(Protocol):
    def pump_ended(self, code: int) -> None:
        """Both directions have ended (*code* 0), or a side was reset with the Windows error *code*."""


class Flow:
    """One direction: what came from the source and the sink has not taken yet, and how both stand."""

    __slots__ = ("count", "ended", "hangup", "pending", "readable", "recv", "send", "sink", "size", "source")

    def __init__(self, source: Transport, sink: Transport) -> None:
        self.source = source
        self.sink = sink
        self.recv = source.recv
        self.send = sink.send
        self.pending: Any = None
        self.readable = False
        self.hangup = False
        self.ended = False
        self.count = 0
        self.size = SMALLEST_BLOCK


class Pump:
    """Two flows between a client's and a server's transport.

    Half-close is kept: the end of one flow shuts down its sink and leaves the other flow. A reset of one side resets
    the other. A side that stops reading stops the other after one block.
    """

    __slots__ = ("_closed", "_owner", "_queue", "down", "up")

    def __init__(
        self,
        client: Transport,
        server: Transport,
        queue: RunQueue,
        owner: PumpOwner,
        prefix: bytes = b"",
        answer: bytes = b"",
    ) -> None:
        """Take over both transports.

        *prefix* came from the client before and goes to the server first, *answer* from the server to the client.
        """
        self.up = Flow(client, server)
        self.down = Flow(server, client)
        self.up.pending = prefix or None
        self.down.pending = answer or None
        self._queue = queue
        self._owner = owner
        self._closed = False

    def start(self, told: tuple[int, int] | None = None) -> None:
        """Begin to pump; both transports' events come here from now on, first what they are ready for.

        *told* are the masks that the client's handler and the server's have been told so far, of transports that have
        been watched, and of which nothing has been read or sent since.
        """
        if told is None:
            self.up.source.watch(self._client_event)
            self.down.source.watch(self._server_event)
            self._run(self.up)
            return
        self.up.source.take_over(self._client_event)
        self.down.source.take_over(self._server_event)
        self._queue.post(self._begin, told)

    def _begin(self, told: tuple[int, int]) -> None:
        client, server = told
        if client and not self._closed:
            self._client_event(client)
        if (server & INPUT or self.up.pending is not None) and not self._closed:
            self._server_event(server)

    def close(self, abortive: bool) -> None:
        """Close both transports; the owner is not told. Another time it does nothing."""
        if not self._closed:
            self._closed = True
            self.up.source.close(abortive)
            self.down.source.close(abortive)

    def _client_event(self, mask: int) -> None:
        up = self.up
        if mask == _PLAIN and self.down.pending is None:
            up.readable = True
            self._run(up)
        else:
            self._event(mask, up, self.down)

    def _server_event(self, mask: int) -> None:
        down = self.down
        if mask == _PLAIN and self.up.pending is None:
            down.readable = True
            self._run(down)
        else:
            self._event(mask, down, self.up)

    def _event(self, mask: int, inward: Flow, outward: Flow) -> None:
        """Take an event of one transport, the source of *inward* and the sink of *outward*."""
        if mask & INPUT:
            inward.readable = True
            if mask & ENDING:
                inward.hangup = True
                if mask & ERROR and (inward.ended or inward.pending is not None) and self._is_reset(inward):
                    return
            self._run(inward)
        if mask & OUTPUT and not self._closed and (outward.pending is not None or mask & (ERROR | HANGUP)):
            self._run(outward)

    def _is_reset(self, flow: Flow) -> bool:
        """A source that was reset when it has ended or its sink stands still: nobody would read, and find the error."""
        error = flow.source.take_error()
        if error:
            self._end(winsock_code(OSError(error, os.strerror(error))))
        return bool(error)

    def _run(self, flow: Flow) -> None:
        if flow.ended or (flow.pending is None and not flow.readable):
            return
        send = flow.send
        recv = flow.recv
        pending = flow.pending
        for _ in _ROUNDS:
            if pending is None:
                size = flow.size
                try:
                    pending = recv(size)
                except BlockingIOError:
                    flow.readable = False
                    return
                except OSError as error:
                    self._end(winsock_code(error))
                    return
                count = len(pending)
                if not count:
                    self._finish(flow)
                    return
                if count < size:
                    # A short read means that the kernel has no more, unless the end is behind it.
                    flow.readable = flow.hangup
                    if count < size >> 2 and size > SMALLEST_BLOCK:
                        flow.size = size >> 1
                elif size != (most := self._queue.ceiling.block):
                    flow.size = min(size << 1, most)
            try:
                count = send(pending)
            except BlockingIOError:
                flow.pending = pending
                return
            except OSError as error:
                self._sink_failed(flow, winsock_code(error))
                return
            flow.count += count
            if count < len(pending):
                flow.pending = memoryview(pending)[count:]
                return
            pending = flow.pending = None
            if not flow.readable:
                return
        self._queue.defer(self._again, flow)

    def _again(self, flow: Flow) -> None:
        if not self._closed:
            self._run(flow)

    def _finish(self, flow: Flow) -> None:
        flow.ended = True
        if self.up.ended and self.down.ended:
            self._end(0)
        else:
            flow.sink.shutdown_write()

    def _sink_failed(self, flow: Flow, code: int) -> None:
        """The sink takes no more; what it had sent before (an early answer) is still passed on, then the reset."""
        flow.pending = None
        flow.ended = True
        other = self.down if flow is self.up else self.up
        if other.ended:
            self._end(code)
            return
        other.hangup = other.readable = True
        self._run(other)
        if not self._closed and other.pending is None:
            self._end(code or WSAECONNRESET)

    def _end(self, code: int) -> None:
        if not self._closed:
            self.close(bool(code))
            self._owner.pump_ended(code)
