"""AsyncSocket: the calls of a socket as coroutines."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, NamedTuple, Self

from zope.interface import implementer

from fwx.aio.arrivals import Accepts, CompletionError, Received, Receives
from fwx.aio.wait import Wait
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    HRESULT_FROM_WIN32,
    WSAEOPNOTSUPP,
    COMError,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXSocket,
    SocketAddress,
)

_NOTHING = b""


class Accepted(NamedTuple):
    """A connection that :meth:`AsyncSocket.accept` has taken.

    :ivar remote: the peer's address; :attr:`local`, the one that it connected to.
    """

    socket: AsyncSocket
    remote: SocketAddress
    local: SocketAddress


@implementer(IFWXIOCompletion)
class _Sends(Unknown):
    """The completion of a socket's sends; each one's user data is who waits for it."""

    __slots__ = ("_loop", "_socket")

    def __init__(self, socket: IFWXSocket) -> None:
        self._socket = socket
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, buffer: IFWXIOBuffer) -> Wait[None]:
        """Post *buffer* and return the wait for its completion.

        :raises COMError: the send is refused.
        """
        wait = self._made()
        self._socket.Send(buffer, self, wait)
        return wait

    def wait_to(self, buffer: IFWXIOBuffer, address: SocketAddress) -> Wait[None]:
        """As :meth:`wait`, for a datagram to *address*."""
        wait = self._made()
        self._socket.SendTo(buffer, address, None, self, wait)
        return wait

    def _made(self) -> Wait[None]:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        return Wait(loop)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if fSuccess:
            UserData.succeed(None)
        else:
            UserData.fail(CompletionError(self._socket, Win32ErrorCode, "Send"))


class AsyncSocket:
    """The async face of an ``IFWXSocket`` or ``IFWXNetworkSocket``, whoever implements it.

    Made by the filter around a socket that it has, or by :class:`AsyncDataFilter` for :meth:`AsyncDataFilter.run`.
    Used in coroutines of the loop thread alone. One object serves a socket: receives that two of them post would take
    each other's data.

    Nothing is lost when the task of a call is cancelled, by ``asyncio.timeout`` for one. A receive or an accept
    stays posted, and what it brings goes to the next call; a send stays queued and goes out; a connect goes on.

    Every method raises the :class:`~fwx.interfaces.hresult.COMError` of the COM call. What the completion reports is
    raised as ``HRESULT_FROM_WIN32`` of its error.

    :ivar socket: the COM object, for its other methods (``Bind``, ``Listen``, ``SetSockOpt``).
    """

    __slots__ = ("__weakref__", "_accepts", "_receives", "_sends", "socket")

    def __init__(self, socket: IFWXSocket) -> None:
        self.socket: Any = socket
        self._receives = Receives(socket)
        self._sends = _Sends(socket)
        self._accepts: Accepts | None = None

    async def receive(self, buffer: IFWXIOBuffer | None = None) -> IFWXIOBuffer:
        """Wait for data (``Recv``) and return its buffer, of size 0 at the end of the stream, then and ever after.

        :param buffer: where to put the data; ``None``, the recommended form, has the service supply it (B3.12). When
            an earlier receive was cancelled, the data comes in the buffer of that one: what counts is the result.
        """
        return (await self._receives.wait(buffer))[0]

    async def receive_from(self, buffer: IFWXIOBuffer | None = None) -> Received:
        """Wait for a datagram; return its buffer, and the external party's address, ``None`` on TCP (B3.21)."""
        return await self._receives.wait(buffer)

    async def send(self, data: IFWXIOBuffer | bytes | bytearray | memoryview) -> None:
        """Send *data* (``Send``) and wait until the kernel, or the next filter, has taken all of it (B3.14).

        Waiting for each send is what holds a fast sender back. A buffer is frozen; other bytes than ``bytes`` are
        copied first.
        """
        await self._sends.wait(_buffer_of(data))

    async def send_to(self, data: IFWXIOBuffer | bytes | bytearray | memoryview, address: SocketAddress) -> None:
        """Send a datagram to *address* (``SendTo``); for UDP sockets (B3.23)."""
        await self._sends.wait_to(_buffer_of(data), address)

    async def connect(self, address: SocketAddress) -> None:
        """Connect to *address* (``Connect``) and wait for the outcome.

        ``Connect`` has no completion. A send of no bytes waits behind it and ends as it ends (B4.14). On a UDP socket
        that would be a datagram, so there *address* is no name: :func:`get_host_by_name` comes first.

        :raises COMError: ``E_INVALIDARG`` a name, for a UDP socket.
        """
        network_socket = self.socket.QueryInterface(IFWXNetworkSocket)
        if isinstance(address, SocketAddress) and address.address is None and _takes_datagrams(network_socket):
            raise COMError(E_INVALIDARG, f"{address.host} is a name: look it up first")
        network_socket.Connect(address)
        try:
            network_socket.GetPeerName()
        except COMError:
            await self.send(_NOTHING)

    async def accept(self) -> Accepted:
        """Wait for one connection (``Accept``) of a socket that listens."""
        if self._accepts is None:
            self._accepts = Accepts(self.socket)
        accepted = await self._accepts.wait()
        return Accepted(AsyncSocket(accepted.socket), accepted.remote, accepted.local)

    def shutdown(self, abortive: bool = False) -> None:
        """End the sending direction behind what was sent (``Shutdown``); *abortive* resets the connection (B3.25)."""
        self.socket.Shutdown(abortive)

    def close(self, abortive: bool = False) -> None:
        """End the socket (``Close``); what arrived and was not fetched is dropped (B3.26)."""
        self.socket.Close(abortive)
        self._receives.close()
        if self._accepts is not None:
            self._accepts.close()

    def __aiter__(self) -> Self:
        """Go through what is received, up to the end of the stream."""
        return self

    async def __anext__(self) -> IFWXIOBuffer:
        buffer, _ = await self._receives.wait()
        if not buffer.GetBufferSizes()[1]:
            raise StopAsyncIteration
        return buffer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket: by a reset where an exception leaves the block, for the stream is not whole then."""
        self.close(kind is not None)


def _takes_datagrams(network_socket: Any) -> bool:
    """Tell whether it is a UDP socket, by what it says to an ``Accept`` that no socket takes."""
    try:
        network_socket.Accept(None, None)
    except COMError as error:
        return bool(error.hresult == HRESULT_FROM_WIN32(WSAEOPNOTSUPP))
    return False


def _buffer_of(data: Any) -> IFWXIOBuffer:
    """Return *data* as a buffer that nobody else can change."""
    if type(data) is FWXIOBuffer or IFWXIOBuffer.providedBy(data):
        return data
    buffer = FWXIOBuffer.constant(data)
    return buffer if type(data) is bytes else FWXIOBuffer(bytes(buffer.GetBufferAndSize()))
