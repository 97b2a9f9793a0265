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

    It comes into being with the request; the service judges access and then tells the filters. A filter drops its
    reference when ``fwx_ConnectionTerminating`` arrives, or the object cannot go (B1.35).
    """

    taggedValue("iid", UUID("0CF075B3-A8F6-11D0-A7F1-0000F8750B21"))

    def AttachDataFilter(
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: Annotated[IUnknown | None, UNIQUE],
    ) -> None:
        """Put a data filter into the chain of this connection. Called by a session filter inside
        ``FirewallEventHandler`` for ``fwx_Connect_Tcp``, ``fwx_AcceptedConnection``, ``fwx_Bind_Udp`` or
        ``fwx_Udp_Destination`` (B2.34). The service answers with ``SetSockets`` (B1.25).

        :param piDataFilter: the data filter, made for this connection.
        :param PriorityClass: its place between client and server; inside one class the order is arbitrary (B3.10).
        :param punkFilterContext: handed to ``SetSockets`` as it is (B1.26).
        :raises COMError: ``FWX_E_BAD_CONTEXT``, called at another time; ``E_INVALIDARG``, a bad argument;
            ``FWX_E_TERMINATING``, the connection is ending; ``E_OUTOFMEMORY`` (B2.35).
        """

    def EmulateConnection(
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SOCKADDR,
        RemoteAddressLength: Annotated[DWORD | None, LengthOf("RemoteAddress")],
        LocalAddress: SOCKADDR,
        LocalAddressLength: Annotated[DWORD | None, LengthOf("LocalAddress")] = None,
    ) -> Annotated[IFWXConnection, Out("ppNewIFWXConnection", optional=True)]:
        """Make a connection to the client out of this listening connection, which the filter emulates (B3.35).

        The data filter is the source of the data, at ``fwx_dfpc_Emulation``; it gets the internal socket alone, the
        caller holds the outer one itself (B3.37).

        :param piDataFilter: the data filter that plays the other side.
        :param RemoteAddress: what the client reads from accept and getpeername (B3.36).
        :param RemoteAddressLength: its size in bytes; ``None`` for its own.
        :param LocalAddress: what the client reads from getsockname.
        :param LocalAddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppNewIFWXConnection*, to be dropped at its terminating event (B1.36).
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, this connection does not listen or is not emulated;
            ``FWX_E_TERMINATING``; ``E_OUTOFMEMORY``; else the Winsock error as an HRESULT.
        """

    def SetSocketName(
        Address: Annotated[SOCKADDR, UNMARKED],
        AddressLength: Annotated[DWORD | None, LengthOf("Address"), UNMARKED] = None,
    ) -> None:
        """Say what name the client's socket has. Called by a filter that emulates the connection, which must call it
        (B3.39); best is an address of the firewall, since the client may tell it to others.

        :param Address: the name.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: ``FWX_E_ALREADY_EXISTS``, the socket is bound already; ``FWX_E_INVALID_ARG``, a bad address.
        """

    def GetExternalSocketName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT"))]:
        """Return the local address of the external socket. Called from ``SetSockets`` or later, not from event
        handling: the socket does not exist yet then.

        :returns: *Address*; *AddressLength* of the COM face holds the room there is and gets the room needed.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, not bound yet; ``HRESULT_FROM_WIN32(WSAEFAULT)``, too
            little room (COM face only); ``FWX_E_TERMINATING``; ``E_OUTOFMEMORY``.
        """

    def Kill() -> None:
        """End the connection, whatever it is doing (B3.32). Called by anybody who holds it.

        :raises COMError: never.
        """

    def SetClientAddress(
        ClientAddress: SOCKADDR, ClientAddressLength: Annotated[DWORD | None, LengthOf("ClientAddress")] = None
    ) -> None:
        """Supply the client address that ``BindForClient`` was not given (B6.16). Called once.

        :param ClientAddress: the address that the client uses.
        :param ClientAddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: ``E_INVALIDARG``, a bad address, or there is one already; else the Windows error
            as an HRESULT.
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
        when the service forgets the destination.

        :param piDataFilter: the data filter.
        :param PriorityClass: its place between client and server.
        :param punkFilterContext: handed to ``SetSockets`` as it is.
        :param ExternalAddress: the destination.
        :param ExternalAddressLength: its size in bytes; ``None`` for its own.
        :raises COMError: as ``AttachDataFilter``.
        """

    def EmulateForConnect(piDataFilter: IFWXDataFilter, punkFilterContext: Annotated[IUnknown | None, UNIQUE]) -> None:
        """Let a data filter play the server (B3.33). Called inside ``FirewallEventHandler`` for ``fwx_Connect_Tcp``.

        ``SetSockets`` follows, with ``None`` as the external socket (B3.6).

        :param piDataFilter: the data filter that plays the server.
        :param punkFilterContext: handed to ``SetSockets`` as it is.
        :raises COMError: ``FWX_E_ALREADY_EMULATED``; ``FWX_E_BAD_CONTEXT``, called at another time; ``E_INVALIDARG``;
            ``FWX_E_TERMINATING``; ``E_OUTOFMEMORY``.
        """

    def EmulateForBind() -> None:
        """Emulate a bind, so that inbound connections come from the filter (B3.34). Called inside
        ``FirewallEventHandler``.

        :raises COMError: ``FWX_E_ALREADY_EMULATED``; ``FWX_E_BAD_CONTEXT``, called at another time;
            ``FWX_E_TERMINATING``.
        """

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse what raised the event. Called inside ``FirewallEventHandler`` for ``fwx_Connect_Tcp``,
        ``fwx_AcceptedConnection``, ``fwx_Bind_Tcp`` or ``fwx_Bind_Udp`` (B2.36).

        The client sees its connect refused (10061), its bind fail (10048), or the accepted connection aborted (B2.37).

        :param Reserved: 0.
        :raises COMError: ``E_INVALIDARG``, *Reserved* is not 0; ``FWX_E_BAD_CONTEXT``, called at another time.
        """

    def SetBufferSize(BufferSize: Annotated[DWORD, UNMARKED]) -> None:
        """Set the size of the service's receive buffers for this connection (B3.20). Called by a filter that knows its
        protocol: UDP datagrams larger than the size are dropped, for TCP it only concerns speed.

        :param BufferSize: bytes; at first 4096 for UDP and 2048 for TCP in the SDK.
        :raises COMError: ``E_INVALIDARG``, a value that cannot be.
        """

    def GetExternalPeerName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT"))]:
        """Return the peer of the external socket; where requests go upstream this is the upstream firewall (B8.8).
        Called from ``SetSockets`` or later, not from event handling.

        :returns: *Address*, with *AddressLength* as in ``GetExternalSocketName``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only); ``FWX_E_TERMINATING``.
        """

    def GetSession() -> Annotated[IFWXSession, Out("ppSession")]:
        """Return the session that the connection belongs to. Called at any time.

        :returns: *ppSession*.
        :raises COMError: ``FWX_E_TERMINATING``, the connection has ended.
        """

    def SetIpFilter(pIpFilter: IFWXIpFilter | None) -> None:
        """Set or replace the addresses that the connection may deal with; not for emulated connections (B3.39).

        :param pIpFilter: the addresses; ``None`` lifts every limit.
        :raises COMError: ``FWX_E_TERMINATING``, the connection has ended.
        """

    def GetIpFilter() -> Annotated[IFWXIpFilter | None, Out("ppIpFilter")]:
        """Return a copy of the connection's IP filter; changing the copy changes nothing here.

        :returns: *ppIpFilter*, or ``None`` when there is no limit.
        :raises COMError: ``FWX_E_TERMINATING``, the connection has ended.
        """

    def IncrementBytesSentCounter(dwBytesSent: Annotated[DWORD, UNMARKED]) -> None:
        """Count bytes that the filter sent by itself. Called by a filter that emulates the connection: the service
        cannot see its outer side, and the log shows the sum (B3.39, B9.16).

        :param dwBytesSent: bytes since the last call.
        :raises COMError: ``FWX_E_NOT_EMULATED``, the connection is not an emulated one.
        """

    def GetConnectionFlags() -> Annotated[DWORD, Out("pOutputFlags", "LPDWORD")]:
        """Return the connection's flags. Called at any time.

        :returns: *pOutputFlags*: 0, or ``FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION`` when external sources are
            shown as an internal address of the firewall; secondary connections then want ``FWX_FLAG_PROXY_MODE``.
        :raises COMError: ``FWX_E_TERMINATING``, the connection has ended.
        """


class IFWXUdpDestination(IUnknown):
    """A UDP destination that has just come into being; comes in ``FwxUdpDestination.piUdpDestination``."""

    taggedValue("iid", UUID("4752E12E-5715-47BB-B884-73A45669707B"))

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse the destination; later datagrams to it are thrown away (B2.19). Called inside
        ``FirewallEventHandler`` for ``fwx_Udp_Destination``, in the place of ``IFWXConnection.Deny``.

        :param Reserved: 0.
        :raises COMError: ``E_INVALIDARG``, *Reserved* is not 0; ``FWX_E_BAD_CONTEXT``, called at another time.
        """
