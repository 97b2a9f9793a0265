"""IFWXFirewall, IFWXFirewall2 and IFWXFirewall3: what the service offers a filter apart from any session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.announcement import check_protocol
from fwx.impl.argument import whole
from fwx.impl.authentication import IRadiusUsers
from fwx.impl.externalio import ExternalIO
from fwx.impl.hostnames import HostNames
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.loopthread import on_loop
from fwx.impl.netconfig import FWXNetConfigDetector
from fwx.impl.networkrelation import network_relation
from fwx.impl.overlapped import FWXOverlapped
from fwx.impl.portrun import MOST_PORTS
from fwx.impl.radiusauthenticator import FWXRadiusAuthenticator
from fwx.impl.reservedports import Reservations
from fwx.impl.socketmaking import make_socket
from fwx.impl.sockets import check_address
from fwx.impl.taskcompletion import TaskCompletions
from fwx.impl.tlscredentials import TlsCredentials
from fwx.impl.tlsparameters import parameters_of
from fwx.impl.unknown import Unknown
from fwx.impl.user import session_user
from fwx.interfaces import GUID_NULL, IFWXFirewall3, IFWXNetworkSocket
from fwx.interfaces.hresult import E_INVALIDARG, FWX_E_NOT_SUPPORTED, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.interfaces import (
        FwxNetworkRelation,
        Hostent,
        IFWXAuthenticatedUser,
        IFWXIOBuffer,
        IFWXIpFilter,
        IFWXLowResourceRecoverer,
        IFWXNetConfigDetector,
        IFWXOverlapped,
        IFWXRadiusAuthenticator,
        IFWXReservedPorts,
        IFWXSession,
        IFWXSocket,
        IFWXTaskCompletion,
        SocketAddress,
    )


@implementer(IFWXFirewall3)
class FWXFirewall(Unknown):
    """The one firewall object of a service; every filter gets it in FilterInit (B1.3)."""

    __slots__ = (
        "_external",
        "_nobody",
        "_reservations",
        "_sockets",
        "_tasks",
        "engine",
        "names",
        "net_config",
    )

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._external = ExternalIO(engine)
        self._tasks = TaskCompletions(engine)
        self.names = HostNames(engine)
        self._sockets: set[Any] = set()
        self._nobody: TlsCredentials | None = None
        self._reservations = Reservations(engine)
        self.net_config = FWXNetConfigDetector(engine)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The service's side.

    def keep(self, socket: Any) -> None:
        """Remember a socket that belongs to no user, to be closed with the service."""
        self._sockets.add(socket)

    def forget(self, socket: Any) -> None:
        self._sockets.discard(socket)

    def end_notices(self) -> None:
        """Tell filters no more of changes, and try nothing again; called when the service stops, before the filters
        are shut down. Twice does nothing.
        """
        self.net_config.close()
        self.engine.recoverer.close()

    def close_sockets(self) -> None:
        """End every socket, every look-up and every operation on a handle that filters began here.

        Called when the service stops.
        """
        self.end_notices()
        for socket in list(self._sockets):
            socket.terminate_connection()
        self._reservations.close()
        self.names.close()
        self._external.close()

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

        :raises COMError: ``E_INVALIDARG`` over 64 MiB; ``E_OUTOFMEMORY``.
        """
        return FWXIOBuffer.allocated(dwBufferLength)

    def CreateWindowBuffer(self, pIOBufferOriginal: IFWXIOBuffer, dwOffset: int, dwLength: int) -> IFWXIOBuffer:
        """View a part of another buffer, which stays alive and is frozen (B3.16, B3.17).

        :raises COMError: ``E_POINTER`` no original; ``E_INVALIDARG`` the part reaches beyond its data;
            ``E_ACCESSDENIED`` a Recv into it is pending.
        """
        return FWXIOBuffer.window(pIOBufferOriginal, dwOffset, dwLength)

    def HookToCompletionPort(self, h: int) -> None:
        """Tie the open descriptor *h* to the service, for :func:`~fwx.sdk.ReadFile` and :func:`~fwx.sdk.WriteFile`.

        The tie is to the open file: it ends when the filter closes it, and another file that gets the number is not
        hooked.

        :raises COMError: ``E_HANDLE`` it is not open; ``E_INVALIDARG`` it is hooked, or is no number;
            ``FWX_E_TERMINATING`` the service stops.
        """
        self._external.hook(h)

    def CreateOverlapped(self) -> IFWXOverlapped:
        """Make an overlapped object, good for one operation after another (B5.18)."""
        return FWXOverlapped(self._external)

    def CreateIpFilter(self) -> IFWXIpFilter:
        """Make a set of addresses, empty at first (B6.31)."""
        return FWXIpFilter()

    def StartHeavyBlockingOperation(self) -> None:
        """Announce that the calling thread blocks for long (B5.13, B5.14).

        :raises COMError: ``FWX_E_BAD_CONTEXT`` on the loop thread; ``FWX_E_ALREADY_IN_BLOCKING_OP`` the thread is
            inside one, and this start is counted too (B5.15); ``FWX_E_THREAD_QUOTA_EXCEEDED`` too many threads are, and
            it is not counted (B5.17).
        """
        self.engine.blocking.start()

    def EndHeavyBlockingOperation(self) -> None:
        """Take back one start of the calling thread (B5.14).

        :raises COMError: ``FWX_E_BAD_CONTEXT`` on the loop thread; ``FWX_E_NOT_IN_BLOCKING_OP`` there is none (B5.15).
        """
        self.engine.blocking.end()

    def GetClientSession(self, Address: SocketAddress, AddressLength: int | None = None) -> IFWXSession:
        """Find or make the session of a SecureNAT client (B6.28); its port does not matter. From any thread.

        One without connections ends after a while, as every session does.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address.
        """
        client = _client(Address, AddressLength)
        session: IFWXSession = on_loop(self.engine.queue, self.engine.sessions.find_or_make, client)
        return session

    def CreatePrivateSession(
        self,
        ClientAddress: SocketAddress,
        ClientAddressLength: int | None,
        ProxyInternalAddress: SocketAddress | None,
        ProxyInternalAddressLength: int | None,
        AuthenticatedUser: IFWXAuthenticatedUser | None,
    ) -> IFWXSession:
        """Make a session for a client that the service does not know (B6.29). From any thread.

        It ends after a while without connections and without sockets, and with the service.

        :param AuthenticatedUser: one of the service's, or a filter's own object, whom rules take for authenticated.
        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address, or no user: one without a name, or with
            the name space ``fwx`` that is none of the service's; what the properties of a filter's object raise.
        """
        client = _client(ClientAddress, ClientAddressLength)
        inside = None if ProxyInternalAddress is None else _client(ProxyInternalAddress, ProxyInternalAddressLength)
        user = session_user(AuthenticatedUser)
        make = self.engine.sessions.make_private
        session: IFWXSession = on_loop(self.engine.queue, make, client, user, inside)
        return session

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
        """Ask for *dwWaitHint* more milliseconds while the service stops (B1.13): of systemd, where it runs under it.
        Nobody else is there to ask, and the answer is success all the same.

        :raises COMError: ``E_INVALIDARG`` no DWORD.
        """
        self.engine.more_time(whole(dwWaitHint, "dwWaitHint"))

    def PostTaskCompletion(self, pIFWXTaskCompletion: IFWXTaskCompletion, UserData: object) -> None:
        """Have ``CompleteTask`` called once, later (B5.4), on the loop thread; of a blocking filter behind its other
        calls; or where the task provides :class:`~fwx.sdk.IBlocking` on a thread of the pool. Any thread may post.

        :raises COMError: ``E_POINTER`` no completion; ``E_INVALIDARG`` something else; and for one that blocks
            ``WSAENOBUFS`` 4096 of them wait, ``FWX_E_TERMINATING`` the service stops.
        """
        self._tasks.post(pIFWXTaskCompletion, UserData)

    def CreateRadiusAuthenticator(self) -> IFWXRadiusAuthenticator:
        """Return a new authenticator that asks the directories of the kind ``radius``.

        :raises COMError: ``FWX_E_NOT_SUPPORTED`` the configuration has none.
        """
        users = self.engine.registry.queryUtility(IRadiusUsers)
        if users is None or not users.is_configured:
            raise COMError(FWX_E_NOT_SUPPORTED, "the configuration has no [[directory]] of the kind 'radius'")
        return FWXRadiusAuthenticator(self.engine, users)

    def GetNetConfigDetector(self) -> IFWXNetConfigDetector:
        """Return what tells of networks, adapters and addresses, always the same object (B13.10)."""
        return self.net_config

    def GetLowResourceRecoverer(self) -> IFWXLowResourceRecoverer:
        """Return what has filters try again after a lack of resources, always the same object (B11.10)."""
        return self.engine.recoverer

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
        """Lay TLS over a connected socket, or make a socket that can only be bound and listen (B4.16, B4.17).

        :raises COMError: ``E_POINTER`` no GUID; ``E_INVALIDARG`` a wrong argument, the client role without a host name
            to check, the server role without a certificate.
        """
        parameters = parameters_of(
            self._make_nobody,
            fAskForClientCert,
            pszHostName,
            dwHostNameLen,
            pCreds,
            pDefaultCreds,
            eSide,
            ProtocolGuid,
            dwDefaultSendTimeout,
            dwDefaultRecvTimeout,
            fAllowHTTPSTunnelingMode,
            pExistingSocket,
        )
        if parameters.protocol != GUID_NULL and self.engine.policy.protocol_name(parameters.protocol) is None:
            raise COMError(E_INVALIDARG, f"no protocol definition has the GUID {parameters.protocol}")
        registry = self.engine.registry
        socket: IFWXNetworkSocket = registry.getMultiAdapter((self, parameters), IFWXNetworkSocket, name="ssl")
        return socket

    def _make_nobody(self) -> TlsCredentials:
        """Return what a client without credentials is: nobody, who believes the system's authorities."""
        if self._nobody is None:
            self._nobody = TlsCredentials()
        return self._nobody

    # IFWXFirewall3.

    def GetNetworkRelation(
        self,
        pFromSocket: SocketAddress,
        dwFromSocketLength: int | None,
        pToSocket: SocketAddress,
        dwToSocketLength: int | None = None,
    ) -> FwxNetworkRelation:
        """Tell how the networks of two literal addresses are related (B7.6). From any thread.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address; ``FWX_E_TERMINATING`` the service stops.
        """
        for address, length in ((pFromSocket, dwFromSocketLength), (pToSocket, dwToSocketLength)):
            check_address(address, length)
            if address.address is None:
                raise COMError(E_INVALIDARG, f"{address} is no literal address")
        return on_loop(self.engine.queue, self._relation, pFromSocket.host, pToSocket.host)

    def _relation(self, source: str, destination: str) -> FwxNetworkRelation:
        keeps = self.engine.keeps_client_addresses
        return network_relation(self.engine.policy, source, destination, keeps_client_addresses=keeps)

    def ReservePorts(
        self, TransportProtocol: int, pSocket: SocketAddress, dwSocketLength: int | None, usCount: int
    ) -> IFWXReservedPorts:
        """Bind *usCount* consecutive ports of the firewall's address *pSocket*, for one call of a session (B6.26).

        They are not open to anybody yet. The port of *pSocket* is the first of them, 0 leaves that to the service. From
        any thread.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a wrong argument; ``WSAEADDRINUSE`` no such run is free;
            ``WSAENOBUFS`` too many ports are reserved; another Winsock error of the bind.
        """
        protocol = check_protocol(TransportProtocol)
        check_address(pSocket, dwSocketLength)
        if pSocket.address is None:
            raise COMError(E_INVALIDARG, f"{pSocket} is no literal address")
        return self._reservations.reserve(protocol, pSocket, whole(usCount, "usCount", 1, MOST_PORTS))


def _client(address: Any, length: Any) -> SocketAddress:
    """Return *address* with port 0. :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` it is no literal address."""
    check_address(address, length)
    if address.address is None or address.address.is_unspecified:
        raise COMError(E_INVALIDARG, f"{address} is no literal address of a computer")
    found: SocketAddress = address.with_port(0)
    return found
