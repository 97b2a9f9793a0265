"""The session of a client, and the action that can be cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import (
    BOOL,
    DWORD,
    ERROR_INSUFFICIENT_BUFFER,
    INT,
    LPCSTR,
    LPHOSTENT,
    LPSTR,
    REFCLSID,
    REFGUID,
    SOCKADDR,
    UNIQUE,
    USHORT,
    Idl,
    IUnknown,
    Length,
    LengthOf,
    Out,
    ReadableBuffer,
)
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.classfactory import IClassFactory
    from fwx.interfaces.connection import IFWXConnection
    from fwx.interfaces.enums import FwxDataFilterPriorityClass, FwxFirewallEventType
    from fwx.interfaces.filter import IFWXSessionFilter
    from fwx.interfaces.firewall import IFWXReservedPorts
    from fwx.interfaces.ipfilter import IFWXIpFilter
    from fwx.interfaces.sockets import IFWXNetworkSocket
    from fwx.interfaces.structs import Hostent
    from fwx.interfaces.user import IFWXAuthenticatedUser


class IFWXFirewallAction(IUnknown):
    """A permission or request given in advance, as ``AllowFutureConnect`` makes one. Implemented by the service.

    The service cancels it by itself when a single use is used up, its time has run out, or its session ends. An action
    that is released without ``Cancel`` stands (B6.11).
    """

    taggedValue("iid", UUID("03B9F4A0-DF6D-11D2-ACD1-00A0C9D7559D"))

    def Cancel() -> None:
        """Withdraw what was asked for in advance. Called by the filter that asked, for one when the primary connection
        has ended.

        :raises COMError: ``FWX_E_TERMINATING``, it has been cancelled before. Not said is whether that holds for an
            action that the service has cancelled itself; here it does.
        """


class IFWXSession(IUnknown):
    """The connections of one client: who it is, what it may reach, and leave for its secondary connections (B1.14).

    Implemented by the service: one for each control channel of a Firewall client, one for each address of SecureNAT
    clients (B1.15). This version has one for each address and kind of client. It exists from the first connection on
    (B1.16); a filter gets it in ``AttachToSession``. What is not offered yet answers ``E_NOTIMPL``, and its method says
    "not in this version".
    """

    taggedValue("iid", UUID("0CF075B2-A8F6-11D0-A7F1-0000F8750B21"))

    def GetClientAddress() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPDWORD"))]:
        """Return the client's address. Called at any time.

        :returns: *Address*, with port 0; *AddressLength* of the COM face holds the room there is and gets the length.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only); the SDK names no code.
        """

    def GetClientMachineName() -> Annotated[LPSTR, Out("pszMachineName", "LPSTR*", "string")]:
        """Return the name of the client's computer, which only Firewall clients send (B10.1). Called at any time.

        :returns: *pszMachineName*; on the COM face the caller frees it.
        :raises COMError: not specified for a client that sent none, such as a SecureNAT client; here
            ``FWX_E_NOT_SUPPORTED``, always: neither SOCKS nor HTTP carries a name.
        """

    def GetAuthenticatedUser() -> Annotated[IFWXAuthenticatedUser, Out("ppIFWXAuthenticatedUser")]:
        """Return the session's user. Called at any time.

        :returns: *ppIFWXAuthenticatedUser*; NULL on failure.
        :raises COMError: the SDK names no code; here ``FWX_E_NOT_AUTHENTICATED``, nobody has been authenticated
            (B10.2). Clients of a published port never have been; those of a proxy port, where its listener asks.
        """

    def AllowFutureConnect(
        Address: SOCKADDR,
        AddressLength: Annotated[DWORD | None, LengthOf("Address")],
        ProxyExternalAddress: Annotated[SOCKADDR | None, UNIQUE],
        ProxyExternalAddressLength: Annotated[DWORD | None, LengthOf("ProxyExternalAddress")],
        Protocol: INT,
        dwFlags: DWORD,
        ProtocolGuid: REFGUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pConnection: IFWXConnection | None,
    ) -> Annotated[IFWXFirewallAction, Out("ppFirewallAction")]:
        """Give the client leave for a secondary connection outwards (B6.5). Called by a filter that has read the
        address in the primary connection (B6.2).

        :param Address: where the client is going to connect.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :param ProxyExternalAddress: where the connection leaves from, as a rule as the primary one; ``None`` for any
            (B6.9).
        :param ProxyExternalAddressLength: its size in bytes; ``None`` for its own.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param dwFlags: ``FWX_FLAG_ALLOW_MULTIPLE`` for more than one use (B6.6), ``FWX_FLAG_TIMEOUT`` to lapse within
            about a minute (B6.7), ``FWX_FLAG_ADDRESS_BASED`` for the client's address in the place of the session
            (B6.8), ``FWX_FLAG_NO_KERNEL_MODE`` (B3.2), allowed-address flags (B6.35); the administrator's defaults are
            added.
        :param ProtocolGuid: the protocol of which the connection is a part.
        :param pSessionFilter: told of the connection by ``fwx_EstablishedConnection``; ``None`` for nobody (B2.31,
            B6.10).
        :param punkContext: handed over in that event as ``UserContext``; may be ``None`` (B2.33).
        :param pConnection: the primary connection, or ``None``.
        :returns: *ppFirewallAction*, whose ``Cancel`` withdraws the leave (B6.11).
        :raises COMError: the SDK's list is lost; here ``E_POINTER``, no address or GUID; ``E_INVALIDARG``, a bad
            argument; ``FWX_E_ADDRESS_NOT_ALLOWED``, beyond the allowed addresses, or the firewall itself;
            ``FWX_E_TERMINATING``, the session or the primary connection has ended; ``FWX_E_POLICY_RULES_DENIED``, UDP
            through an upstream that carries none; ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too much is announced;
            ``E_NOTIMPL``, UDP with a *ProxyExternalAddress*.
        """

    def BindForClient(
        ClientAddresses: Annotated[
            Sequence[SOCKADDR],
            Idl("LPSOCKADDR[]", "size_is(dwNumberOfAddresses)", "length_is(dwNumberOfAddresses)"),
        ],
        ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddresses", each=True)],
        ProxyAddress: SOCKADDR,
        ProxyAddressLength: Annotated[DWORD | None, LengthOf("ProxyAddress")],
        Protocol: INT,
        dwNumberOfAddresses: Annotated[DWORD | None, LengthOf("ClientAddresses")],
        dwFlags: DWORD,
        Backlog: INT,
        ProtocolGuid: REFGUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pIpFilter: IFWXIpFilter | None,
    ) -> tuple[
        Annotated[SOCKADDR, Out("ProxyAddress")],
        Annotated[
            tuple[IFWXConnection, ...],
            Out(
                "ConnectionArray",
                "IFWXConnection*[]",
                "size_is(dwNumberOfAddresses)",
                "length_is(dwNumberOfAddresses)",
            ),
        ],
    ]:
        """Bind on the outside for the client, ready for secondary connections inwards (B6.12). Called by a filter for a
        SecureNAT client, or for a Firewall client whose ``RetroactiveAllowBind`` failed (B6.13, B6.20).

        It raises bind and listen events (B6.17). Each address takes a port; they follow one another (B6.14).

        :param ClientAddresses: the client's addresses; all zeros where not known yet, for ``SetClientAddress`` (B6.16).
        :param ClientAddressLength: size in bytes of each; ``None`` for their own.
        :param ProxyAddress: what to bind, as a rule an external address of the firewall with port 0.
        :param ProxyAddressLength: its size in bytes; ``None`` for its own.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param dwNumberOfAddresses: how many client addresses; ``None`` for all.
        :param dwFlags: ``FWX_FLAG_PROXY_MODE``, allowed-address flags (B6.35); the administrator's defaults are added.
        :param Backlog: the most connections that may wait.
        :param ProtocolGuid: the protocol of which the connections are a part.
        :param pSessionFilter: told of each connection by ``fwx_EstablishedConnection``; ``None`` for nobody (B2.31).
        :param punkContext: handed over in that event as ``UserContext``; may be ``None`` (B2.33).
        :param pIpFilter: who may connect; ``None`` for everyone (B6.33).
        :returns: *ProxyAddress*, the address bound (B6.15), and *ConnectionArray*, one connection for each address.
        :raises COMError: the SDK's list is lost; here ``E_POINTER``, no address or GUID; ``E_INVALIDARG``, a bad
            argument; ``FWX_E_ADDRESS_NOT_ALLOWED``, a client address that the flags do not allow, or the firewall
            itself; ``FWX_E_POLICY_RULES_DENIED``, the rules refuse; ``FWX_E_TERMINATING``, the session has ended;
            ``HRESULT_FROM_WIN32(WSAEADDRINUSE)``, no run of ports is free, or a filter refuses the bind;
            ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too much is announced; ``E_NOTIMPL``, UDP; else the Winsock error as an
            HRESULT.
        """

    def EmulateClientBind(
        ClientAddress: SOCKADDR,
        ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddress")],
        ProxyAddress: SOCKADDR,
        ProxyAddressLength: Annotated[DWORD | None, LengthOf("ProxyAddress")],
        Protocol: INT,
        ProtocolGuid: REFGUID,
        fInternalAddressTranslation: BOOL,
    ) -> Annotated[IFWXConnection, Out("piConnection", before="fInternalAddressTranslation")]:
        """Let a client that bound nothing get a primary connection inwards (B6.27). Called by a filter that listens on
        a well-known port and hands the call to a computer inside. Nothing is bound.

        :param ClientAddress: the client's address.
        :param ClientAddressLength: its size in bytes; ``None`` for its own.
        :param ProxyAddress: what the bind event shows, as a rule an external address with its port.
        :param ProxyAddressLength: its size in bytes; ``None`` for its own.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param ProtocolGuid: the protocol of which the connection is a part.
        :param fInternalAddressTranslation: show outer sources as an internal address of the firewall.
        :returns: *piConnection*, the connection; in the IDL it stands before *fInternalAddressTranslation*.
        :raises COMError: the SDK names no code. Here ``E_POINTER``, ``E_INVALIDARG``, a bad argument;
            ``FWX_E_ADDRESS_NOT_ALLOWED``, not the client's own address; ``FWX_E_POLICY_RULES_DENIED``, the rules let
            nobody connect there; ``HRESULT_FROM_WIN32(WSAEADDRINUSE)``, a filter refuses the bind;
            ``FWX_E_TERMINATING``, the session has ended; ``E_NOTIMPL``, UDP.
        """

    def GetSessionFlags() -> Annotated[DWORD, Out("pOutputFlags", "LPDWORD")]:
        """Return the session's flags. Called at any time.

        :returns: *pOutputFlags*, an OR of ``FWX_SESSION_NAT``, ``FWX_SESSION_AUTHENTICATED``,
            ``FWX_SESSION_TERMINATED`` and ``FWX_SESSION_PRIVATE`` (B10.3).
        :raises COMError: the SDK names no code; this implementation never fails.
        """

    def RedirectConnections(
        ConnectAddresses: Annotated[
            Sequence[SOCKADDR],
            Idl("LPSOCKADDR[]", "size_is(dwNumberOfAddresses)", "length_is(dwNumberOfAddresses)"),
        ],
        ConnectAddressLength: Annotated[DWORD | None, LengthOf("ConnectAddresses", each=True)],
        dwNumberOfAddresses: Annotated[DWORD | None, LengthOf("ConnectAddresses")],
        ProxyExternalAddress: Annotated[SOCKADDR | None, UNIQUE],
        ProxyExternalAddressLength: Annotated[DWORD | None, LengthOf("ProxyExternalAddress")],
        Protocol: INT,
        dwFlags: DWORD,
        ProtocolGuid: REFGUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
    ) -> tuple[
        Annotated[
            SOCKADDR,
            Out(
                "InternalAddress",
                "LPSOCKADDR",
                "ref",
                "size_is(*InternalAddressLength)",
                "length_is(*InternalAddressLength)",
                before="ProxyExternalAddress",
                length=Length("InternalAddressLength", "LPDWORD"),
            ),
        ],
        Annotated[
            tuple[IFWXFirewallAction, ...],
            Out(
                "FirewallActionArray",
                "IFWXFirewallAction*[]",
                "size_is(dwNumberOfAddresses)",
                "length_is(dwNumberOfAddresses)",
            ),
        ],
    ]:
        """Give the client an inside address to connect to, from where its connections go on to others (B6.22). Called
        by a filter that writes that address into the data (B6.23).

        :param ConnectAddresses: where the connections are to go.
        :param ConnectAddressLength: size in bytes of each; ``None`` for their own.
        :param dwNumberOfAddresses: how many of them; ``None`` for all.
        :param ProxyExternalAddress: where the connections leave from; ``None`` for any.
        :param ProxyExternalAddressLength: its size in bytes; ``None`` for its own.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param dwFlags: ``FWX_FLAG_ALLOW_MULTIPLE`` (B6.25), ``FWX_FLAG_TIMEOUT``, ``FWX_FLAG_NO_KERNEL_MODE``.
        :param ProtocolGuid: the protocol of which the connections are a part.
        :param pSessionFilter: told of each connection by ``fwx_EstablishedConnection``; ``None`` for nobody (B2.31).
        :param punkContext: handed over in that event as ``UserContext``; may be ``None`` (B2.33).
        :returns: *InternalAddress*, with the lowest of the consecutive ports taken (B6.24), and *FirewallActionArray*,
            one action for each target (B6.25). *InternalAddressLength* of the COM face holds the room there is and gets
            the length.
        :raises COMError: the SDK's list is lost; here ``E_POINTER``, no address or GUID; ``E_INVALIDARG``, a bad
            argument; ``FWX_E_ADDRESS_NOT_ALLOWED``, the firewall itself; ``FWX_E_TERMINATING``, the session has ended;
            ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only); ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too
            much is announced; ``E_NOTIMPL``, UDP; else the Winsock error as an HRESULT.
        """

    def AttachFilter(guidFilter: REFCLSID) -> None:
        """Have another filter attach to this session before any of its events (B1.23). Called by a filter. Nothing
        happens if that filter is attached already.

        :param guidFilter: the CLSID of that filter.
        :raises COMError: ``REGDB_E_CLASSNOTREG``, there is no such filter, or here: it is not running. Not specified,
            and here ``FWX_E_TERMINATING``, the session has ended; else what its ``AttachToSession`` failed with.
        """

    def SetDataFilterFactory(
        eProxyEvent: FwxFirewallEventType,
        Address: SOCKADDR,
        AddressLength: Annotated[DWORD | None, LengthOf("Address")],
        pIClassFactory: IClassFactory,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: Annotated[IUnknown | None, UNIQUE],
        dwFlags: DWORD,
    ) -> Annotated[IFWXFirewallAction, Out("ppFirewallAction", optional=True)]:
        """Have data filters made for coming events. Called by a session filter: it then need not register for the event
        and its handler is not called (B2.40, B2.41).

        :param eProxyEvent: ``fwx_Connect_Tcp``, ``fwx_Bind_Udp``, ``fwx_AcceptedConnection`` or
            ``fwx_Udp_Destination``.
        :param Address: which events: the remote address of a connect or destination, else the bound one; IPv4, 0.0.0.0
            for any.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :param pIClassFactory: makes the data filters, by ``CreateInstance`` when the event comes (B1.28).
        :param PriorityClass: their place between client and server (B3.7).
        :param punkFilterContext: handed to ``SetSockets`` as it is; may be ``None`` (B1.26).
        :param dwFlags: 0, or ``FWX_FLAG_ADDRESS_BASED`` for other processes at the same address too (B2.42).
        :returns: *ppFirewallAction*, whose ``Cancel`` ends it; NULL may be given for it on the COM face (B2.43).
        :raises COMError: the SDK's list is lost. Here ``E_INVALIDARG``, a bad argument; ``E_POINTER``, no factory;
            ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too much is asked for; ``FWX_E_TERMINATING``, the session has ended.
        """

    def RetroactiveAllowBind(
        Protocol: INT,
        Address: SOCKADDR,
        AddressLength: Annotated[DWORD | None, LengthOf("Address")],
        ProtocolGuid: REFGUID,
        dwFlags: DWORD,
        pIpFilter: IFWXIpFilter | None,
    ) -> HRESULT:
        """Approve a bind that a Firewall client has made already, by tying it to a protocol (B6.18). Called by a filter
        once it knows that the bind is legitimate; if it fails, ``BindForClient`` is next (B6.20). Not for SecureNAT
        clients.

        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param Address: the external address; any address, but not port 0.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :param ProtocolGuid: the protocol of which the connection is a part.
        :param dwFlags: ``FWX_FLAG_BIDIRECTIONAL`` (UDP only), ``FWX_INCREASE_RECEIVE_BUFFER`` (B6.21).
        :param pIpFilter: who may connect; ``None`` for everyone (B6.33).
        :returns: ``S_OK``, now allowed; ``S_FALSE``, it was allowed before. Both are successes: compare, never test for
            truth.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, no such bind; ``FWX_E_POLICY_RULES_DENIED``, the
            rules deny the protocol; ``FWX_E_TERMINATING``, the bind is being torn down; ``E_INVALIDARG``, a bad
            argument (B6.19). Here also ``E_POINTER``, no address or GUID; else the Winsock error as an HRESULT.
        """

    def CreateNetworkSocket(Protocol: INT) -> Annotated[IFWXNetworkSocket, Out("piSocket")]:
        """Make a socket that belongs to the session's user: it obeys the session's policy and is logged as that user's
        (B4.7). Called by a filter of this session. It ends with the session.

        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP`` (B4.8).
        :returns: *piSocket*; its ``SetSockOpt`` and ``GetSockOpt`` answer ``E_NOTIMPL``.
        :raises COMError: ``E_OUTOFMEMORY``; else the Winsock or Windows error as an HRESULT. Here
            ``HRESULT_FROM_WIN32(WSAEPROTONOSUPPORT)``, another protocol than these two; ``FWX_E_TERMINATING``, the
            session has ended.
        """

    def HostAccessCheck(
        FilterGuid: REFGUID,
        ProtocolGuid: REFGUID,
        Hostent: LPHOSTENT,
        SrcPort: USHORT,
        pszPath: LPCSTR | None,
        pszMime: LPCSTR | None,
        dwFlags: DWORD,
        ProcessedRulesData: Annotated[IUnknown | None, Idl("IUnknown**")],
    ) -> None:
        """Ask the rules whether the session's user may reach a host (B7.17). Called by a filter that learns the host
        from the data.

        :param FilterGuid: the filter that the connection belongs to.
        :param ProtocolGuid: the protocol.
        :param Hostent: the host.
        :param SrcPort: the source port.
        :param pszPath: the path, ``None`` when there is none. Here with it rules about URLs and content types count.
        :param pszMime: the MIME type, ``None`` when not known.
        :param dwFlags: 0, or ``FWX_FLAG_USE_MIME``: the type may become known later; ``FWX_FLAG_USE_EXTENTION``: judge
            content by the path's extension. The pages name two flags on publishing rules, which no header defines.
        :param ProcessedRulesData: data on the rules; ``[in]`` in the IDL, its meaning is lost: give ``None``.
        :raises COMError: ``FWX_E_MIME_NEEDED``, *pszMime* is ``None`` under ``FWX_FLAG_USE_MIME`` and the rules depend
            on it. The rest of the SDK's list is lost. Here ``FWX_E_POLICY_RULES_DENIED`` or
            ``FWX_E_NETWORK_RULES_DENIED``, the rules refuse; ``E_POINTER``, ``E_INVALIDARG``, a bad argument;
            ``FWX_E_TERMINATING``, the session has ended.
        """

    def GetHostByName(
        name: Annotated[str, Idl("const char*")],
    ) -> Annotated[
        Hostent,
        Out("buf", "char*", "size_is(*buflen)", length=Length("buflen", "int*", too_small=ERROR_INSUFFICIENT_BUFFER)),
    ]:
        """Look up a name, under the session's policy and log (B9.12). Called by a filter of the session. What policy
        refuses seems not to exist.

        It may block for long in the SDK (B5.14). Here it does so on any thread but the loop's, where it answers at once
        from numbers, hosts file and what was answered a short while ago, else starts the look-up: ask again.

        :param name: the host's name, or an address as text.
        :returns: *buf*, the answer, with IPv4 and IPv6 addresses; on the COM face those of one family. *buflen* of the
            COM face holds the room there is and gets the room needed.
        :raises COMError: as an HRESULT ``WSAHOST_NOT_FOUND``, unknown or refused; ``WSATRY_AGAIN``, no authoritative
            server answered, here also no answer yet; ``WSANO_DATA``, known but without such data.
            ``HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)``, too little room (COM face only). Not specified:
            ``FWX_E_DNS_QUOTA_EXCEEDED``, too many queries (B5.17); ``E_POINTER``, no name; ``E_INVALIDARG``, not text;
            ``FWX_E_TERMINATING``, the session has ended.
        """

    def GetHostByAddr(
        addr: Annotated[ReadableBuffer, Idl("const char*", "size_is(len)")],
        len: Annotated[int | None, LengthOf("addr")],
        type: int,
    ) -> Annotated[
        Hostent,
        Out("buf", "char*", "size_is(*buflen)", length=Length("buflen", "int*", too_small=ERROR_INSUFFICIENT_BUFFER)),
    ]:
        """Look up an address, under the session's policy and log (B9.12). Called by a filter of the session. What
        policy refuses seems not to exist.

        :param addr: the address in network byte order.
        :param len: its length in bytes; ``None`` for its own.
        :param type: the address family by Winsock's number: ``AF_INET`` 2 or ``AF_INET6`` 23; Linux's 10 is taken too.
        :returns: *buf*, the answer, with *buflen* as in ``GetHostByName``.
        :raises COMError: as an HRESULT ``WSAHOST_NOT_FOUND``, unknown or refused; ``WSATRY_AGAIN``, no authoritative
            server answered, here also no answer yet; ``WSANO_DATA``, known but without such data.
            ``HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)``, too little room (COM face only). Not specified:
            ``HRESULT_FROM_WIN32(WSAEAFNOSUPPORT)``, another family; ``E_INVALIDARG``, a length that is not the family's
            (Winsock has ``WSAEFAULT``); ``E_POINTER``, no address; ``FWX_E_DNS_QUOTA_EXCEEDED``, too many queries
            (B5.17); ``FWX_E_TERMINATING``, the session has ended.
        """


class IFWXSession2(IFWXSession):
    """A session that can work on ports reserved before (B6.26). Had by ``QueryInterface`` on a session; implemented by
    the service.

    Only its shape is documented; the meaning follows from the methods of :class:`IFWXSession` with like names.
    """

    taggedValue("iid", UUID("88705773-A238-4967-A39C-C170E1525E35"))

    def RedirectConnectionsReservedPorts(
        ConnectAddresses: Annotated[
            Sequence[SOCKADDR],
            Idl("LPSOCKADDR[]", "size_is(dwNumberOfAddresses)", "length_is(dwNumberOfAddresses)"),
        ],
        ConnectAddressLength: Annotated[DWORD | None, LengthOf("ConnectAddresses", each=True)],
        dwNumberOfAddresses: Annotated[DWORD | None, LengthOf("ConnectAddresses")],
        ReservedPorts: IFWXReservedPorts,
        ProxyExternalAddress: Annotated[SOCKADDR | None, UNIQUE],
        ProxyExternalAddressLength: Annotated[DWORD | None, LengthOf("ProxyExternalAddress")],
        Protocol: INT,
        dwFlags: DWORD,
        ProtocolGuid: REFGUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
    ) -> Annotated[
        tuple[IFWXFirewallAction, ...],
        Out(
            "FirewallActionArray",
            "IFWXFirewallAction*[]",
            "size_is(dwNumberOfAddresses)",
            "length_is(dwNumberOfAddresses)",
        ),
    ]:
        """Do what ``RedirectConnections`` does, on ports that the filter has reserved, the first one for the first
        address. Called by a filter. No inside address comes back: the filter knows the ports.

        :param ConnectAddresses: where the connections are to go.
        :param ConnectAddressLength: size in bytes of each; ``None`` for their own.
        :param dwNumberOfAddresses: how many of them; ``None`` for all.
        :param ReservedPorts: where the client is to connect, from ``IFWXFirewall3.ReservePorts``. Not specified is
            whether a reservation may serve twice; make one for each call.
        :param ProxyExternalAddress: where the connections leave from; ``None`` for any.
        :param ProxyExternalAddressLength: its size in bytes; ``None`` for its own.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``, that of the reservation.
        :param dwFlags: as in ``RedirectConnections``.
        :param ProtocolGuid: the protocol of which the connections are a part.
        :param pSessionFilter: told of each connection by ``fwx_EstablishedConnection``; ``None`` for nobody (B2.31).
        :param punkContext: handed over in that event as ``UserContext``; may be ``None``.
        :returns: *FirewallActionArray*, one action for each address.
        :raises COMError: not specified. ``E_INVALIDARG``, fewer ports than addresses, or ports of another transport;
            otherwise as ``RedirectConnections``.
        """

    def BindForClientOnReservedPorts(
        ClientAddresses: Annotated[
            Sequence[SOCKADDR],
            Idl("LPSOCKADDR[]", "size_is(dwNumberOfAddresses)", "length_is(dwNumberOfAddresses)"),
        ],
        ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddresses", each=True)],
        ReservedPorts: IFWXReservedPorts,
        Protocol: INT,
        dwNumberOfAddresses: Annotated[DWORD | None, LengthOf("ClientAddresses")],
        dwFlags: DWORD,
        Backlog: INT,
        ProtocolGuid: REFGUID,
        pSessionFilter: IFWXSessionFilter | None,
        punkContext: IUnknown | None,
        pIpFilter: IFWXIpFilter | None,
    ) -> Annotated[
        tuple[IFWXConnection, ...],
        Out(
            "ConnectionArray",
            "IFWXConnection*[]",
            "size_is(dwNumberOfAddresses)",
            "length_is(dwNumberOfAddresses)",
        ),
    ]:
        """Do what ``BindForClient`` does, on ports that the filter has reserved, the first one for the first address.
        Called by a filter. No address comes back: it is that of the reservation.

        :param ClientAddresses: the client's addresses; all zeros where not known yet (B6.16).
        :param ClientAddressLength: size in bytes of each; ``None`` for their own.
        :param ReservedPorts: what to bind, from ``IFWXFirewall3.ReservePorts``; one for each call.
        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``, that of the reservation.
        :param dwNumberOfAddresses: how many client addresses; ``None`` for all.
        :param dwFlags: as in ``BindForClient``.
        :param Backlog: the most connections that may wait.
        :param ProtocolGuid: the protocol of which the connections are a part.
        :param pSessionFilter: told of each connection by ``fwx_EstablishedConnection``; ``None`` for nobody (B2.31).
        :param punkContext: handed over in that event as ``UserContext``; may be ``None``.
        :param pIpFilter: who may connect; ``None`` for everyone (B6.33).
        :returns: *ConnectionArray*, one connection for each address.
        :raises COMError: not specified. ``E_INVALIDARG``, fewer ports than addresses, or ports of another transport;
            otherwise as ``BindForClient``.
        """
