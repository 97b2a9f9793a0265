"""What arrives at a socket, received data or accepted connections: given to whoever waits, kept for whoever comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from typing import Any, Generic, NamedTuple, TypeVar

from zope.interface import implementer

from fwx.aio.wait import Wait
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    HRESULT_FROM_WIN32,
    COMError,
    IFWXAcceptCompletion,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXSocket,
    SocketAddress,
)

T = TypeVar("T")


class CompletionError(COMError):
    """The failure that a completion brought.

    :ivar socket: the socket whose operation failed.
    """

    def __init__(self, socket: IFWXSocket, code: int, what: str) -> None:
        """*code* is the completion's ``Win32ErrorCode``; *what* names the operation."""
        super().__init__(HRESULT_FROM_WIN32(code), f"{what} failed")
        self.socket = socket


class Arrival(Wait[T]):
    """The wait for one arrival; giving it up takes nothing from the next one."""

    __slots__ = ("_arrivals",)

    def __init__(self, loop: asyncio.AbstractEventLoop, arrivals: Arrivals[T]) -> None:
        self._loop = loop
        self._callback = self._error = None
        self.pending = True
        self._arrivals = arrivals

    def __await__(self) -> Generator[Any, None, T]:
        if self.pending:
            self._asyncio_future_blocking = True
            try:
                yield self
            except BaseException as error:
                self._thrown(error)
                raise
        return self.result()

    def cancel(self, msg: Any = None) -> bool:
        self._arrivals.forget(self)
        return super().cancel(msg)

    def _thrown(self, error: BaseException) -> None:
        """The coroutine is left by *error*: by its outcome, or by what keeps it from taking one."""
        if self.pending:
            self.pending = False
            self._arrivals.forget(self)
        elif error is not self._error and not isinstance(self._error, asyncio.CancelledError):
            # The outcome came, and something else was thrown into the coroutine before it could take it.
            self._arrivals.give_back(None if self._error else self._value, self._error)


class Arrivals(Unknown, Generic[T]):
    """The posted operations of one kind on one socket, and who waits for them.

    Operations complete in order, and the oldest wait gets what comes next. An operation whose wait was given up stays
    posted. What it brings, data or an error, is kept for the next wait, so nothing is lost and the order stays.
    """

    __slots__ = ("_closed", "_kept", "_loop", "_posted", "_socket", "_waits")

    def __init__(self, socket: IFWXSocket) -> None:
        self._socket = socket
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._posted = 0
        self._kept: deque[tuple[T | None, BaseException | None]] = deque()
        self._waits: deque[Arrival[T]] = deque()

    def wait(self, buffer: IFWXIOBuffer | None = None) -> Arrival[T]:
        """Return a wait for what comes next; post an operation, with *buffer*, unless one is there for it.

        :raises COMError: the operation is refused.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        wait = Arrival(loop, self)
        if self._kept:
            wait._value, wait._error = self._kept.popleft()  # type: ignore[assignment]  # one is None
            wait.pending = False
            return wait
        if self._posted <= len(self._waits):
            self._post(buffer)
            self._posted += 1
        self._waits.append(wait)
        return wait

    def forget(self, wait: Arrival[T]) -> None:
        if wait in self._waits:
            self._waits.remove(wait)

    def give_back(self, value: T | None, error: BaseException | None) -> None:
        """Put an outcome in front of what comes next."""
        self._kept.appendleft((value, error))
        while self._kept and self._waits:
            _give(self._waits.popleft(), *self._kept.popleft())
        if self._closed:
            self.drop()

    def close(self) -> None:
        """The socket has been closed: what was not fetched, and what still comes and nobody waits for, is dropped."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Drop what is kept."""
        self._kept.clear()

    def _post(self, buffer: IFWXIOBuffer | None) -> None:
        raise NotImplementedError

    def _arrived(self, value: T | None, error: BaseException | None) -> None:
        self._posted -= 1
        if self._waits:
            _give(self._waits.popleft(), value, error)
            return
        self._kept.append((value, error))
        if self._closed:
            self.drop()


def _give(wait: Arrival[T], value: Any, error: BaseException | None) -> None:
    if error is None:
        wait.succeed(value)
    else:
        wait.fail(error)


Received = tuple[IFWXIOBuffer, SocketAddress | None]


@implementer(IFWXIOCompletion)
class Receives(Arrivals[Received]):
    """The posted ``Recv`` operations of a socket."""

    __slots__ = ()

    def _post(self, buffer: IFWXIOBuffer | None) -> None:
        self._socket.Recv(buffer, self, None)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if not fSuccess or pIOBuffer is None:
            self._arrived(None, CompletionError(self._socket, Win32ErrorCode, "Recv"))
        elif self._waits:
            self._posted -= 1
            self._waits.popleft().succeed((pIOBuffer, ExternalAddress))
        else:
            self._arrived((pIOBuffer, ExternalAddress), None)


class RawAccepted(NamedTuple):
    """What a completed ``Accept`` brings."""

    socket: IFWXNetworkSocket
    remote: SocketAddress
    local: SocketAddress


@implementer(IFWXAcceptCompletion)
class Accepts(Arrivals[RawAccepted]):
    """The posted ``Accept`` operations of a socket."""

    __slots__ = ()

    def _post(self, buffer: IFWXIOBuffer | None) -> None:
        self._socket.QueryInterface(IFWXNetworkSocket).Accept(self, None)

    def drop(self) -> None:
        """Reset the connections that nobody has fetched."""
        kept = list(self._kept)
        super().drop()
        for accepted, _ in kept:
            if accepted is not None:
                accepted.socket.Close(True)

    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: IFWXNetworkSocket,
        pAcceptSocket: IFWXNetworkSocket | None,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int,
        LocalAddress: SocketAddress,
        LocalAddressLength: int,
        UserData: Any,
    ) -> None:
        if fSuccess and pAcceptSocket is not None:
            self._arrived(RawAccepted(pAcceptSocket, RemoteAddress, LocalAddress), None)
        else:
            self._arrived(None, CompletionError(self._socket, Win32ErrorCode, "Accept"))
