"""UnreadSocket: a socket that has been given back what was received from it too early."""

from __future__ import annotations

from threading import Lock
from typing import Any

from zope.interface import implementer

from fwx.impl.boundary import attempt
from fwx.impl.iobuffer import FWXIOBuffer, begin_receive, end_receive
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXSocket,
    IFWXTaskCompletion,
    SocketAddress,
)
from fwx.interfaces.hresult import E_POINTER, HRESULT, S_OK, WSAEFAULT, COMError


@implementer(IFWXSocket)
class UnreadSocket(Unknown):
    """An ``IFWXSocket`` whose first Recvs bring *data*; everything else is the *socket*'s.

    A filter makes one where it has received bytes that belong to the next layer, the start of a TLS handshake behind a
    STARTTLS for one, and lays that layer over it (``pExistingSocket`` of ``CreateSSLNetworkSocket``). It is no network
    socket, whatever *socket* is.
    """

    __slots__ = ("_closed", "_firewall", "_lock", "_socket", "_unread")

    def __init__(self, firewall: Any, socket: IFWXSocket, data: bytes | bytearray | memoryview) -> None:
        """*firewall* is what ``FilterInit`` got; *socket* must have no pending Recv, and is this socket's from now on.

        :raises COMError: ``E_NOINTERFACE`` *firewall* is none.
        """
        self._firewall: IFWXFirewall2 = firewall.QueryInterface(IFWXFirewall2)
        self._socket = socket
        self._unread = bytes(data)
        self._closed = False
        self._lock = Lock()

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        self._socket.Send(pIOBuffer, pIFWXIOCompletion, UserData)

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        self._socket.SendTo(pIOBuffer, Address, AddressLength, pIFWXIOCompletion, UserData)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        """Ask for data; what was given back comes first.

        :raises COMError: as ``Recv`` of the socket underneath.
        """
        if pIFWXIOCompletion is None:
            raise COMError(E_POINTER, "Recv needs a completion")
        with self._lock:
            if self._unread and not self._closed:
                size = len(self._unread) if pIOBuffer is None else begin_receive(pIOBuffer)
                block, self._unread = self._unread[:size], self._unread[size:]
                delivery = Delivery(self, pIFWXIOCompletion, pIOBuffer, block)
                self._firewall.PostTaskCompletion(delivery, UserData)
                return
        self._socket.Recv(pIOBuffer, pIFWXIOCompletion, UserData)

    def Shutdown(self, fAbortive: bool) -> None:
        self._socket.Shutdown(fAbortive)

    def Close(self, fAbortive: bool) -> None:
        self._closed = True
        self._socket.Close(fAbortive)

    def _GetWriteCount(self) -> int:
        return self._socket._GetWriteCount()

    def _IsDataAvailable(self) -> HRESULT:
        if self._unread and not self._closed:
            return S_OK
        return self._socket._IsDataAvailable()

    def FinalRelease(self) -> None:
        """Close what the last holder forgot to close (B3.28)."""
        self.Close(False)


@implementer(IFWXTaskCompletion)
class Delivery(Unknown):
    """Completes one Recv from the run queue, as every completion comes."""

    __slots__ = ("_block", "_buffer", "_completion", "_socket")

    def __init__(
        self, socket: UnreadSocket, completion: IFWXIOCompletion, buffer: IFWXIOBuffer | None, block: bytes
    ) -> None:
        self._socket = socket
        self._completion = completion
        self._buffer = buffer
        self._block = block

    def CompleteTask(self, UserData: object) -> None:
        """Hand over the data; a buffer or a completion that fails resets the socket, as on every socket."""
        buffer, error = self._buffer, None
        if buffer is None:
            buffer = FWXIOBuffer(self._block)
        else:
            _, error = attempt(self, "_fill", buffer)
        outcome = (True, 0, buffer) if error is None else (False, WSAEFAULT, None)
        _, failed = attempt(self._completion, "CompleteAsyncIO", *outcome, UserData, None, 0)
        error = error or failed
        if error is not None:
            self._socket.Close(True)
            raise error  # the service reports it

    def _fill(self, buffer: IFWXIOBuffer) -> None:
        end_receive(buffer, self._block)
