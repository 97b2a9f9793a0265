"""The ends of a recorded connection: they stand in front of what carries its data, and note what passes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from fwx.impl.transport import READABLE, Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.datagramchain import DatagramChain
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.tracing import Passed
    from fwx.impl.transport import Transport
    from fwx.impl.udpdestination import Exit
    from fwx.interfaces import SocketAddress
    from fwx.tracing.recording import Recording


class RecordedTransport:
    """One side's transport (:class:`fwx.impl.transport.Transport`); what it does not note goes straight through."""

    def __init__(self, transport: Transport, recording: Recording, side: str, early: bytes, queue: RunQueue) -> None:
        """*early* has come ahead of *transport*: it is received first, so that it is noted in its place."""
        self._transport = transport
        self._recording = recording
        self._side = side
        self._early = early
        self._queue = queue
        self._has_ended = False
        self._is_closed = self._is_shut = False
        self.recv: Callable[[int], bytes] = self._recv
        self.recv_into: Callable[[Any], int] = self._recv_into
        self.send: Callable[[Any], int] = self._send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def watch(self, handler: Handler) -> None:
        self._transport.watch(handler)
        if self._early:
            self._queue.post(handler, READABLE)

    def take_over(self, handler: Handler) -> None:
        self.watch(handler)

    def has_data(self) -> bool:
        return bool(self._early) or self._transport.has_data()

    def take_error(self) -> int:
        error = self._transport.take_error()
        if error:
            self._failed(error)
        return error

    def shutdown_write(self) -> None:
        self._transport.shutdown_write()
        self._shut()

    def close(self, abortive: bool) -> None:
        self._transport.close(abortive)
        if abortive and not self._is_closed:
            self._note("sees a reset")
        elif not self._is_closed:
            self._shut()
        self._is_closed = True

    def _shut(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            self._note("sees the end")

    def _recv(self, size: int) -> bytes:
        if self._early:
            block, self._early = self._early[:size], self._early[size:]
        else:
            try:
                block = self._transport.recv(size)
            except OSError as error:
                self._failed(error.errno)
                raise
        self._received(block)
        return block

    def _recv_into(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        block = self._recv(len(view))
        view[: len(block)] = block
        return len(block)

    def _send(self, data: Any) -> int:
        try:
            count = self._transport.send(data)
        except OSError as error:
            self._failed(error.errno)
            raise
        if count:
            self._note("gets", bytes(memoryview(data).cast("B")[:count]))
        return count

    def _received(self, block: bytes) -> None:
        if block:
            self._note("sends", bytes(block))
        elif not self._has_ended:
            self._has_ended = True
            self._note("ends")

    def _failed(self, number: int | None) -> None:
        if number not in (errno.EAGAIN, errno.EWOULDBLOCK):
            self._note("resets")

    def _note(self, what: str, data: bytes = b"") -> None:
        self._recording.side(self._side, what, data)


class RecordedExit:
    """What datagrams to the server leave by."""

    def __init__(self, exit_: Exit, recording: Recording) -> None:
        self._exit = exit_
        self._recording = recording

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self._exit.send_to(data, sockaddr)
        self._recording.side("server", "gets", bytes(data))

    def take_error(self) -> object:
        return self._exit.take_error()


class DirectChain:
    """In the place of a chain (:class:`fwx.impl.datagramchain.DatagramChain`) where no filter looks."""

    def __init__(self, outward: Passed, inward: Passed) -> None:
        """*outward* takes datagrams to the server, *inward* to the client."""
        self._outward = outward
        self._inward = inward

    def from_client(self, data: Any, target: SocketAddress) -> bool:
        self._outward(data, target)
        return True

    def from_server(self, data: Any, source: SocketAddress) -> bool:
        self._inward(data, source)
        return True

    def abort(self) -> None:
        """Nothing is pending."""


class RecordedChain:
    """In front of the chain of a UDP destination."""

    def __init__(self, chain: DatagramChain, recording: Recording) -> None:
        self._chain = chain
        self._recording = recording

    def from_client(self, data: Any, target: SocketAddress) -> bool:
        self._recording.side("client", "sends", bytes(data))
        return self._chain.from_client(data, target)

    def from_server(self, data: Any, source: SocketAddress) -> bool:
        self._recording.side("server", "sends", bytes(data))
        return self._chain.from_server(data, source)

    def abort(self) -> None:
        """The destination is forgotten, or its connection ends."""
        self._chain.abort()
        self._recording.end("")
