"""What filters ask of a session that is neither about who it is nor about secondary connections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from fwx.impl.emulatedbinding import emulate_client_bind
from fwx.impl.hostaccess import check_access, check_question
from fwx.impl.loopthread import on_loop
from fwx.impl.unknown import Unknown

if TYPE_CHECKING:
    from typing import Any

    from fwx.impl.engine import Engine
    from fwx.interfaces import Hostent, IClassFactory, IFWXConnection, IFWXFirewallAction, IUnknown, SocketAddress


class SessionRequests(Unknown):
    """Methods of ``IFWXSession``; the session is the only class that has them."""

    __slots__ = ()

    # Of the session.
    engine: Engine

    @property
    def _session(self) -> Any:
        return self

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
        """Have *pIClassFactory* make a data filter for every connection like this, until the session ends (B2.40).

        The address is the remote one of ``fwx_Connect_Tcp`` and ``fwx_Udp_Destination``, else the bound one;
        ``0.0.0.0`` is any, port 0 any. The handler of the filter that asks is not called for these (B2.41).

        :raises COMError: ``E_INVALIDARG`` another event, no IPv4 address, no class factory, an unknown class or flag;
            ``E_POINTER`` no factory; ``WSAENOBUFS`` too much is asked for; ``FWX_E_TERMINATING`` the session has ended.
        """
        return self.engine.factories.set(
            self._session, eProxyEvent, Address, pIClassFactory, PriorityClass, punkFilterContext, dwFlags
        )

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
        """Have a client that has bound nothing wait for connections: those that the caller makes with
        ``EmulateConnection`` of what is returned, each of which is dialled to *ClientAddress* (B6.27); over UDP, where
        it brings a peer, what that sends goes there. From any thread.

        Nothing is bound to *ProxyAddress*; it is what the bind event shows. ``Kill`` of the connection ends it.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a wrong argument; ``FWX_E_ADDRESS_NOT_ALLOWED`` not the
            client's own address; ``FWX_E_POLICY_RULES_DENIED`` the rules let nobody connect there; ``WSAEADDRINUSE`` a
            filter refuses the bind; ``FWX_E_TERMINATING``; ``WSAENOBUFS``.
        """
        connection: IFWXConnection = emulate_client_bind(
            self._session,
            (ClientAddress, ClientAddressLength),
            (ProxyAddress, ProxyAddressLength),
            Protocol,
            ProtocolGuid,
            fInternalAddressTranslation,
        )
        return connection

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
        """Ask the rules whether the client may reach *Hostent* in the protocol (B7.17); nothing is logged. From any
        thread. With *pszPath* it is about a request in plain HTTP.

        :raises COMError: ``FWX_E_POLICY_RULES_DENIED``, ``FWX_E_NETWORK_RULES_DENIED`` they refuse;
            ``FWX_E_MIME_NEEDED`` a rule is about content types, and there is *pszPath* and the flag, but no *pszMime*;
            ``E_POINTER``, ``E_INVALIDARG`` a wrong argument, a GUID of no protocol, an unknown flag;
            ``FWX_E_TERMINATING`` the session has ended.
        """
        check_question(FilterGuid, ProtocolGuid, Hostent, SrcPort, pszPath, pszMime, dwFlags)
        on_loop(
            self.engine.queue,
            check_access,
            self._session,
            ProtocolGuid,
            Hostent,
            SrcPort,
            pszPath,
            pszMime,
            dwFlags,
        )
