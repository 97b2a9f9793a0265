"""The sockets that data filters pump between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.ceiling import FREE
from fwx.impl.iobuffer import begin_receive, data_of, give_back
from fwx.impl.operation import MOST_PENDING, DatagramOperation, Operation
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXSocket, SocketAddress
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_TERMINATING,
    HRESULT,
    S_FALSE,
    S_OK,
    WSAENOBUFS,
    WSAENOTCONN,
    WSAENOTSOCK,
    WSAEOPNOTSUPP,
    WSAESHUTDOWN,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.operation import Owner
    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion

# Guards every socket's count of crossing calls: they are rare, so one lock serves all.
_crossings = Lock()


class Neighbour(Protocol):
    """What stands behind a socket: an endpoint of the network or a junction with another filter.

    :ivar datagrams: it carries whole datagrams, each with an external address, and no stream.
    """

    on_room: Any

    @property
    def datagrams(self) -> bool: ...

    @property
    def backlog(self) -> int: ...

    def has_data(self) -> bool:
        """A Recv would find something at once."""

    def takes_recv(self) -> bool:
        """There is room for one more Recv."""

    def takes_send(self, ahead: int = 0) -> bool:
        """There is room for one more Send, *ahead* bytes being on their way from another thread."""

    # An Operation; where there are datagrams, a DatagramOperation.

    def recv(self, operation: Any) -> None: ...

    def send(self, operation: Any) -> None: ...

    def shutdown(self, abortive: bool) -> None: ...

    def close(self, abortive: bool) -> None: ...


@implementer(IFWXSocket)
class FWXSocket(Unknown):
    """One of the two sockets of a data filter (B3.3, B3.4, B4.1).

    The same class with the same answers whatever its neighbour is. Every method may be called from any thread: off
    the loop thread the call is queued and takes effect there.
    """

    __slots__ = (
        "_closed",
        "_crossing",
        "_crossing_bytes",
        "_held",
        "_neighbour",
        "_on_rest",
        "_owner",
        "_queue",
        "_shut",
        "_terminated",
        "_twin",
        "_written",
    )

    def __init__(self, queue: RunQueue, owner: Owner, neighbour: Neighbour | None = None) -> None:
        """Made by the registry's adapters; *owner* hears of completions that fail."""
        self._queue = queue
        self._owner = owner
        self._neighbour = neighbour
        self._twin: FWXSocket | None = None
        self._held: deque[Operation] | None = None
        self._shut = False
        self._closed = False
        self._terminated = False
        self._written = 0
        # Calls of other threads that have not reached the loop thread, and the bytes that they send.
        self._crossing = 0
        self._crossing_bytes = 0
        self._on_rest: Callable[[], None] | None = None

    def pair_with(self, twin: FWXSocket) -> None:
        """Make *twin* the filter's other socket: what it has queued to send holds back what this one receives."""
        self._twin = twin
        twin._require_neighbour().on_room = self._release_held

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        """Post *pIOBuffer*, which is frozen from now on (B3.14).

        :raises COMError: ``E_POINTER`` no buffer; ``E_INVALIDARG`` none of bytes; ``E_ACCESSDENIED`` one that waits for
            a Recv; ``WSAESHUTDOWN`` after Shutdown, ``WSAENOTSOCK`` after Close,
            ``WSAENOBUFS`` 4096 Sends are waiting, or as many bytes as may (``fwx.impl.ceiling``);
            ``FWX_E_TERMINATING`` once the connection ends. A peer that is gone is no error of the call: the completion
            reports it.
        """
        if pIOBuffer is None:
            raise COMError(E_POINTER, "Send needs a buffer")
        self._require_open()
        if self._shut:
            raise winsock_error(WSAESHUTDOWN, "Send after Shutdown")
        neighbour = self._require_neighbour()
        if not neighbour.takes_send(self._crossing_bytes) or self._crossing >= MOST_PENDING:
            raise winsock_error(WSAENOBUFS, f"{neighbour.backlog} bytes wait to be sent: wait for the completions")
        kind = DatagramOperation if neighbour.datagrams else Operation
        operation = kind(self._owner, pIFWXIOCompletion, UserData, pIOBuffer, data_of(pIOBuffer))
        self._call(len(operation.data), neighbour.send, operation)
        self._written += len(operation.data)

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        """Post one datagram to *Address*, on the internal socket as if it came from there (B3.21, B3.23).

        A data filter's socket takes the name that a client has used, too: it is what a Recv has brought.

        :raises COMError: ``WSAEOPNOTSUPP`` a TCP socket; ``E_POINTER`` no buffer or address; ``E_INVALIDARG`` not an
            address, or one shorter than *AddressLength*; otherwise as :meth:`Send`.
        """
        self._require_open()
        neighbour = self._require_neighbour()
        if not neighbour.datagrams:
            raise winsock_error(WSAEOPNOTSUPP, "SendTo is for UDP sockets")
        if pIOBuffer is None:
            raise COMError(E_POINTER, "SendTo needs a buffer")
        check_address(Address, AddressLength)
        if self._shut:
            raise winsock_error(WSAESHUTDOWN, "SendTo after Shutdown")
        if not neighbour.takes_send(self._crossing_bytes) or self._crossing >= MOST_PENDING:
            raise winsock_error(WSAENOBUFS, f"{neighbour.backlog} bytes wait to be sent: wait for the completions")
        data = data_of(pIOBuffer)
        operation = DatagramOperation(self._owner, pIFWXIOCompletion, UserData, pIOBuffer, data, Address)
        self._call(len(data), neighbour.send, operation)
        self._written += len(data)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        """Ask for data; the completion brings a buffer, of size 0 at the end of the stream (B3.12, B3.13, B3.24).

        :raises COMError: ``E_POINTER`` no completion; ``E_INVALIDARG`` a buffer that holds nothing, ``E_ACCESSDENIED``
            one that is not the caller's to change or is posted already; ``WSAENOTSOCK`` after Close; ``WSAENOBUFS``
            4096 Recvs are pending; ``FWX_E_TERMINATING`` once the connection ends.
        """
        if pIFWXIOCompletion is None:
            raise COMError(E_POINTER, "Recv needs a completion")
        self._require_open()
        neighbour = self._require_neighbour()
        held = len(self._held) if self._held else 0
        if not neighbour.takes_recv() or max(self._crossing, held) >= MOST_PENDING:
            raise winsock_error(WSAENOBUFS, f"{MOST_PENDING} Recvs are pending: wait for the completions")
        capacity = None if pIOBuffer is None else begin_receive(pIOBuffer)
        kind = DatagramOperation if neighbour.datagrams else Operation
        operation = kind(self._owner, pIFWXIOCompletion, UserData, pIOBuffer, capacity)
        try:
            self._call(0, self._take, neighbour, operation)
        except COMError:
            give_back(pIOBuffer)
            raise

    def Shutdown(self, fAbortive: bool) -> None:
        """End the sending direction, behind what is queued; *fAbortive* resets the connection (B3.25).

        :raises COMError: ``WSAENOTSOCK`` after Close; ``FWX_E_TERMINATING`` once the connection ends.
        """
        self._require_open()
        neighbour = self._require_neighbour()
        if self._shut and not fAbortive:
            return
        self._shut = True
        if fAbortive:
            self._call(0, self._leave, neighbour.shutdown, True)
        else:
            self._call(0, neighbour.shutdown, False)
        self._release_twin()

    def Close(self, fAbortive: bool) -> None:
        """End both directions (B3.26); what is queued still goes out unless *fAbortive*. Closing again does nothing."""
        if self._closed or self._terminated:
            return
        self._closed = True
        neighbour = self._neighbour
        if neighbour is not None:
            with suppress(COMError):  # of another thread, when the connection has just been ended
                self._call(0, self._leave, neighbour.close, bool(fAbortive))
        self._release_twin()

    def _GetWriteCount(self) -> int:
        """Return how many bytes were posted to Send; the service's own."""
        return self._written

    def _IsDataAvailable(self) -> HRESULT:
        """Return ``S_OK`` when a Recv would find data, or the end, at once; else ``S_FALSE``. The service's own.

        :raises COMError: ``WSAENOTSOCK`` after Close; ``WSAENOTCONN`` a network socket that was never connected;
            ``FWX_E_TERMINATING`` once the connection ends.
        """
        self._require_open()
        return S_OK if self._require_neighbour().has_data() else S_FALSE

    def FinalRelease(self) -> None:
        """Close what the last holder forgot to close (B3.28)."""
        self.Close(False)

    def terminate(self) -> None:
        """Refuse further calls: the connection is being ended, its filter is about to be detached."""
        with _crossings:
            self._terminated = True
        self._fail_held()
        self._twin = None

    def tell_at_rest(self, callback: Callable[[], None]) -> bool:
        """Have *callback* called once when the last call of another thread that is under way has arrived.

        ``False``, and nothing is called, when none is. On the loop thread, after :meth:`terminate`.
        """
        if not self._crossing:
            return False
        self._on_rest = callback
        return True

    @property
    def _backlog(self) -> int:
        return 0 if self._neighbour is None else self._neighbour.backlog

    def _call(self, size: int, function: Callable[..., None], *arguments: Any) -> None:
        """Call on the loop thread: at once, or behind the calls of other threads that are on their way there.

        *size* counts against the bytes that may wait.

        :raises COMError: ``FWX_E_TERMINATING`` the connection was ended since the caller looked: nothing may arrive
            behind Detach (B3.31).
        """
        if get_ident() == self._queue.thread and not self._crossing:
            function(*arguments)
            return
        with _crossings:
            if self._terminated:
                raise COMError(FWX_E_TERMINATING, "the connection has ended")
            self._crossing += 1
            self._crossing_bytes += size
        self._queue.post(self._arrive, size, function, arguments)

    def _arrive(self, size: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        with _crossings:
            self._crossing -= 1
            self._crossing_bytes -= size
        function(*arguments)
        if self._on_rest is not None and not self._crossing:
            callback, self._on_rest = self._on_rest, None
            callback()

    def _must_wait(self) -> bool:
        """What the twin has queued to send is enough for now; a twin that sends no more holds nothing back."""
        twin = self._twin
        if twin is None or twin._backlog < FREE:
            return False
        return twin._backlog >= self._queue.ceiling.high_water and not (twin._shut or twin._closed)

    def _release_twin(self) -> None:
        """This socket sends no more, so it holds the other one's Recvs back no more."""
        twin = self._twin
        if twin is not None:
            self._queue.call(twin._release_held)

    def _take(self, neighbour: Neighbour, operation: Operation) -> None:
        """Pass a Recv on to the neighbour, or hold it back while the twin has enough to send."""
        if not self._held and not self._must_wait():
            neighbour.recv(operation)
        elif self._closed or self._terminated:
            operation.fail(self._queue, ERROR_OPERATION_ABORTED)
        else:
            if self._held is None:
                self._held = deque()
            self._held.append(operation)
            self._release_held()

    def _leave(self, function: Callable[[bool], None], abortive: bool) -> None:
        """End both directions by *function*; what was held back was posted last, so it fails last (B3.31)."""
        function(abortive)
        self._fail_held()

    def _release_held(self) -> None:
        held = self._held
        while held and not self._must_wait():
            self._require_neighbour().recv(held.popleft())

    def _fail_held(self) -> None:
        while self._held:
            self._held.popleft().fail(self._queue, ERROR_OPERATION_ABORTED)

    def _require_neighbour(self) -> Neighbour:
        if self._neighbour is None:
            raise winsock_error(WSAENOTCONN, "the socket is not connected")
        return self._neighbour

    def _require_open(self) -> None:
        if self._terminated:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        if self._closed:
            raise winsock_error(WSAENOTSOCK, "the socket has been closed")


def check_address(address: SocketAddress, length: int | None) -> None:
    """Make sure that a caller's *address* is one, and not shorter than the *length* given with it.

    :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG``.
    """
    if address is None:
        raise COMError(E_POINTER, "an address is needed")
    if not isinstance(address, SocketAddress):
        raise COMError(E_INVALIDARG, f"{address!r} is no address")
    if length is not None:
        whole(length, "AddressLength", most=address.length)
