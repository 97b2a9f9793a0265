"""Sockets: the ends of a data filter's stream, and the network sockets that a filter opens through the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import (
    BOOL,
    BOOLEAN,
    DWORD,
    GUID,
    INT,
    LONGLONG,
    SOCKADDR,
    Idl,
    IUnknown,
    Length,
    LengthOf,
    MethodIdl,
    Out,
    ReadableBuffer,
    UserContextType,
)
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.completion import IFWXAcceptCompletion, IFWXIOCompletion
    from fwx.interfaces.iobuffer import IFWXIOBuffer
    from fwx.interfaces.ipfilter import IFWXIpFilter


class IFWXSocket(IUnknown):
    """One end of an established stream. Behind it is a real socket or the neighbouring data filter; a filter cannot
    tell which (B3.4, B4.1).

    Implemented by the service. ``Close`` or ``Shutdown`` comes before the last ``Release`` (B3.28).
    """

    taggedValue("iid", UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"))

    def Send(pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: UserContextType) -> None:
        """Post one buffer for sending. Called by the data filter, from any thread.

        The socket holds a reference on the buffer until the completion returns. From now on nobody changes the
        buffer. The end says only that the next in the chain took it and began work (B3.14).

        :param pIOBuffer: the bytes; a buffer object of the filter's own is taken too.
        :param pIFWXIOCompletion: told of the end, exactly once; ``None`` for no notice.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: the operation was not posted and no completion follows: ``E_POINTER`` without a buffer,
            ``HRESULT_FROM_WIN32(WSAESHUTDOWN)`` after ``Shutdown``, ``HRESULT_FROM_WIN32(WSAENOTSOCK)`` after
            ``Close``.
        """

    def SendTo(
        pIOBuffer: IFWXIOBuffer,
        Address: Annotated[SOCKADDR, Idl("SOCKADDR*")],
        AddressLength: Annotated[INT | None, LengthOf("Address")],
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: UserContextType,
    ) -> None:
        """Post one datagram for sending; for UDP sockets only (B3.23). Called by the data filter.

        :param pIOBuffer: the datagram.
        :param Address: on an external socket where it goes; on an internal one where it seems to come from, as a rule
            the address on the Internet that it came from.
        :param AddressLength: size of *Address* in bytes; ``None`` for its own.
        :param pIFWXIOCompletion: told of the end, exactly once; ``None`` for no notice.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: ``E_NOTIMPL`` on a socket of ``CreateSSLNetworkSocket``; otherwise as ``Send``.
        """

    def Recv(pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: UserContextType) -> None:
        """Post one receive; on a UDP socket the sender's address comes with it. Called by the data filter.

        With ``None`` the service supplies the buffer, so that one object travels down the chain without a copy
        (B3.12); such a buffer is read-only. With a buffer the data is copied in and its size set (B3.13).

        :param pIOBuffer: where to put the data; ``None`` is the recommended form.
        :param pIFWXIOCompletion: gets the buffer in ``CompleteAsyncIO``; it must be there.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: the operation was not posted and no completion follows: ``E_POINTER`` without a completion,
            ``HRESULT_FROM_WIN32(WSAENOTSOCK)`` after ``Close``.
        """

    def Shutdown(fAbortive: BOOLEAN) -> None:
        """End the sending direction only: a half close (B3.25). Called by the data filter when its data has ended.

        :param fAbortive: true resets the connection (RST), false ends it in order (FIN), after what is queued.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAENOTSOCK)`` after ``Close``.
        """

    def Close(fAbortive: BOOLEAN) -> None:
        """End the socket (B3.26). Called by the data filter when it is done with it; a second call does nothing.

        What is pending completes as failed before ``Detach``.

        :param fAbortive: true resets the connection (RST), false ends it in order (FIN).
        :raises COMError: none of its own.
        """

    def _GetWriteCount() -> Annotated[LONGLONG, Out("pll")]:
        """Return the bytes written through this socket. Private to the service; filters do not call it.

        :returns: *pll*, the number of bytes.
        :raises COMError: ``E_NOTIMPL`` from an object that does not count.
        """

    def _IsDataAvailable() -> HRESULT:
        """Tell whether a receive would find data at once. Private to the service; filters do not call it.

        :returns: ``S_OK`` there is data, ``S_FALSE`` there is none. Both are successes: compare, never test for truth.
        :raises COMError: ``E_NOTIMPL`` from an object that cannot tell.
        """


class IFWXNetworkSocket(IFWXSocket):
    """A real socket, opened through the service, which opens and closes the ports that it needs (B4.21).

    Made by ``IFWXFirewall.CreateNetworkSocket`` (belongs to no user, always allowed),
    ``IFWXSession.CreateNetworkSocket`` (obeys that user's policy and is logged as that user's) or
    ``IFWXFirewall2.CreateSSLNetworkSocket``.
    """

    taggedValue("iid", UUID("0CF075B6-A8F6-11D0-A7F1-0000F8750B21"))

    def Connect(Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None) -> None:
        """Connect to a peer. Called by the filter that made the socket.

        There is no completion (B4.14). On the loop thread the call starts the connect and returns; operations posted
        meanwhile wait and end with its error. On a thread of its own the call waits.

        :param Address: the peer, with its port.
        :param AddressLength: size of *Address* in bytes; ``None`` for its own.
        :raises COMError: ``E_NOTIMPL`` on an SSL socket; ``FWX_E_POLICY_RULES_DENIED``, a session's policy refuses;
            ``FWX_E_ADDRESS_NOT_ALLOWED``, the IP filter refuses; else the Winsock error as an HRESULT.
        """

    def Bind(
        Address: SOCKADDR,
        AddressLength: Annotated[INT | None, LengthOf("Address")],
        pIpFilter: IFWXIpFilter | None,
    ) -> None:
        """Give the socket a local address. Called by the filter that made the socket, before ``Listen``.

        :param Address: the local address; port 0 lets the system choose.
        :param AddressLength: size of *Address* in bytes; ``None`` for its own.
        :param pIpFilter: the only addresses that the socket may deal with; ``None`` for no limit (B4.10).
        :raises COMError: the Winsock error as an HRESULT, ``WSAEADDRINUSE`` for one.
        """

    def GetSockName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT", "out"))]:
        """Return the local address. Called at any time.

        :returns: *Address*. *AddressLength* of the COM face holds the room there is and gets the room needed, though
            the IDL marks it ``[out]``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, the socket is not bound;
            ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only).
        """

    def GetPeerName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT", "out"))]:
        """Return the peer's address. Called at any time, as a rule to learn who asked for a connection.

        :returns: *Address*, with *AddressLength* as in ``GetSockName``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAENOTCONN)``, there is no peer;
            ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only).
        """

    def Listen(Backlog: INT) -> None:
        """Take connections on the bound port; for TCP sockets, after ``Bind``.

        :param Backlog: the most connections that may wait.
        :raises COMError: the Winsock error as an HRESULT, ``WSAEINVAL`` for a socket that is not bound.
        """

    def SetSockOpt(
        level: int,
        optname: int,
        optval: Annotated[ReadableBuffer, Idl("CHAR*")],
        optlen: Annotated[int | None, LengthOf("optval")] = None,
    ) -> None:
        """Set a socket option, as ``setsockopt`` does.

        :param level: ``SOL_SOCKET``, ``IPPROTO_TCP``, ...
        :param optname: the option.
        :param optval: its value.
        :param optlen: bytes of *optval*; ``None`` for all.
        :raises COMError: ``E_NOTIMPL`` on a session's socket; ``E_INVALIDARG``, *optlen* is more than *optval* has;
            else the Winsock error as an HRESULT.
        """

    def GetSockOpt(
        level: int, optname: int
    ) -> Annotated[
        bytes, Out("optval", "CHAR*", "size_is(*optlen)", "length_is(*optlen)", length=Length("optlen", "int*"))
    ]:
        """Return a socket option, as ``getsockopt`` does.

        :param level: ``SOL_SOCKET``, ``IPPROTO_TCP``, ...
        :param optname: the option.
        :returns: *optval*; *optlen* of the COM face holds the room there is and gets its length.
        :raises COMError: ``E_NOTIMPL`` on a session's socket; ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room
            (COM face only); else the Winsock error as an HRESULT.
        """

    def Accept(pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: UserContextType) -> None:
        """Post the acceptance of one connection; call it again for the next (B4.13).

        :param pIFWXAcceptCompletion: told of the connection in ``CompleteAsyncAccept``; may serve several sockets.
        :param UserData: handed back then.
        :raises COMError: ``E_NOTIMPL`` on an SSL socket; ``E_POINTER`` without a completion; else the Winsock error
            as an HRESULT.
        """

    def _SetPacketFilterOptions(
        fForInternalUse: BOOL, dwForInternalUse: DWORD
    ) -> Annotated[None, MethodIdl(name="__SetPacketFilterOptions")]:
        """Take a place in the vtable; undocumented by intent and not for filters (B4.3, B4.4).

        Python would mangle the IDL's ``__SetPacketFilterOptions``, hence the name with one underscore.

        :param fForInternalUse: for the service itself.
        :param dwForInternalUse: for the service itself.
        :raises COMError: ``E_NOTIMPL`` from an object that has no use for it.
        """

    def SetIpFilter(pIpFilter: IFWXIpFilter | None) -> None:
        """Set or replace the addresses that the socket may deal with.

        :param pIpFilter: the addresses; ``None`` lifts every limit (B4.11).
        :raises COMError: ``HRESULT_FROM_WIN32(WSAENOTSOCK)`` after ``Close``.
        """

    def GetIpFilter() -> Annotated[IFWXIpFilter | None, Out("ppIpFilter")]:
        """Return a copy of the socket's IP filter; changing the copy changes nothing here (B4.11).

        :returns: *ppIpFilter*, or ``None`` when there is no limit.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAENOTSOCK)`` after ``Close``.
        """


class IFWXNetworkSocketInspection(IUnknown):
    """Hidden in the IDL: ties a network socket to a protocol and puts its traffic under network inspection (B4.15).

    Had by ``QueryInterface`` on a network socket. All that is known of it is its shape.
    """

    taggedValue("iid", UUID("060725DA-9605-417C-8459-D18C2AB441A2"))
    taggedValue("attributes", ("hidden",))

    def AssociateProtocol(ProtocolGuid: GUID) -> None:
        """Say which protocol runs on the socket.

        :param ProtocolGuid: the protocol's GUID, by value.
        :raises COMError: ``E_NOTIMPL`` where there is no inspection.
        """

    def SetIpsInspectTraffic() -> None:
        """Have the traffic of the socket inspected.

        :raises COMError: ``E_NOTIMPL`` where there is no inspection.
        """
