"""The socket underneath a layer: spoken to through ``IFWXSocket`` alone, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import implementer

from fwx.impl.blocking import ILoopBound
from fwx.impl.iobuffer import FWXIOBuffer, data_of
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion
from fwx.interfaces.hresult import WIN32_FROM_HRESULT, WSAECONNABORTED, COMError

if TYPE_CHECKING:
    from fwx.impl.operation import Operation
    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import IFWXSocket, SocketAddress

# Sends that are under way at once: one that the peer takes, one that is ready for it.
_MOST_SENDS = 2


class CarrierOwner(Protocol):
    """The layer."""

    def carried(self, data: bytes | memoryview) -> None:
        """Data has come from underneath; none at its end."""

    def delivered(self, operations: Sequence[Operation]) -> None:
        """What these operations sent has been taken underneath."""

    def receiving_failed(self, code: int) -> None:
        """The socket underneath has failed a Recv with the Windows error *code*; told once."""

    def sending_failed(self, code: int) -> None:
        """The socket underneath has failed a Send or Shutdown with the Windows error *code*; told once.

        What the peer sent before may still be received: of neighbouring filters each direction fails by itself.
        """

    def carrier_faulted(self, method: str, error: BaseException) -> None:
        """*method* of the socket underneath, a filter's own, raised what it must not raise."""


@implementer(IFWXIOCompletion, ILoopBound)
class Carrier(Unknown):
    """Sends and receives for a layer over any ``IFWXSocket``.

    It asks for data once at a time, when it is told to, and the layer waits for room, so that what stands still
    underneath stands still above. A socket that a filter made may complete inside the call, twice or on another thread:
    that is put right here.
    """

    __slots__ = (
        "_asked",
        "_calls",
        "_closed",
        "_failed",
        "_mute",
        "_owner",
        "_queue",
        "_sending",
        "_socket",
        "_tag",
        "ended",
    )

    def __init__(self, queue: RunQueue, socket: IFWXSocket, owner: CarrierOwner) -> None:
        self._queue = queue
        self._socket = socket
        self._owner = owner
        self._tag = 0
        self._asked = 0
        self._sending: dict[int, Sequence[Operation]] = {}
        self._calls = 0
        self._failed = False
        self._mute = False
        self._closed = False
        self.ended = False

    @property
    def has_room(self) -> bool:
        """One more Send may be given to the socket underneath."""
        return len(self._sending) < _MOST_SENDS

    @property
    def idle(self) -> bool:
        """Everything has been taken underneath."""
        return not self._sending

    def ask(self) -> None:
        """Have data come, unless that is under way or the socket underneath has ended."""
        if self._asked or self.ended or self._closed or self._failed:
            return
        self._tag += 1
        self._asked = self._tag
        self._call("Recv", self._receiving_failed, None, self, self._tag)

    def send(self, data: bytes, operations: Sequence[Operation] = ()) -> bool:
        """Send *data*, with which *operations* are complete; without data they are when what was sent before is.

        False: there is nothing to wait for, they are complete now.
        """
        if data and not self._mute:
            self._tag += 1
            self._sending[self._tag] = operations
            self._call("Send", self._sending_failed, FWXIOBuffer(data), self, self._tag)
        elif self._sending:
            last = next(reversed(self._sending))
            self._sending[last] = (*self._sending[last], *operations)
        else:
            return False
        return True

    def abandon(self) -> list[Operation]:
        """Return the operations that have not been taken, in order, and forget them."""
        operations = [each for sending in self._sending.values() for each in sending]
        self._sending.clear()
        return operations

    def shutdown(self) -> None:
        """End the sending direction underneath, behind what is queued there."""
        if not self._mute:
            self._call("Shutdown", self._sending_failed, False)

    def close(self, abortive: bool) -> None:
        """Close the socket underneath; what comes of its Recv is nobody's any more."""
        if not self._closed or abortive:
            self._closed = True
            self._call("Close", None, abortive)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        code = 0 if fSuccess else Win32ErrorCode or WSAECONNABORTED
        if self._calls or get_ident() != self._queue.thread:
            self._queue.post(self._complete, code, pIOBuffer, UserData)
        else:
            self._complete(code, pIOBuffer, UserData)

    def _complete(self, code: int, buffer: IFWXIOBuffer | None, tag: int) -> None:
        if tag == self._asked:
            self._asked = 0
            if not self._closed:
                self._received(code, buffer)
        elif tag in self._sending:
            if code:
                self._sending_failed(code)
            else:
                self._owner.delivered(self._sending.pop(tag))

    def _received(self, code: int, buffer: Any) -> None:
        if code:
            self._receiving_failed(code)
            return
        try:
            data = data_of(buffer)
        except BaseException as error:  # noqa: BLE001  a filter's own buffer may raise anything
            self._owner.carrier_faulted("CompleteAsyncIO", error)
            self._receiving_failed(WSAECONNABORTED)
            return
        self.ended = not len(data)
        self._owner.carried(data)

    def _call(self, name: str, failed: Callable[[int], None] | None, *args: Any) -> None:
        """Call a method of the socket underneath; what it raises is told later, by *failed*."""
        self._calls += 1
        try:
            method: Callable[..., Any] = getattr(self._socket, name)
            method(*args)
        except BaseException as error:  # noqa: BLE001  the socket may be a filter's own
            code = WIN32_FROM_HRESULT(error.hresult) if isinstance(error, COMError) else WSAECONNABORTED
            if failed is None or not isinstance(error, COMError):
                self._owner.carrier_faulted(name, error)
            if failed is not None:
                self._queue.post(failed, code)
        finally:
            self._calls -= 1

    def _receiving_failed(self, code: int) -> None:
        if not self._failed:
            self._failed = True
            self._owner.receiving_failed(code)

    def _sending_failed(self, code: int) -> None:
        if not self._mute:
            self._mute = True
            self._owner.sending_failed(code)
