"""A data filter's socket that somebody watches: the test kit, or who records a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXSocket
from fwx.interfaces.hresult import FWX_E_TERMINATING, HRESULT, COMError

if TYPE_CHECKING:
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion, SocketAddress


class Watcher(Protocol):
    """Told of every call; from whichever thread makes it."""

    def called(self, side: str, words: str) -> None:
        """The socket of one *side*, ``internal`` or ``external``, is called; *words* such as ``Send(5)``."""

    def fault(self, side: str, words: str) -> None:
        """The call is one that the contract forbids; the socket may refuse it by itself."""

    def completion(self, completion: Any) -> Any:
        """Return what is completed in the place of *completion*, often itself."""


@implementer(IFWXSocket)
class ObservedSocket(Unknown):
    """A data filter's socket that notes what it is asked for and hands it on."""

    def __init__(self, watcher: Watcher, socket: Any, side: str) -> None:
        self._watcher = watcher
        self._socket = socket
        self._side = side
        self._closed = False
        self._shut = False

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        size = "None" if pIOBuffer is None else pIOBuffer.GetBufferSizes()[1]
        if self._shut:
            self._fault(f"Send({size}) after Shutdown")
        self._pass(f"Send({size})", "Send", pIOBuffer, self._watcher.completion(pIFWXIOCompletion), UserData)

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        completion = self._watcher.completion(pIFWXIOCompletion)
        self._pass("SendTo", "SendTo", pIOBuffer, Address, AddressLength, completion, UserData)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        if pIFWXIOCompletion is None:
            self._fault("Recv without a completion")
        self._pass("Recv", "Recv", pIOBuffer, self._watcher.completion(pIFWXIOCompletion), UserData)

    def Shutdown(self, fAbortive: bool) -> None:
        self._pass(f"Shutdown({bool(fAbortive)})", "Shutdown", fAbortive)
        self._shut = True

    def Close(self, fAbortive: bool) -> None:
        self._watcher.called(self._side, f"Close({bool(fAbortive)})")
        self._closed = True
        self._socket.Close(fAbortive)

    def _GetWriteCount(self) -> int:
        count: int = self._socket._GetWriteCount()
        return count

    def _IsDataAvailable(self) -> HRESULT:
        answer: HRESULT = self._socket._IsDataAvailable()
        return answer

    def FinalRelease(self) -> None:
        self._socket.FinalRelease()

    def _pass(self, words: str, method: str, *args: Any) -> None:
        self._watcher.called(self._side, words)
        if self._closed:
            self._fault(f"{words} after Close")
        try:
            getattr(self._socket, method)(*args)
        except COMError as error:
            if error.hresult == FWX_E_TERMINATING:
                self._fault(f"{words} after Detach")
            raise

    def _fault(self, words: str) -> None:
        self._watcher.fault(self._side, words)
