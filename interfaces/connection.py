"""One connection through the firewall, and the UDP destination that can be refused by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, INT, SOCKADDR, UNIQUE, UNMARKED, IUnknown, Length, LengthOf, Out

if TYPE_CHECKING:
    from fwx.interfaces.datafilter import IFWXDataFilter
    from fwx.interfaces.enums import FwxDataFilterPriorityClass
    from fwx.interfaces.ipfilter import IFWXIpFilter
    from fwx.interfaces.session import IFWXSession


class IFWXConnection(IUnknown):
    """One socket that the firewall opens for a client. Implemented by the service.

    It comes into being with the request; the service judges access and then tells the filters, so what policy denies
    never reaches a filter. For an accepted connection it exists before the client's socket does (B2.24). A filter drops
    its reference when ``fwx_ConnectionTerminating`` arrives, or the object cannot go (B1.35).
    """

    taggedValue("iid", UUID("0CF075B3-A8F6-11D0-A7F1-0000F8750B21"))

    def AttachDataFilter(
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: Annotated[IUnknown | None, UNIQUE],
    ) -> None:
        """Put a data filter into the chain of this connection. Called by a session filter inside
        ``FirewallEventHandler`` for ``fwx_Connect_Tcp``, ``fwx_AcceptedConnection``, ``fwx_Bind_Udp`` or
        ``fwx_Udp_Destination`` (B1.24, B2.34). The service answers with ``SetSockets`` once the connection is there
        (B1.25).

        :param piDataFilter: the data filter, made for this connection.
        :param PriorityClass: its place between client and server (B3.7); inside one class the order is arbitrary
            (B3.10).
        :param punkFilterContext: handed to ``SetSockets`` as it is; may be ``None`` (B1.26).
        :raises COMError: ``E_OUTOFMEMORY``; ``FWX_E_TERMINATING``, the connection is ending; ``E_INVALIDARG``, a bad
            argument (B2.35): no data filter's object, an unknown class, or attached already. Not specified, and here
            ``FWX_E_BAD_CONTEXT``, called at another time; ``E_POINTER``, no data filter.
        """

    def EmulateConnection(
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SOCKADDR,
        RemoteAddressLength: Annotated[DWORD | None, LengthOf("RemoteAddress")],
        LocalAddress: SOCKADDR,
        LocalAddressLength: Annotated[DWORD | None, LengthOf("LocalAddress")] = None,
    ) -> Annotated[IFWXConnection, Out("ppNewIFWXConnection", optional=True)]:
        """Make a connection to the client out of this listening connection, which the filter emulates (B3.35). Called
        by that filter when the outer side has somebody for the client.

        The data filter is the source of the data, at ``fwx_dfpc_Emulation``; its ``SetSockets`` gets the internal
        socket alone, the caller holds the outer one itself (B3.37).

        :param piDataFilter: the data filter that plays the other side.
        :param RemoteAddress: what the client reads from accept and getpeername (B3.36).
        :param RemoteAddressLength: its size in bytes; ``None`` for its own.
        :param LocalAddress: what the client reads from getsockname.
        :param LocalAddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppNewIFWXConnection*, to be dropped at its terminating event (B1.36). NULL may be given for it on the
            COM face.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, this connection does not listen or is not emulated;
            ``FWX_E_TERMINATING``, it is ending; ``E_OUTOFMEMORY``; else the Winsock error as an HRESULT. Not specified,
            and here ``E_POINTER``, no data filter; ``E_INVALIDARG``, not a data filter, or not a literal address.
        """

    def SetSocketName(
        Address: Annotated[SOCKADDR, UNMARKED],
        AddressLength: Annotated[DWORD | None, LengthOf("Address"), UNMARKED] = None,
    ) -> None:
        """Say what name the client's socket has. Called by a filter that emulates the connection, which must call it
        (B3.39); best is an address of the firewall, since the client may tell it to others. Other connections take the
        name of the real external socket.

        :param Address: the name.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: ``FWX_E_ALREADY_EXISTS``, the socket is bound already; ``FWX_E_INVALID_ARG``, a bad address
            (its siblings have ``E_INVALIDARG``). Not specified, and here ``FWX_E_NOT_EMULATED``, no filter emulates the
            connection; ``FWX_E_TERMINATING``, it is ending.
        """

    def GetExternalSocketName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT"))]:
        """Return the local address of the external socket. Called from ``SetSockets`` or later, not from event
        handling: the socket does not exist yet then.

        :returns: *Address*; *AddressLength* of the COM face holds the room there is and gets the room needed.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, not bound yet; ``HRESULT_FROM_WIN32(WSAEFAULT)``, too
            little room (COM face only), here also a socket that has no name any more; ``FWX_E_TERMINATING``, the
            connection is ending; ``E_OUTOFMEMORY``.
        """

    def Kill() -> None:
        """End the connection, whatever it is doing (B3.32). Called by anybody who holds it, from any thread.

        What is pending fails, then the data filters are detached. A second call does nothing.

        :raises COMError: never; ``S_OK`` is the only result.
        """

    def SetClientAddress(
        ClientAddress: SOCKADDR, ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddress")] = None
    ) -> None:
        """Supply the client address that ``BindForClient`` was not given (B6.16). Called once, by the filter that
        bound.

        :param ClientAddress: the address that the client uses.
        :param ClientAddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: ``E_INVALIDARG``, a bad address, or there is one already, as every other connection has; else
            the Windows error as an HRESULT. Here also ``E_POINTER``, no address; ``FWX_E_ADDRESS_NOT_ALLOWED``, one
            that ``BindForClient`` would not take; ``FWX_E_TERMINATING``.
        """

    def AttachDataFilterWithDestination(
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: Annotated[IUnknown | None, UNIQUE],
        ExternalAddress: Annotated[SOCKADDR | None, UNIQUE],
        ExternalAddressLength: Annotated[INT | None, LengthOf("ExternalAddress")] = None,
    ) -> None:
        """Attach a data filter for as long as one UDP destination lives. Called inside ``FirewallEventHandler`` for
        ``fwx_Udp_Destination``. The data filter gets every datagram of the connection all the same, and is detached
        when the service forgets the destination (B2.16, B2.18).

        :param piDataFilter: the data filter; its ``SetSockets`` follows.
        :param PriorityClass: its place between client and server (B3.7).
        :param punkFilterContext: handed to ``SetSockets`` as it is; may be ``None``.
        :param ExternalAddress: the destination: here that of the event. ``None`` is legal by the IDL, without a
            documented meaning; here it is ``AttachDataFilter``, for that destination's datagrams alone.
        :param ExternalAddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: ``E_OUTOFMEMORY``; ``FWX_E_TERMINATING``; ``E_INVALIDARG``, a bad argument, another
            destination; here also ``E_POINTER``, no data filter; ``FWX_E_BAD_CONTEXT``, called at another time.
        """

    def EmulateForConnect(piDataFilter: IFWXDataFilter, punkFilterContext: Annotated[IUnknown | None, UNIQUE]) -> None:
        """Let a data filter play the server (B3.33). Called inside ``FirewallEventHandler``; the SDK names no event,
        ours is ``fwx_Connect_Tcp``.

        ``SetSockets`` follows, with ``None`` as the external socket (B3.6). A connection is emulated once (B3.38).

        :param piDataFilter: the data filter that plays the server, from a cache for one (B3.40).
        :param punkFilterContext: handed to ``SetSockets`` as it is; may be ``None``.
        :raises COMError: ``FWX_E_ALREADY_EMULATED``; ``FWX_E_BAD_CONTEXT``, called at another time; ``E_INVALIDARG``, a
            bad argument; ``FWX_E_TERMINATING``; ``E_OUTOFMEMORY``; here also ``E_POINTER``, no data filter.
        """

    def EmulateForBind() -> None:
        """Emulate a bind, so that inbound connections come from the filter by ``EmulateConnection`` (B3.34). Called
        inside ``FirewallEventHandler``; the SDK names no event, ours is ``fwx_Bind_Tcp``.

        :raises COMError: ``FWX_E_ALREADY_EMULATED`` (B3.38); ``FWX_E_BAD_CONTEXT``, called at another time;
            ``FWX_E_TERMINATING``.
        """

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse what raised the event. Called inside ``FirewallEventHandler`` for ``fwx_Connect_Tcp``,
        ``fwx_AcceptedConnection``, ``fwx_Bind_Tcp`` or ``fwx_Bind_Udp`` (B2.36); policy rules are the better means.

        The client sees its connect refused (10061), its bind fail (10048), or the accepted connection aborted (B2.37).
        For ``fwx_Udp_Destination`` use ``IFWXUdpDestination.Deny`` (B2.19).

        :param Reserved: 0.
        :raises COMError: ``E_INVALIDARG``, *Reserved* is not 0; ``FWX_E_BAD_CONTEXT``, called at another time.
        """

    def SetBufferSize(BufferSize: Annotated[DWORD, UNMARKED]) -> None:
        """Set the size of the service's receive buffers for this connection (B3.20). Called by a filter that knows its
        protocol: UDP datagrams larger than the size are dropped, for TCP it only concerns speed.

        :param BufferSize: bytes. At first 4096 for UDP and 2048 for TCP in the SDK; here TCP adapts itself, from 16 KiB
            to 256 KiB, until a size is set.
        :raises COMError: ``E_INVALIDARG``, a value that cannot be: here 0, or over 1 MiB; here also
            ``FWX_E_TERMINATING``, the connection has ended.
        """

    def GetExternalPeerName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT"))]:
        """Return the peer of the external socket; where requests go upstream this is the upstream firewall (B8.8).
        Called from ``SetSockets`` or later, not from event handling.

        :returns: *Address*, with *AddressLength* as in ``GetExternalSocketName``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only), here also a socket that
            has no peer any more; ``FWX_E_TERMINATING``, the connection is ending; here also
            ``HRESULT_FROM_WIN32(WSAEINVAL)``, the socket does not exist yet.
        """

    def GetSession() -> Annotated[IFWXSession, Out("ppSession")]:
        """Return the session that the connection belongs to. Called at any time.

        :returns: *ppSession*.
        :raises COMError: ``FWX_E_TERMINATING``, the connection has ended.
        """

    def SetIpFilter(pIpFilter: IFWXIpFilter | None) -> None:
        """Set or replace the addresses that the connection may deal with (B6.32). Called by a filter, not for emulated
        connections (B3.39).

        Who is there already is judged at once: a TCP connection to an address outside ends, a UDP connection forgets
        the destination. From then on nobody outside is let in, connected to or heard (B6.34).

        :param pIpFilter: the addresses; ``None`` lifts every limit.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, not one of the service's;
            ``FWX_E_NOT_SUPPORTED``, a filter emulates the connection; ``FWX_E_TERMINATING``. ``None`` never fails.
        """

    def GetIpFilter() -> Annotated[IFWXIpFilter | None, Out("ppIpFilter")]:
        """Return a copy of the connection's IP filter; changing the copy changes nothing here. Called at any time.

        :returns: *ppIpFilter*, or ``None`` when there is no limit.
        :raises COMError: not specified; this implementation never fails.
        """

    def IncrementBytesSentCounter(dwBytesSent: Annotated[DWORD, UNMARKED]) -> None:
        """Count bytes that the filter sent by itself. Called by a filter that emulates the connection: the service
        cannot see its outer side, and the log shows the sum (B3.39, B9.16).

        :param dwBytesSent: bytes since the last call, not a total.
        :raises COMError: ``FWX_E_NOT_EMULATED``, the connection is not an emulated one; here also
            ``FWX_E_TERMINATING``, it is ending.
        """

    def GetConnectionFlags() -> Annotated[DWORD, Out("pOutputFlags", "LPDWORD")]:
        """Return the connection's flags. Called at any time.

        :returns: *pOutputFlags*: 0, or ``FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION`` when external sources are shown
            as an internal address of the firewall; secondary connections then want ``FWX_FLAG_PROXY_MODE``. Always 0 in
            this version.
        :raises COMError: the SDK names no code; this implementation never fails.
        """


class IFWXUdpDestination(IUnknown):
    """A UDP destination that has just come into being (B2.15); comes in ``FwxUdpDestination.piUdpDestination``.
    Implemented by the service.
    """

    taggedValue("iid", UUID("4752E12E-5715-47BB-B884-73A45669707B"))

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse the destination; later datagrams to it are thrown away (B2.19). Called inside ``FirewallEventHandler``
        for ``fwx_Udp_Destination``, in the place of ``IFWXConnection.Deny``.

        :param Reserved: 0.
        :raises COMError: ``E_INVALIDARG``, *Reserved* is not 0; ``FWX_E_BAD_CONTEXT``, called at another time.
        """
