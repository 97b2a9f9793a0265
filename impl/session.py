"""IFWXSession and IFWXSession2: the connections of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.announcement import Terms
from fwx.impl.bindapproval import retroactive_allow_bind
from fwx.impl.clientbinding import bind_for_client
from fwx.impl.hostnames import HostNames
from fwx.impl.loopthread import on_loop
from fwx.impl.redirecting import redirect
from fwx.impl.secondary import Secondary
from fwx.impl.sessionfilters import HasSessionFilters
from fwx.impl.socketmaking import make_socket
from fwx.impl.user import NOBODY
from fwx.interfaces import IFWXSession2
from fwx.interfaces.constants import (
    FWX_SESSION_AUTHENTICATED,
    FWX_SESSION_NAT,
    FWX_SESSION_PRIVATE,
    FWX_SESSION_TERMINATED,
)
from fwx.interfaces.enums import fwxSourceNAT
from fwx.interfaces.hresult import (
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_NOT_SUPPORTED,
    FWX_E_TERMINATING,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.user import SessionUser, Who
    from fwx.interfaces import (
        HRESULT,
        FwxFirewallEventSource,
        Hostent,
        IFWXAuthenticatedUser,
        IFWXConnection,
        IFWXFirewallAction,
        IFWXIpFilter,
        IFWXNetworkSocket,
        IFWXReservedPorts,
        IFWXSessionFilter,
        IUnknown,
        SocketAddress,
    )


@implementer(IFWXSession2)
class FWXSession(HasSessionFilters):
    """One client's session (B1.14): whom its connections belong to, and the session filters that watch them."""

    __slots__ = (
        "_sockets",
        "address",
        "connections",
        "engine",
        "id",
        "inside_address",
        "is_private",
        "looks_up",
        "names",
        "rests",
        "secondary",
        "source",
        "started",
        "terminated",
        "user",
    )

    def __init__(
        self,
        engine: Engine,
        address: SocketAddress,
        source: FwxFirewallEventSource,
        user: SessionUser | None = None,
        *,
        is_private: bool = False,
    ) -> None:
        """Made by the service when a client first connects (B1.16).

        :param address: with port 0. :param user: whom an entry has authenticated, ``None`` for nobody.
        :param is_private: a filter has made it, for a client that the service does not know (B6.29).
        """
        super().__init__()
        self.engine = engine
        self.address = address
        self.source = source
        self.id = next(engine.session_ids)
        self.started = engine.clock()
        self.connections: set[ConnectionBase] = set()
        # How often it was left without connections.
        self.rests = 0
        self.is_private = is_private
        # What the client itself has looked up, with no connection that it is for.
        self.looks_up = 0
        # Where the client reaches the firewall, if the filter that made the session has said so.
        self.inside_address: SocketAddress | None = None
        self.secondary = Secondary(self)
        self.terminated = False
        self.names = HostNames(engine, self)
        self.user = user
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
        return NOBODY if self.user is None else self.engine.known_as(self.user)

    def terminate(self) -> None:
        """End the session, whose connections have ended: its filters' sockets, its look-ups, its session filters."""
        if self.terminated:
            return
        self.terminated = True
        self.secondary.close()
        self.names.close()
        for socket in list(self._sockets):
            socket.terminate_connection()
        self._detach_all()

    def announces(self, target: SocketAddress, transport: str = "TCP") -> bool:
        """Tell whether a filter has announced that the client connects to the literal *target* (B2.13).

        *transport* is ``TCP`` or ``UDP``. Asked by entries that let through what no protocol definition has for
        announced destinations alone.
        """
        return self.engine.permissions.find(self, target, transport) is not None

    @property
    def is_busy(self) -> bool:
        """There is a connection, or a look-up; a port that waits for one, for a filter's sake, does not count."""
        for connection in self.connections:  # no generator: it is asked at the end of every connection
            if not connection.waits:
                return True
        return self.looks_up > 0

    @property
    def has_sockets(self) -> bool:
        """Filters have sockets of this session."""
        return bool(self._sockets)

    def _tell_bound(self, address: SocketAddress) -> None:
        """A filter has been given a port that the service has chosen."""
        tracer = self.engine.tracer
        if tracer is not None:
            self.engine.queue.call(tracer.bound, self, address)

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
        return self.user.face

    def GetSessionFlags(self) -> int:
        """Return ``FWX_SESSION_NAT`` for a client without a control channel, ``FWX_SESSION_AUTHENTICATED`` with a user,
        ``FWX_SESSION_PRIVATE`` if a filter made it, ``FWX_SESSION_TERMINATED`` (B10.3)."""
        flags = FWX_SESSION_NAT if self.source == fwxSourceNAT else 0
        flags |= FWX_SESSION_PRIVATE if self.is_private else 0
        flags |= FWX_SESSION_AUTHENTICATED if self.user is not None else 0
        return flags | (FWX_SESSION_TERMINATED if self.terminated else 0)

    def AttachFilter(self, guidFilter: UUID) -> None:
        """Attach a filter to this session before any of its events (B1.23); nothing if it is attached.

        For a blocking filter nobody waits: what comes for it waits behind AttachToSession, and a failure is reported.
        From any thread.

        :raises COMError: ``REGDB_E_CLASSNOTREG`` no running filter has the CLSID; ``FWX_E_TERMINATING`` the session has
            ended; otherwise what AttachToSession failed with.
        """
        on_loop(self.engine.queue, self._attach_filter, guidFilter)

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
        """Let the client connect to *Address* later, whatever the rules say (B6.5 to B6.11). From any thread.

        The rule is that of *pConnection*, the primary connection, or of the session's newest one; it also gives the way
        out, the filters and the log flag. *Address* may be a name, for a client that asks for that name.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a wrong argument; ``FWX_E_ADDRESS_NOT_ALLOWED`` beyond what
            *dwFlags* allow, or an address of the firewall itself; ``FWX_E_TERMINATING`` the session has ended, or
            *pConnection*; ``FWX_E_POLICY_RULES_DENIED`` for UDP through an upstream that carries none; ``WSAENOBUFS``
            too much is announced.
        """
        action: IFWXFirewallAction = self.secondary.allow_future_connect(
            Address,
            AddressLength,
            ProxyExternalAddress,
            ProxyExternalAddressLength,
            Terms(Protocol, dwFlags, ProtocolGuid, pSessionFilter, punkContext),
            pConnection,
        )
        return action

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
        """Bind ports on the outside for the client, one for each of *ClientAddresses*, and wait there for others, whose
        connections go on to that address (B6.12 to B6.17). From any thread.

        Each takes one connection, over UDP one peer, or with ``FWX_FLAG_ALLOW_MULTIPLE`` several; ``Kill`` of the
        connection ends it. The rule of the session's connection whose event is being handled, or of its newest one,
        stands behind it; without a connection the rules are asked. The client's addresses are its own, unless *dwFlags*
        say otherwise.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a wrong argument; ``FWX_E_ADDRESS_NOT_ALLOWED`` a client
            address that *dwFlags* do not allow, or where the service itself listens; ``FWX_E_POLICY_RULES_DENIED`` the
            rules let nobody come; ``WSAEADDRINUSE`` no run of ports is free, or a filter refuses the bind;
            ``FWX_E_TERMINATING`` the session has ended; ``WSAENOBUFS`` too much is announced; another Winsock error of
            binding and listening.
        """
        address, connections = bind_for_client(
            self.secondary,
            ClientAddresses,
            ClientAddressLength,
            dwNumberOfAddresses,
            (ProxyAddress, ProxyAddressLength),
            Backlog,
            pIpFilter,
            Terms(Protocol, dwFlags, ProtocolGuid, pSessionFilter, punkContext),
        )
        self._tell_bound(address)
        return address, connections

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
        """Give the client an inside address of the firewall, from where its connections go on to each of
        *ConnectAddresses*, on consecutive ports (B6.22 to B6.25). Whoever else comes is turned away. From any thread.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a wrong argument; ``FWX_E_ADDRESS_NOT_ALLOWED`` an address of
            the firewall itself; ``FWX_E_POLICY_RULES_DENIED`` for UDP through an upstream that carries none;
            ``FWX_E_TERMINATING`` the session has ended; ``WSAENOBUFS`` too much is announced; ``WSAEADDRINUSE`` no run
            of ports is free; another Winsock error of the listening.
        """
        first, actions = redirect(
            self.secondary,
            ConnectAddresses,
            ConnectAddressLength,
            dwNumberOfAddresses,
            ProxyExternalAddress,
            ProxyExternalAddressLength,
            Terms(Protocol, dwFlags, ProtocolGuid, pSessionFilter, punkContext),
        )
        self._tell_bound(first)
        return first, actions

    def RetroactiveAllowBind(
        self,
        Protocol: int,
        Address: SocketAddress,
        AddressLength: int | None,
        ProtocolGuid: UUID,
        dwFlags: int,
        pIpFilter: IFWXIpFilter | None,
    ) -> HRESULT:
        """Let others come to a port that the client, one of the proxy port, has bound by itself (B6.18 to B6.21).

        What comes then is secondary, and *pIpFilter* says who may, not the rules. Over UDP the client hears strangers,
        and with ``FWX_FLAG_BIDIRECTIONAL`` may answer them. From any thread.

        :returns: ``S_OK`` it is allowed now; ``S_FALSE`` it was allowed before, and nothing has changed.
        :raises COMError: ``ERROR_NOT_FOUND`` the client has no such bind; ``FWX_E_POLICY_RULES_DENIED`` no rule lets
            it use the protocol; ``FWX_E_TERMINATING`` the bind, or the session, is ending; ``E_POINTER``,
            ``E_INVALIDARG`` a wrong argument, ``GUID_NULL`` among them; the Winsock error of the packet filter.
        """
        return retroactive_allow_bind(self, Protocol, Address, AddressLength, ProtocolGuid, dwFlags, pIpFilter)

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

    # IFWXSession2.

    def RedirectConnectionsReservedPorts(
        self,
        ConnectAddresses: Sequence[SocketAddress],
        ConnectAddressLength: int | None,
        dwNumberOfAddresses: int | None,
        ReservedPorts: IFWXReservedPorts,
        ProxyExternalAddress: SocketAddress | None,
        ProxyExternalAddressLength: int | None,
        Protocol: int,
        dwFlags: int,
        ProtocolGuid: UUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
    ) -> tuple[IFWXFirewallAction, ...]:
        """Do :meth:`RedirectConnections` on ports that the filter has reserved, the first for the first address.

        :raises COMError: as there, without ``WSAEADDRINUSE``; ``E_POINTER``, ``E_INVALIDARG`` also for a reservation
            that is none of the service's, has been used, is for another transport, or has fewer ports.
        """
        _, actions = redirect(
            self.secondary,
            ConnectAddresses,
            ConnectAddressLength,
            dwNumberOfAddresses,
            ProxyExternalAddress,
            ProxyExternalAddressLength,
            Terms(Protocol, dwFlags, ProtocolGuid, pSessionFilter, punkContext),
            reserved=[ReservedPorts],
        )
        return actions

    def BindForClientOnReservedPorts(
        self,
        ClientAddresses: Sequence[SocketAddress],
        ClientAddressLength: int | None,
        ReservedPorts: IFWXReservedPorts,
        Protocol: int,
        dwNumberOfAddresses: int | None,
        dwFlags: int,
        Backlog: int,
        ProtocolGuid: UUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pIpFilter: IFWXIpFilter | None,
    ) -> tuple[IFWXConnection, ...]:
        """Do :meth:`BindForClient` on ports that the filter has reserved, the first for the first address.

        :raises COMError: as there; ``E_POINTER``, ``E_INVALIDARG`` also for a reservation that is none of the
            service's, has been used, is for another transport, or has fewer ports.
        """
        _, connections = bind_for_client(
            self.secondary,
            ClientAddresses,
            ClientAddressLength,
            dwNumberOfAddresses,
            (None, None),
            Backlog,
            pIpFilter,
            Terms(Protocol, dwFlags, ProtocolGuid, pSessionFilter, punkContext),
            reserved=[ReservedPorts],
        )
        return connections
