"""IFWXFirewall and IFWXFirewall2: what the service offers a filter apart from any session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.boundary import attempt
from fwx.impl.hostnames import HostNames
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.socketmaking import make_socket
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXFirewall2
from fwx.interfaces.hresult import E_NOTIMPL, E_POINTER, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.interfaces import (
        Hostent,
        IFWXAuthenticatedUser,
        IFWXIOBuffer,
        IFWXIpFilter,
        IFWXLowResourceRecoverer,
        IFWXNetConfigDetector,
        IFWXNetworkSocket,
        IFWXOverlapped,
        IFWXRadiusAuthenticator,
        IFWXSession,
        IFWXSocket,
        IFWXTaskCompletion,
        SocketAddress,
    )


@implementer(IFWXFirewall2)
class FWXFirewall(Unknown):
    """The one firewall object of a service; every filter gets it in FilterInit (B1.3)."""

    __slots__ = ("_sockets", "engine", "names")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.names = HostNames(engine)
        self._sockets: set[Any] = set()

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The service's side.

    def keep(self, socket: Any) -> None:
        """Remember a socket that belongs to no user, to be closed with the service."""
        self._sockets.add(socket)

    def forget(self, socket: Any) -> None:
        self._sockets.discard(socket)

    def close_sockets(self) -> None:
        """End every socket that filters made here, and every look-up; called when the service stops."""
        for socket in list(self._sockets):
            socket.terminate_connection()
        self.names.close()

    # IFWXFirewall.

    def CreateNetworkSocket(self, Protocol: int) -> IFWXNetworkSocket:
        """Make a socket that belongs to no user; no policy applies to it (B4.6).

        :raises COMError: ``WSAEPROTONOSUPPORT`` neither TCP nor UDP.
        """
        return make_socket(self.engine.registry, self, Protocol)

    def CreateConstBuffer(self, pBuffer: Any, dwBufferLength: int | None = None) -> IFWXIOBuffer:
        """Wrap memory of the caller without copying; it must stay unchanged as long as the buffer lives (B3.16, B3.17).

        :raises COMError: ``E_POINTER`` no memory; ``E_INVALIDARG`` no bytes, or fewer than *dwBufferLength*.
        """
        return FWXIOBuffer.constant(pBuffer, dwBufferLength)

    def CreateBuffer(self, dwBufferLength: int) -> IFWXIOBuffer:
        """Make an empty buffer that can hold *dwBufferLength* bytes (B3.16).

        :raises COMError: ``E_INVALIDARG`` over 64 MiB.
        """
        return FWXIOBuffer.allocated(dwBufferLength)

    def CreateWindowBuffer(self, pIOBufferOriginal: IFWXIOBuffer, dwOffset: int, dwLength: int) -> IFWXIOBuffer:
        """View a part of another buffer, which stays alive and is frozen (B3.16, B3.17).

        :raises COMError: ``E_POINTER`` no original; ``E_INVALIDARG`` the part reaches beyond its data.
        """
        return FWXIOBuffer.window(pIOBufferOriginal, dwOffset, dwLength)

    def HookToCompletionPort(self, h: int) -> None:
        raise COMError(E_NOTIMPL)

    def CreateOverlapped(self) -> IFWXOverlapped:
        raise COMError(E_NOTIMPL)

    def CreateIpFilter(self) -> IFWXIpFilter:
        """Make a set of addresses, empty at first (B6.31)."""
        return FWXIpFilter()

    def StartHeavyBlockingOperation(self) -> None:
        raise COMError(E_NOTIMPL)

    def EndHeavyBlockingOperation(self) -> None:
        raise COMError(E_NOTIMPL)

    def GetClientSession(self, Address: SocketAddress, AddressLength: int | None = None) -> IFWXSession:
        raise COMError(E_NOTIMPL)

    def CreatePrivateSession(
        self,
        ClientAddress: SocketAddress,
        ClientAddressLength: int | None,
        ProxyInternalAddress: SocketAddress | None,
        ProxyInternalAddressLength: int | None,
        AuthenticatedUser: IFWXAuthenticatedUser | None,
    ) -> IFWXSession:
        raise COMError(E_NOTIMPL)

    def GetHostByName(self, name: str) -> Hostent:
        """Look *name* up, under no policy and in no log. On the loop thread it answers at once or not yet, on any other
        thread it blocks (B5.14).

        :raises COMError: ``WSAHOST_NOT_FOUND``, ``WSANO_DATA``; ``WSATRY_AGAIN`` no answer yet, or none in time;
            ``FWX_E_DNS_QUOTA_EXCEEDED`` too many are pending (B5.17); ``E_POINTER``, ``E_INVALIDARG``;
            ``FWX_E_TERMINATING`` the service stops.
        """
        return self.names.by_name(name)

    def GetHostByAddr(self, addr: bytes | bytearray | memoryview, len: int | None, type: int) -> Hostent:
        """Look the name of an address up, as :meth:`GetHostByName`.

        :raises COMError: also ``WSAEAFNOSUPPORT`` neither IPv4 nor IPv6; ``E_INVALIDARG`` an address of the wrong size.
        """
        return self.names.by_address(addr, len, type)

    # IFWXFirewall2.

    def UpdateServiceStatus(self, dwWaitHint: int) -> None:
        raise COMError(E_NOTIMPL)

    def PostTaskCompletion(self, pIFWXTaskCompletion: IFWXTaskCompletion, UserData: object) -> None:
        """Have ``CompleteTask`` called once, later, on the loop thread (B5.4); any thread may post.

        :raises COMError: ``E_POINTER`` no completion.
        """
        if pIFWXTaskCompletion is None:
            raise COMError(E_POINTER, "PostTaskCompletion needs a completion")
        self.engine.queue.post(self._complete_task, pIFWXTaskCompletion, UserData)

    def CreateRadiusAuthenticator(self) -> IFWXRadiusAuthenticator:
        raise COMError(E_NOTIMPL)

    def GetNetConfigDetector(self) -> IFWXNetConfigDetector:
        raise COMError(E_NOTIMPL)

    def GetLowResourceRecoverer(self) -> IFWXLowResourceRecoverer:
        raise COMError(E_NOTIMPL)

    def CreateSSLNetworkSocket(
        self,
        fAskForClientCert: bool,
        pszHostName: str | None,
        dwHostNameLen: int | None,
        pCreds: Any,
        pDefaultCreds: Any,
        eSide: int,
        ProtocolGuid: UUID,
        dwDefaultSendTimeout: int,
        dwDefaultRecvTimeout: int,
        fAllowHTTPSTunnelingMode: bool,
        pExistingSocket: IFWXSocket | None,
    ) -> IFWXNetworkSocket:
        raise COMError(E_NOTIMPL)

    def _complete_task(self, completion: IFWXTaskCompletion, user_data: object) -> None:
        _, error = attempt(completion, "CompleteTask", user_data)
        if error is not None:
            self.engine.faults.report(type(completion).__name__, "CompleteTask", error)
