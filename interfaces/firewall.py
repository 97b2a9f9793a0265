"""The service's functions that belong to no session, and the ports that a filter reserves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import (
    BOOL,
    DWORD,
    ERROR_INSUFFICIENT_BUFFER,
    HANDLE_PTR,
    INT,
    LPSTR,
    REFGUID,
    SOCKADDR,
    UNIQUE,
    USHORT,
    Idl,
    IUnknown,
    Length,
    LengthOf,
    MethodIdl,
    Out,
    ReadableBuffer,
    UserContextType,
)

if TYPE_CHECKING:
    from fwx.interfaces.completion import IFWXOverlapped, IFWXTaskCompletion
    from fwx.interfaces.enums import FwxNetworkRelation, FwxSslSocketSide
    from fwx.interfaces.iobuffer import IFWXIOBuffer
    from fwx.interfaces.ipfilter import IFWXIpFilter
    from fwx.interfaces.lowresource import IFWXLowResourceRecoverer
    from fwx.interfaces.netconfig import IFWXNetConfigDetector
    from fwx.interfaces.radius import IFWXRadiusAuthenticator
    from fwx.interfaces.session import IFWXSession
    from fwx.interfaces.sockets import IFWXNetworkSocket, IFWXSocket
    from fwx.interfaces.structs import Hostent
    from fwx.interfaces.user import IFWXAuthenticatedUser


class IFWXFirewall(IUnknown):
    """What the service does for a filter outside any session. Implemented by the service; a filter gets it in
    ``FilterInit`` and keeps it (B1.3). Any thread may call. What is not offered yet answers ``E_NOTIMPL``, and its
    method says "not in this version".
    """

    taggedValue("iid", UUID("0CF075B9-A8F6-11D0-A7F1-0000F8750B21"))

    def HookToCompletionPort(h: HANDLE_PTR) -> Annotated[None, MethodIdl("local")]:
        """Tie a file or other handle to the service's completions (B5.1). Called by a filter, once for each handle
        (B5.18), from any thread. Operations on it then use structures of ``CreateOverlapped`` only.

        Here they are ``fwx.sdk.ReadFile`` and ``WriteFile``. The descriptor stays the filter's to close, which ends the
        tie; another file that gets its number is not hooked. Operations make a pipe, a socket or the like non-blocking.

        :param h: the handle; on Linux a file descriptor (B5.20).
        :raises COMError: the SDK names no code; here ``E_HANDLE``, not an open descriptor; ``E_INVALIDARG``, hooked
            already, or not a whole number; ``FWX_E_TERMINATING``, the service stops;
            ``HRESULT_FROM_WIN32(ERROR_TOO_MANY_OPEN_FILES)``.
        """

    def CreateOverlapped() -> Annotated[IFWXOverlapped, Out("ppOverlapped")]:
        """Make an overlapped object for operations on hooked handles. Called by a filter before its first operation
        (B5.18); here the object serves again once an operation has ended.

        :returns: *ppOverlapped*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def CreateNetworkSocket(Protocol: INT) -> Annotated[IFWXNetworkSocket, Out("piSocket")]:
        """Make a socket that belongs to no user: no policy is asked (B4.6). Called by a filter, for a listening socket
        for one. A filter never opens a socket by other means (B4.9, B4.21, B4.22). It ends with the service.

        :param Protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP`` (B4.8).
        :returns: *piSocket*.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAEPROTONOSUPPORT)``, another protocol than
            these two; ``E_OUTOFMEMORY``; else the Winsock error as an HRESULT.
        """

    def CreateConstBuffer(
        pBuffer: Annotated[ReadableBuffer, Idl("BYTE*")],
        dwBufferLength: Annotated[DWORD | None, LengthOf("pBuffer")] = None,
    ) -> Annotated[IFWXIOBuffer, Out("pIOBuffer")]:
        """Wrap memory that never changes, without a copy (B3.16). Called by a filter. The buffer is full at once, and
        read-only.

        :param pBuffer: the memory; it stays alive as long as the buffer, and unchanged (B3.17).
        :param dwBufferLength: bytes of it; ``None`` for all.
        :returns: *pIOBuffer*.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, more than the memory has or a DWORD holds, or
            not bytes; ``E_POINTER``, no memory.
        """

    def CreateBuffer(dwBufferLength: DWORD) -> Annotated[IFWXIOBuffer, Out("pIOBuffer")]:
        """Make an empty buffer of a given capacity (B3.16). Called by a filter, which owns it and may as well use
        buffer objects of its own. Lengths that come from the Internet are not to be trusted here.

        :param dwBufferLength: the capacity in bytes.
        :returns: *pIOBuffer*.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, over 64 MiB; ``E_OUTOFMEMORY``.
        """

    def CreateWindowBuffer(
        pIOBufferOriginal: IFWXIOBuffer, dwOffset: DWORD, dwLength: DWORD
    ) -> Annotated[IFWXIOBuffer, Out("pIOBuffer")]:
        """Make a buffer that is a part of another one, without a copy, so that the part can be sent (B3.16). Called by
        a filter. Not specified is who may write then; here both are read-only from now on.

        :param pIOBufferOriginal: the other buffer; it stays alive as long as the window (B3.17).
        :param dwOffset: where the part starts, in bytes.
        :param dwLength: its length in bytes.
        :returns: *pIOBuffer*.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, the part reaches beyond the bytes in use;
            ``E_POINTER``, no other buffer; ``E_ACCESSDENIED``, one that waits for a ``Recv``.
        """

    def CreateIpFilter() -> Annotated[IFWXIpFilter, Out("ppIpFilter")]:
        """Make an empty set of addresses (B6.31). Called by a filter.

        :returns: *ppIpFilter*.
        :raises COMError: the SDK names no code; here ``E_OUTOFMEMORY``.
        """

    def StartHeavyBlockingOperation() -> None:
        """Announce that the calling thread is going to block for long (B5.13, B5.14). Called by a filter before it
        does, but not before it waits for a lock (B5.16). Each call is matched by ``EndHeavyBlockingOperation``, one
        that failed because the thread is inside an operation included. Here it is for the threads of the pool, which
        run what provides ``fwx.sdk.IBlocking``, and for the filter's own; a thread that ends is counted no more.

        :raises COMError: ``FWX_E_ALREADY_IN_BLOCKING_OP``, announced before (B5.15); ``FWX_E_THREAD_QUOTA_EXCEEDED``,
            too many threads block, and this start needs no end (B5.17). Here also ``FWX_E_BAD_CONTEXT``, called on the
            loop thread, which must not block.
        """

    def EndHeavyBlockingOperation() -> None:
        """Announce that the long operation is over. Called by the same thread, once for each start (B5.14).

        :raises COMError: ``FWX_E_NOT_IN_BLOCKING_OP``, none was announced (B5.15). Here also ``FWX_E_BAD_CONTEXT``,
            called on the loop thread.
        """

    def GetClientSession(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> Annotated[IFWXSession, Out("ppiClientSession")]:
        """Find or make the session of a client address. Called by a filter that knows the client to be a SecureNAT
        client of this server; for others there is ``CreatePrivateSession`` (B6.28).

        :param Address: the client; the port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppiClientSession*.
        :raises COMError: the SDK names no code; here ``E_POINTER``, no address; ``E_INVALIDARG``, not a literal one, or
            no user: without a name or a name space, or with ``fwx`` for it and none of the service's.
        """

    def CreatePrivateSession(
        ClientAddress: SOCKADDR,
        ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddress")],
        ProxyInternalAddress: SOCKADDR | None,
        ProxyInternalAddressLength: Annotated[DWORD | None, LengthOf("ProxyInternalAddress")],
        AuthenticatedUser: IFWXAuthenticatedUser | None,
    ) -> Annotated[IFWXSession, Out("ppPrivateSession")]:
        """Make a session for a client that the service does not know (B6.29). Called by a filter that plays a proxy, or
        that hands an inbound connection to a computer inside.

        :param ClientAddress: the client.
        :param ClientAddressLength: its size in bytes; ``None`` for its own.
        :param ProxyInternalAddress: the internal address of the firewall towards it; ``None`` for any.
        :param ProxyInternalAddressLength: its size in bytes; ``None`` for its own.
        :param AuthenticatedUser: whose session it is; with ``None`` rules see the address alone. Of a filter's own
            object the name and the name space are read once; rules take it for authenticated, but for no user of the
            configuration, and for no member of a group.
        :returns: *ppPrivateSession*, with ``FWX_SESSION_PRIVATE`` among its flags (B10.3).
        :raises COMError: the SDK names no code; here ``E_POINTER``, no address; ``E_INVALIDARG``, not a literal one, or
            no user: without a name or a name space, or with ``fwx`` for it and none of the service's.
        """

    def GetHostByName(
        name: Annotated[str, Idl("const char*")],
    ) -> Annotated[
        Hostent,
        Out("buf", "char*", "size_is(*buflen)", length=Length("buflen", "int*", too_small=ERROR_INSUFFICIENT_BUFFER)),
    ]:
        """Look up a name. Called by a filter. No policy is asked and nothing is logged, unlike
        ``IFWXSession.GetHostByName``.

        It may block for long in the SDK (B5.14). Here it does so on any thread but the loop's, where it answers at once
        from numbers, hosts file and what was answered a short while ago, else starts the look-up: ask again.

        :param name: the host's name, or an address as text.
        :returns: *buf*, the answer, with IPv4 and IPv6 addresses; on the COM face those of one family. *buflen* of the
            COM face holds the room there is and gets the room needed.
        :raises COMError: as an HRESULT ``WSAHOST_NOT_FOUND``, unknown; ``WSATRY_AGAIN``, no authoritative server
            answered, here also no answer yet; ``WSANO_DATA``, known but without such data.
            ``HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)``, too little room (COM face only). Not specified:
            ``FWX_E_DNS_QUOTA_EXCEEDED``, too many queries (B5.17); ``E_POINTER``, no name; ``E_INVALIDARG``, not text;
            ``FWX_E_TERMINATING``, the service stops.
        """

    def GetHostByAddr(
        addr: Annotated[ReadableBuffer, Idl("const char*", "size_is(len)")],
        len: Annotated[int | None, LengthOf("addr")],
        type: int,
    ) -> Annotated[
        Hostent,
        Out("buf", "char*", "size_is(*buflen)", length=Length("buflen", "int*", too_small=ERROR_INSUFFICIENT_BUFFER)),
    ]:
        """Look up an address. Called by a filter. No policy is asked and nothing is logged.

        :param addr: the address in network byte order.
        :param len: its length in bytes; ``None`` for its own.
        :param type: the address family by Winsock's number: ``AF_INET`` 2 or ``AF_INET6`` 23; Linux's 10 is taken too.
        :returns: *buf*, the answer, with *buflen* as in ``GetHostByName``.
        :raises COMError: as an HRESULT ``WSAHOST_NOT_FOUND``, unknown; ``WSATRY_AGAIN``, no authoritative server
            answered, here also no answer yet; ``WSANO_DATA``, known but without such data.
            ``HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)``, too little room (COM face only). Not specified:
            ``HRESULT_FROM_WIN32(WSAEAFNOSUPPORT)``, another family; ``E_INVALIDARG``, a length that is not the family's
            (Winsock has ``WSAEFAULT``); ``E_POINTER``, no address; ``FWX_E_DNS_QUOTA_EXCEEDED``, too many queries
            (B5.17); ``FWX_E_TERMINATING``, the service stops.
        """


class IFWXFirewall2(IFWXFirewall):
    """Further functions outside any session. Had by ``QueryInterface`` on the object that ``FilterInit`` got;
    implemented by the service.
    """

    taggedValue("iid", UUID("F3DA55EA-A8A9-47B0-A829-A0FD9CDA66E6"))

    def UpdateServiceStatus(dwWaitHint: DWORD) -> None:
        """Ask for more time while the service stops (B1.13). Called by a filter from ``FilterShutdown``. Here systemd
        is asked, where it wants to hear (``NOTIFY_SOCKET``); else nobody is there to ask, with success.

        :param dwWaitHint: milliseconds that the stop still needs, by estimate.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, not a number.
        """

    def PostTaskCompletion(pIFWXTaskCompletion: IFWXTaskCompletion, UserData: UserContextType) -> None:
        """Have a task run once (B5.4). Called by a filter, from any thread.

        The completion is ``IFWXTaskCompletion.CompleteTask``, once for each post, never inside this call; here on the
        loop thread, and on a thread of the pool where the task provides ``fwx.sdk.IBlocking``.

        :param pIFWXTaskCompletion: the task; it may be posted many times; never ``None``.
        :param UserData: handed over then.
        :raises COMError: the SDK names no code; here ``E_POINTER``, no task; ``E_INVALIDARG``, something else. Of one
            for the pool also ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too many wait for a thread; ``FWX_E_TERMINATING``, the
            service stops; ``E_OUTOFMEMORY``, there is no thread.
        """

    def CreateRadiusAuthenticator() -> Annotated[IFWXRadiusAuthenticator, Out("ppIFWXRadiusAuthenticator")]:
        """Make an authenticator, good for any number of users. Called by a filter; each call makes a new one.

        :returns: *ppIFWXRadiusAuthenticator*.
        :raises COMError: the SDK names no code. Here ``FWX_E_NOT_SUPPORTED``, no RADIUS server is configured.
        """

    def GetNetConfigDetector() -> Annotated[IFWXNetConfigDetector, Out("ppNetConfigDetector")]:
        """Return the object that tells of networks and addresses, and of their changes (B13.10). Called by a filter, as
        a rule in ``FilterInit``.

        :returns: *ppNetConfigDetector*, always the same object.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetLowResourceRecoverer() -> Annotated[IFWXLowResourceRecoverer, Out("ppIFWXRecoverer")]:
        """Return the object that helps after a lack of resources (B11.10). Called by a filter, as a rule in
        ``FilterInit``.

        :returns: *ppIFWXRecoverer*, always the same object.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def CreateSSLNetworkSocket(
        fAskForClientCert: BOOL,
        pszHostName: Annotated[LPSTR | None, UNIQUE],
        dwHostNameLen: Annotated[DWORD | None, LengthOf("pszHostName")],
        pCreds: Annotated[object | None, Idl("LONG*", "unique")],
        pDefaultCreds: Annotated[object | None, Idl("LONG*", "unique")],
        eSide: FwxSslSocketSide,
        ProtocolGuid: REFGUID,
        dwDefaultSendTimeout: DWORD,
        dwDefaultRecvTimeout: DWORD,
        fAllowHTTPSTunnelingMode: BOOL,
        pExistingSocket: IFWXSocket | None,
    ) -> Annotated[IFWXNetworkSocket, Out("ppiSSLSocket")]:
        """Lay TLS on a connected socket, which is the new one's from then on (B4.16, B4.17). Called by a filter.

        The handshake begins at once, and what is posted meanwhile waits for it. The socket belongs to no user.
        ``SendTo``, ``Connect`` and ``Accept`` of it answer ``E_NOTIMPL`` (B4.18); the SDK's list of such methods is
        lost (B4.19), and here there are no more.

        :param fAskForClientCert: ask the client for a certificate; means nothing towards a server.
        :param pszHostName: the server's name or literal address, for which its certificate must be; a name is sent as
            SNI. ``None`` or empty for none, which towards a server the credentials must allow.
        :param dwHostNameLen: how many characters of that name count; ``None`` for all.
        :param pCreds: the credentials of this end, here a ``TlsCredentials`` of ``fwx.sdk`` on both faces, or ``None``.
        :param pDefaultCreds: what holds where there are none, or, towards a client, none with a certificate. It holds
            no user: towards a server its certificate is not shown. ``None`` for the authorities of the system.
        :param eSide: the side of the firewall it is on: ``fwxServerSide``, towards a server, plays the TLS client,
            ``fwxClientSide``, towards a client, the TLS server.
        :param ProtocolGuid: the protocol of the socket's traffic, for the log; ``GUID_NULL`` for none.
        :param dwDefaultSendTimeout: how long a send may take; the SDK gives no unit, here milliseconds, 0 for ever.
        :param dwDefaultRecvTimeout: how long a receive may take, likewise.
        :param fAllowHTTPSTunnelingMode: the SDK says no more than that; here, towards a client, pass one through as it
            is whose first byte begins no TLS handshake.
        :param pExistingSocket: the connected socket underneath. Not specified is what ``None`` means; here a socket
            that can be bound and listen, and no more.
        :returns: *ppiSSLSocket*.
        :raises COMError: the SDK's list is lost; here ``E_POINTER``, no GUID; ``E_INVALIDARG``, a bad argument, no host
            name to check towards a server, no certificate towards a client, a GUID that no protocol has.
        """


class IFWXReservedPorts(IUnknown):
    """A run of ports, reserved by ``IFWXFirewall3.ReservePorts`` (B6.26). Implemented by the service.

    Only its shape is documented. No method withdraws the reservation: the ports are free again with the last reference.
    """

    taggedValue("iid", UUID("252FE376-A405-44F1-988F-B49B4A5A3650"))

    def GetFirstPort() -> Annotated[USHORT, Out("usPort")]:
        """Return the lowest port; the others follow it without a gap. Called by the filter that reserved them.

        :returns: *usPort*, in host byte order; the SDK does not say which.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetCount() -> Annotated[USHORT, Out("usCount")]:
        """Return how many ports the run has. Called by the filter that reserved them.

        :returns: *usCount*.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetTransportProtocol() -> Annotated[INT, Out("piTransportProtocol")]:
        """Return the transport for which the ports are reserved. Called by the filter that reserved them.

        :returns: *piTransportProtocol*, ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :raises COMError: not specified; an implementation here does not fail.
        """


class IFWXFirewall3(IFWXFirewall2):
    """Relates networks to one another and reserves ports. Had by ``QueryInterface`` on the object that ``FilterInit``
    got; implemented by the service. Only its shape is documented.
    """

    taggedValue("iid", UUID("C473A3F1-2F91-4C55-B6A6-8DC1555934C2"))

    def GetNetworkRelation(
        pFromSocket: SOCKADDR,
        dwFromSocketLength: Annotated[DWORD | None, LengthOf("pFromSocket")],
        pToSocket: SOCKADDR,
        dwToSocketLength: Annotated[DWORD | None, LengthOf("pToSocket")] = None,
    ) -> Annotated[FwxNetworkRelation, Out("peRelation")]:
        """Tell how the network of a source is related to that of a destination (B7.6). Called by a filter, at any time.

        Swapping source and destination turns ``fwx_nrt_NAT`` into ``fwx_nrt_ReverseNAT``. Two addresses of one network
        are ``fwx_nrt_SameNetwork``, a success.

        :param pFromSocket: the source; its port is not looked at.
        :param dwFromSocketLength: its size in bytes; ``None`` for its own.
        :param pToSocket: the destination; its port is not looked at.
        :param dwToSocketLength: its size in bytes; ``None`` for its own.
        :returns: *peRelation*.
        :raises COMError: not specified; here ``E_POINTER``, no address; ``E_INVALIDARG``, not a literal one;
            ``FWX_E_TERMINATING``, the service stops.
        """

    def ReservePorts(
        TransportProtocol: INT,
        pSocket: Annotated[SOCKADDR, Idl("const LPSOCKADDR")],
        dwSocketLength: Annotated[DWORD | None, LengthOf("pSocket")],
        usCount: USHORT,
    ) -> Annotated[IFWXReservedPorts, Out("ppReservedPort")]:
        """Reserve a run of ports on an address of the firewall, for the methods of :class:`IFWXSession2` (B6.26).
        Called by a filter.

        :param TransportProtocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
        :param pSocket: the address. Not specified is what its port means; give 0 and let the service choose the run.
        :param dwSocketLength: its size in bytes; ``None`` for its own.
        :param usCount: how many ports.
        :returns: *ppReservedPort*, the reservation.
        :raises COMError: not specified; here ``E_POINTER``, no address; ``E_INVALIDARG``, a bad argument;
            ``HRESULT_FROM_WIN32(WSAEADDRINUSE)``, no such run is free; ``HRESULT_FROM_WIN32(WSAENOBUFS)``, too many are
            reserved; ``FWX_E_TERMINATING``, the service stops; else the Winsock error as an HRESULT.
        """
