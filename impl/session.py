"""IFWXSession: the connections of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.hostnames import HostNames
from fwx.impl.socketmaking import make_socket
from fwx.impl.unknown import Unknown
from fwx.impl.user import NOBODY
from fwx.interfaces import IFWXSession
from fwx.interfaces.constants import FWX_SESSION_AUTHENTICATED, FWX_SESSION_NAT, FWX_SESSION_TERMINATED
from fwx.interfaces.enums import fwxSourceNAT
from fwx.interfaces.hresult import (
    E_NOTIMPL,
    E_UNEXPECTED,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_NOT_SUPPORTED,
    FWX_E_TERMINATING,
    REGDB_E_CLASSNOTREG,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.user import FWXAuthenticatedUser, Who
    from fwx.interfaces import (
        FwxFirewallEventSource,
        Hostent,
        IClassFactory,
        IFWXAuthenticatedUser,
        IFWXConnection,
        IFWXFirewallAction,
        IFWXIpFilter,
        IFWXNetworkSocket,
        IFWXSessionFilter,
        IUnknown,
        SocketAddress,
    )


@implementer(IFWXSession)
class FWXSession(Unknown):
    """One client's session (B1.14): whom its connections belong to, and the session filters that watch them."""

    __slots__ = (
        "_filters",
        "_sockets",
        "address",
        "connections",
        "engine",
        "id",
        "last_ended",
        "names",
        "source",
        "terminated",
        "user",
    )

    def __init__(
        self,
        engine: Engine,
        address: SocketAddress,
        source: FwxFirewallEventSource,
        user: FWXAuthenticatedUser | None = None,
    ) -> None:
        """Made by the service when a client first connects (B1.16).

        :param address: with port 0. :param user: whom an entry has authenticated, ``None`` for nobody.
        """
        self.engine = engine
        self.address = address
        self.source = source
        self.id = next(engine.session_ids)
        self.connections: set[ConnectionBase] = set()
        self.last_ended = 0
        self.terminated = False
        self.names = HostNames(engine, self)
        self.user = user
        self._filters: dict[FilterHost, tuple[IFWXSessionFilter, int]] = {}
        self._sockets: set[Any] = set()

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The service's side.

    @property
    def user_name(self) -> str:
        """Whom the log names; empty for nobody."""
        return "" if self.user is None else self.user.Username

    @property
    def who(self) -> Who:
        """By which names the rules know the client."""
        return NOBODY if self.user is None else self.user.who

    def announces(self, target: SocketAddress, transport: str) -> bool:
        """Tell whether a filter has announced that the client will connect to *target* over ``TCP`` or ``UDP`` (B2.13).

        ``AllowFutureConnect`` announces it; this version has none, so nobody has.
        """
        return False

    def session_filter(self, host: FilterHost, event_type: int) -> IFWXSessionFilter | None:
        """Return *host*'s session filter if this event is for it, made now if this is the first such event (B1.17).

        :raises FilterFault: AttachToSession failed; the next event tries again.
        """
        attached = self._filters.get(host)
        if attached is None:
            if not wants(host.mask, event_type, self.source):
                return None
            attached = self._filters[host] = host.attach(self)
        session_filter, mask = attached
        return session_filter if wants(mask, event_type, self.source) else None

    def attached_filters(self, event_type: int) -> list[tuple[FilterHost, IFWXSessionFilter]]:
        """Return the session filters there are that asked for *event_type*; none is made for it."""
        return [
            (host, session_filter)
            for host, (session_filter, mask) in self._filters.items()
            if wants(mask, event_type, self.source)
        ]

    def terminate(self) -> None:
        """End the session, whose connections have ended: its filters' sockets, its look-ups, its session filters."""
        if self.terminated:
            return
        self.terminated = True
        self.names.close()
        for socket in list(self._sockets):
            socket.terminate_connection()
        attached, self._filters = self._filters, {}
        for host, (session_filter, _) in attached.items():
            host.call(session_filter, "Detach")

    def keep(self, socket: Any) -> None:
        """Remember a socket of this session, to be closed with it."""
        self._sockets.add(socket)

    def forget(self, socket: Any) -> None:
        self._sockets.discard(socket)

    # IFWXSession.

    def GetClientAddress(self) -> SocketAddress:
        """Return the client's address, with port 0."""
        return self.address

    def GetClientMachineName(self) -> str:
        """Only a Firewall client tells its name (B10.1), and neither SOCKS nor HTTP carries one.

        :raises COMError: ``FWX_E_NOT_SUPPORTED``.
        """
        raise COMError(FWX_E_NOT_SUPPORTED, "the client gave no machine name")

    def GetAuthenticatedUser(self) -> IFWXAuthenticatedUser:
        """Return the user that an entry has authenticated, always the same object (B10.2).

        :raises COMError: ``FWX_E_NOT_AUTHENTICATED`` the session has no user.
        """
        if self.user is None:
            raise COMError(FWX_E_NOT_AUTHENTICATED, "the session has no user")
        user: IFWXAuthenticatedUser = self.user
        return user

    def GetSessionFlags(self) -> int:
        """Return ``FWX_SESSION_NAT`` for a client without a control channel, ``FWX_SESSION_AUTHENTICATED`` with a user,
        ``FWX_SESSION_TERMINATED`` (B10.3)."""
        flags = FWX_SESSION_NAT if self.source == fwxSourceNAT else 0
        flags |= FWX_SESSION_AUTHENTICATED if self.user is not None else 0
        return flags | (FWX_SESSION_TERMINATED if self.terminated else 0)

    def AttachFilter(self, guidFilter: UUID) -> None:
        """Attach a filter to this session before any of its events (B1.23); nothing if it is attached.

        :raises COMError: ``REGDB_E_CLASSNOTREG`` no running filter has the CLSID; ``FWX_E_TERMINATING`` the session has
            ended; otherwise what AttachToSession failed with.
        """
        if self.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")
        host = next((host for host in self.engine.filters if host.clsid == guidFilter and host.state == "ready"), None)
        if host is None:
            raise COMError(REGDB_E_CLASSNOTREG, f"no running filter has the CLSID {guidFilter}")
        if host in self._filters:
            return
        try:
            self._filters[host] = host.attach(self)
        except FilterFault as fault:
            cause = fault.__cause__
            raise cause if isinstance(cause, COMError) else COMError(E_UNEXPECTED, str(fault)) from fault

    def CreateNetworkSocket(self, Protocol: int) -> IFWXNetworkSocket:
        """Make a socket that obeys this session's policy and is logged as its user's (B4.7).

        :raises COMError: ``WSAEPROTONOSUPPORT`` neither TCP nor UDP; ``FWX_E_TERMINATING`` the session has ended.
        """
        if self.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")
        return make_socket(self.engine.registry, self, Protocol)

    def AllowFutureConnect(
        self,
        Address: SocketAddress,
        AddressLength: int | None,
        ProxyExternalAddress: SocketAddress | None,
        ProxyExternalAddressLength: int | None,
        Protocol: int,
        dwFlags: int,
        ProtocolGuid: UUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pConnection: IFWXConnection | None,
    ) -> IFWXFirewallAction:
        raise COMError(E_NOTIMPL)

    def BindForClient(
        self,
        ClientAddresses: Sequence[SocketAddress],
        ClientAddressLength: int | None,
        ProxyAddress: SocketAddress,
        ProxyAddressLength: int | None,
        Protocol: int,
        dwNumberOfAddresses: int | None,
        dwFlags: int,
        Backlog: int,
        ProtocolGuid: UUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pIpFilter: IFWXIpFilter | None,
    ) -> tuple[SocketAddress, tuple[IFWXConnection, ...]]:
        raise COMError(E_NOTIMPL)

    def EmulateClientBind(
        self,
        ClientAddress: SocketAddress,
        ClientAddressLength: int | None,
        ProxyAddress: SocketAddress,
        ProxyAddressLength: int | None,
        Protocol: int,
        ProtocolGuid: UUID,
        fInternalAddressTranslation: bool,
    ) -> IFWXConnection:
        raise COMError(E_NOTIMPL)

    def RedirectConnections(
        self,
        ConnectAddresses: Sequence[SocketAddress],
        ConnectAddressLength: int | None,
        dwNumberOfAddresses: int | None,
        ProxyExternalAddress: SocketAddress | None,
        ProxyExternalAddressLength: int | None,
        Protocol: int,
        dwFlags: int,
        ProtocolGuid: UUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
    ) -> tuple[SocketAddress, tuple[IFWXFirewallAction, ...]]:
        raise COMError(E_NOTIMPL)

    def SetDataFilterFactory(
        self,
        eProxyEvent: int,
        Address: SocketAddress,
        AddressLength: int | None,
        pIClassFactory: IClassFactory,
        PriorityClass: int,
        punkFilterContext: IUnknown | None,
        dwFlags: int,
    ) -> IFWXFirewallAction:
        raise COMError(E_NOTIMPL)

    def RetroactiveAllowBind(
        self,
        Protocol: int,
        Address: SocketAddress,
        AddressLength: int | None,
        ProtocolGuid: UUID,
        dwFlags: int,
        pIpFilter: IFWXIpFilter | None,
    ) -> Any:
        raise COMError(E_NOTIMPL)

    def HostAccessCheck(
        self,
        FilterGuid: UUID,
        ProtocolGuid: UUID,
        Hostent: Hostent,
        SrcPort: int,
        pszPath: str | None,
        pszMime: str | None,
        dwFlags: int,
        ProcessedRulesData: IUnknown | None,
    ) -> None:
        raise COMError(E_NOTIMPL)

    def GetHostByName(self, name: str) -> Hostent:
        """Look *name* up if the session's policy could let the client connect there, and log it (B9.12). On the loop
        thread it answers at once or not yet, on any other thread it blocks (B5.14).

        :raises COMError: ``WSAHOST_NOT_FOUND`` unknown, or denied; ``WSANO_DATA``; ``WSATRY_AGAIN`` no answer yet, or
            none in time; ``FWX_E_DNS_QUOTA_EXCEEDED`` too many are pending (B5.17); ``E_POINTER``, ``E_INVALIDARG``;
            ``FWX_E_TERMINATING`` the session has ended.
        """
        return self.names.by_name(name)

    def GetHostByAddr(self, addr: bytes | bytearray | memoryview, len: int | None, type: int) -> Hostent:
        """Look the name of an address up, as :meth:`GetHostByName`.

        :raises COMError: also ``WSAEAFNOSUPPORT`` neither IPv4 nor IPv6; ``E_INVALIDARG`` an address of the wrong size.
        """
        return self.names.by_address(addr, len, type)


def wants(mask: int, event_type: int, source: int) -> bool:
    """Tell whether a mask of events asks for this type from this source (B2.5)."""
    return bool(mask & event_type and mask & source)
