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

    Implemented by the service; a filter gets two in ``IFWXDataFilter.SetSockets``. ``Close`` or ``Shutdown`` comes
    before the last ``Release`` (B3.28); here the last ``Release`` closes what was left open. Any thread may call.

    The SDK leaves the completions open in these points; here they come exactly once for each operation posted, never
    inside the call that posted it, in order for one direction, and on the loop thread. A call that raises posts
    nothing. Every call after ``Detach`` answers ``FWX_E_TERMINATING``, but for ``Close``.
    """

    taggedValue("iid", UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"))

    def Send(pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: UserContextType) -> None:
        """Post one buffer for sending. Called by the data filter, from any thread.

        The socket holds a reference on the buffer until the completion returns. From now on nobody changes the buffer,
        its owner included; one of the service's refuses it. The completion says only that the next in the chain took
        the buffer and began work (B3.14). Its *pIOBuffer* is this buffer on success, ``None`` on failure.

        :param pIOBuffer: the bytes; a buffer object of the filter's own is taken too.
        :param pIFWXIOCompletion: its ``CompleteAsyncIO`` is told of the end, exactly once; ``None`` for no notice.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: nothing was posted and no completion follows. The SDK names no code; here ``E_POINTER``, no
            buffer; ``E_INVALIDARG``, an object that is none or holds no bytes; ``E_ACCESSDENIED``, a buffer that waits
            for a ``Recv``; ``HRESULT_FROM_WIN32(WSAESHUTDOWN)``, after ``Shutdown``;
            ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``; ``HRESULT_FROM_WIN32(WSAENOTCONN)``, a network socket
            that was never connected; ``HRESULT_FROM_WIN32(WSAENOBUFS)``, 8 MiB or 4096 Sends wait already;
            ``FWX_E_TERMINATING``, after ``Detach``. A peer that is gone is reported by the completion.
        """

    def SendTo(
        pIOBuffer: IFWXIOBuffer,
        Address: Annotated[SOCKADDR, Idl("SOCKADDR*")],
        AddressLength: Annotated[INT | None, LengthOf("Address")],
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: UserContextType,
    ) -> None:
        """Post one datagram for sending; for UDP sockets only (B3.23). Called by the data filter, from any thread.

        On the internal socket the client's side is tied to the address on the Internet that the packet came from. The
        completion is that of ``Send``.

        :param pIOBuffer: the datagram.
        :param Address: on an external socket where it goes; on an internal one where it seems to come from, as a rule
            the address on the Internet that it came from.
        :param AddressLength: size of *Address* in bytes; ``None`` for its own.
        :param pIFWXIOCompletion: its ``CompleteAsyncIO`` is told of the end, exactly once; ``None`` for no notice.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: ``E_NOTIMPL``, a socket of ``CreateSSLNetworkSocket`` (B4.19). The SDK names no further code;
            here ``HRESULT_FROM_WIN32(WSAEOPNOTSUPP)``, a TCP socket; ``E_POINTER``, no buffer or address;
            ``E_INVALIDARG``, a name, or not an address; of a network socket ``FWX_E_ADDRESS_NOT_ALLOWED``, the IP
            filter refuses, ``FWX_E_POLICY_RULES_DENIED``, the session's policy refuses,
            ``HRESULT_FROM_WIN32(WSAEAFNOSUPPORT)``, an address of the other family; otherwise as ``Send``.
        """

    def Recv(pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: UserContextType) -> None:
        """Post one receive; on a UDP socket the sender's address comes with it. Called by the data filter, from any
        thread.

        With ``None`` the service supplies the buffer, so that one object travels down the chain without a copy (B3.12);
        such a buffer is read-only. With a buffer the data is copied in and its size set (B3.13), right before the
        completion; what it held is forgotten when it is posted, and until the completion nobody else uses it. Many
        receives may be pending. The completion brings a buffer of size 0 when the peer has ended its direction (B3.24).
        It waits while the filter's other socket has over 256 KiB left to send.

        :param pIOBuffer: where to put the data; ``None`` is the recommended form.
        :param pIFWXIOCompletion: gets the buffer in ``CompleteAsyncIO``, exactly once; never ``None``.
        :param UserData: handed back in ``CompleteAsyncIO``.
        :raises COMError: nothing was posted and no completion follows. The SDK names no code; here ``E_POINTER``, no
            completion; ``E_INVALIDARG``, a buffer without room; ``E_ACCESSDENIED``, a buffer that is not the caller's
            to change, or is posted already; ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``;
            ``HRESULT_FROM_WIN32(WSAENOTCONN)``, a TCP socket that was never connected;
            ``HRESULT_FROM_WIN32(WSAEINVAL)``, a UDP socket without an address; ``HRESULT_FROM_WIN32(WSAENOBUFS)``, 4096
            are pending already; ``FWX_E_TERMINATING``, after ``Detach``.
        """

    def Shutdown(fAbortive: BOOLEAN) -> None:
        """End the sending direction only: a half close (B3.25). Called by the data filter when its data has ended.

        Receiving goes on. A second call does nothing. The pages speak of ``SO_DONTLINGER`` for the abortive form; what
        the peer sees is a reset (B3.27), which ends both directions.

        :param fAbortive: true resets the connection (RST), false ends it in order (FIN), after what is queued.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``;
            ``HRESULT_FROM_WIN32(WSAENOTCONN)``, a network socket that was never connected; ``FWX_E_TERMINATING``, after
            ``Detach``.
        """

    def Close(fAbortive: BOOLEAN) -> None:
        """End the socket (B3.26). Called by the data filter when it is done with it; a second call does nothing.

        The SDK does not say what becomes of pending operations (B3.31). Here a pending ``Recv`` completes as failed
        with ``ERROR_OPERATION_ABORTED``, before ``Detach``; what is queued to be sent still goes out, unless
        *fAbortive*.

        :param fAbortive: true resets the connection (RST), false ends it in order (FIN).
        :raises COMError: not specified; this implementation never fails.
        """

    def _GetWriteCount() -> Annotated[LONGLONG, Out("pll")]:
        """Return the bytes written through this socket. Called by the service alone; private to it (B4.3, B4.4).

        :returns: *pll*, the number of bytes; here those that were posted to ``Send``.
        :raises COMError: ``E_NOTIMPL`` from an object that does not count.
        """

    def _IsDataAvailable() -> HRESULT:
        """Tell whether a receive would find data at once. Called by the service alone; private to it (B4.3, B4.4).

        :returns: ``S_OK`` there is data, here also the end of the stream; ``S_FALSE`` there is none. Both are
            successes: compare, never test for truth.
        :raises COMError: ``E_NOTIMPL`` from an object that cannot tell. Here ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after
            ``Close``; ``HRESULT_FROM_WIN32(WSAENOTCONN)``, a network socket that was never connected;
            ``FWX_E_TERMINATING``, after ``Detach``.
        """


class IFWXNetworkSocket(IFWXSocket):
    """A real socket, opened through the service, which opens and closes the ports that it needs (B4.2, B4.21).

    Made by ``IFWXFirewall.CreateNetworkSocket`` (belongs to no user, always allowed, B4.6),
    ``IFWXSession.CreateNetworkSocket`` (obeys that user's policy and is logged as that user's, B4.7) or
    ``IFWXFirewall2.CreateSSLNetworkSocket``. Implemented by the service. It follows an upstream firewall by itself
    (B4.22, B8.7). It ends with its owner: with the session, or with the service.
    """

    taggedValue("iid", UUID("0CF075B6-A8F6-11D0-A7F1-0000F8750B21"))

    def Connect(Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None) -> None:
        """Connect to a peer. Called by the filter that made the socket.

        A UDP socket gets the peer that ``Send`` sends to, and at once, but for a name. There is no completion, so in
        the SDK the call may block (B4.14). Here it starts the connect and returns; operations posted meanwhile wait and
        end with its error. A name that turns out to be forbidden, for the session or by the IP filter, fails what is
        posted with ``WSAEACCES``.

        A session's socket takes the way of the rule that allows it, an upstream's too, and the filter does nothing for
        it (B4.22, B8.7). The firewall's own goes straight: no rule is asked about it.

        :param Address: the peer, with its port: an address or a name.
        :param AddressLength: size of *Address* in bytes; ``None`` for its own.
        :raises COMError: ``E_NOTIMPL``, an SSL socket (B4.18). The SDK names no further code; here
            ``FWX_E_POLICY_RULES_DENIED`` or ``FWX_E_NETWORK_RULES_DENIED``, the session's policy refuses;
            ``FWX_E_ADDRESS_NOT_ALLOWED``, the IP filter refuses; ``HRESULT_FROM_WIN32(WSAEISCONN)``, connected or
            connecting; ``HRESULT_FROM_WIN32(WSAEINVAL)``, it listens; ``E_POINTER``, no address; ``E_INVALIDARG``, not
            an address; ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``; else the Winsock error as an HRESULT.
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
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAEINVAL)``, bound already, or an SSL socket
            over another; ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``; ``E_POINTER``, no address;
            ``E_INVALIDARG``, not an address, or no IP filter of the service's; else the Winsock error as an HRESULT:
            ``WSAEADDRINUSE``, ``WSAEACCES`` for a privileged port, ``WSAEADDRNOTAVAIL``, ``WSAEAFNOSUPPORT``.
        """

    def GetSockName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT", "out"))]:
        """Return the local address. Called by the filter, at any time after ``Bind``, ``Connect`` or an accept.

        :returns: *Address*. *AddressLength* of the COM face holds the room there is and gets the room needed, though
            the IDL marks it ``[out]``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEINVAL)``, the socket is not bound; ``HRESULT_FROM_WIN32(WSAEFAULT)``,
            too little room (COM face only).
        """

    def GetPeerName() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "LPINT", "out"))]:
        """Return the peer's address. Called by the filter, at any time, as a rule to learn who asked for a connection.
        Through an upstream it is what was connected to, not the upstream (B8.8): the address, or the name where the
        upstream has resolved it.

        :returns: *Address*, with *AddressLength* as in ``GetSockName``.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAENOTCONN)``, there is no peer;
            ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only).
        """

    def Listen(Backlog: INT) -> None:
        """Take connections on the bound port. Called by the filter once, on a TCP socket, after ``Bind``.

        :param Backlog: the most connections that may wait; a negative number counts as 0.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAEINVAL)``, not bound, connected, or
            listening already; ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``; else the Winsock error as an
            HRESULT.
        """

    def SetSockOpt(
        level: int,
        optname: int,
        optval: Annotated[ReadableBuffer, Idl("CHAR*")],
        optlen: Annotated[int | None, LengthOf("optval")] = None,
    ) -> None:
        """Set a socket option, as ``setsockopt`` does. Called by the filter on a socket of the firewall; an option that
        comes before ``Bind`` or ``Connect`` is kept until then.

        Level, option and value are Winsock's, on Linux too. Known are ``SO_ACCEPTCONN``, ``SO_REUSEADDR``,
        ``SO_KEEPALIVE``, ``SO_DONTROUTE``, ``SO_BROADCAST``, ``SO_LINGER``, ``SO_DONTLINGER``, ``SO_OOBINLINE``,
        ``SO_SNDBUF``, ``SO_RCVBUF``, ``SO_SNDTIMEO``, ``SO_RCVTIMEO``, ``SO_ERROR``, ``SO_TYPE``; ``TCP_NODELAY``,
        ``TCP_KEEPALIVE``, ``TCP_KEEPCNT``, ``TCP_KEEPINTVL``; ``IP_TOS``, ``IP_TTL``; ``IPV6_UNICAST_HOPS``,
        ``IPV6_V6ONLY``.

        :param level: ``SOL_SOCKET`` (0xFFFF), ``IPPROTO_IP`` (0), ``IPPROTO_TCP`` (6) or ``IPPROTO_IPV6`` (41).
        :param optname: the option, as Winsock numbers it.
        :param optval: its value, numbers with the least significant byte first.
        :param optlen: bytes of *optval*; ``None`` for all.
        :raises COMError: ``E_NOTIMPL``, a session's socket; ``E_INVALIDARG``, *optlen* is more than *optval* has. The
            SDK names no further code; here ``HRESULT_FROM_WIN32(WSAENOPROTOOPT)``, an option that is not known;
            ``HRESULT_FROM_WIN32(WSAEFAULT)``, a value of the wrong size; else the Winsock error as an HRESULT.
        """

    def GetSockOpt(
        level: int, optname: int
    ) -> Annotated[
        bytes, Out("optval", "CHAR*", "size_is(*optlen)", "length_is(*optlen)", length=Length("optlen", "int*"))
    ]:
        """Return a socket option, as ``getsockopt`` does. Called by the filter on a socket of the firewall.

        :param level: as for ``SetSockOpt``.
        :param optname: the option, as Winsock numbers it; ``SetSockOpt`` lists the known ones.
        :returns: *optval*, a number as four bytes, least significant first; *optlen* of the COM face holds the room
            there is and gets its length.
        :raises COMError: ``E_NOTIMPL``, a session's socket; ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM
            face only); ``HRESULT_FROM_WIN32(WSAENOTCONN)``, neither bound nor connected, and the option was not set;
            otherwise as ``SetSockOpt``.
        """

    def Accept(pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: UserContextType) -> None:
        """Post the acceptance of one connection. Called by the filter after ``Listen``, again for each further one
        (B4.13).

        The completion is ``CompleteAsyncAccept``, once for each call (B4.12). ``Close`` of the listening socket fails
        what is pending with ``ERROR_OPERATION_ABORTED``. The accepted socket belongs to the owner of the listening one.

        :param pIFWXAcceptCompletion: told of the connection in ``CompleteAsyncAccept``; may serve several sockets;
            never ``None``.
        :param UserData: handed back then.
        :raises COMError: ``E_NOTIMPL``, an SSL socket (B4.19). The SDK names no further code; here ``E_POINTER``, no
            completion; ``HRESULT_FROM_WIN32(WSAEINVAL)``, the socket does not listen;
            ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``.
        """

    def _SetPacketFilterOptions(
        fForInternalUse: BOOL, dwForInternalUse: DWORD
    ) -> Annotated[None, MethodIdl(name="__SetPacketFilterOptions")]:
        """Take a place in the vtable; undocumented by intent. Called by the service alone, never by a filter (B4.3,
        B4.4).

        Python would mangle the IDL's ``__SetPacketFilterOptions``, hence the name with one underscore.

        :param fForInternalUse: for the service itself.
        :param dwForInternalUse: for the service itself.
        :raises COMError: ``E_NOTIMPL`` from an object that has no use for it, as every socket of this version.
        """

    def SetIpFilter(pIpFilter: IFWXIpFilter | None) -> None:
        """Set or replace the addresses that the socket may deal with. Called by the filter that made it, at any time.

        A peer outside it is reset when it connects, its datagrams are dropped, and neither is connected or sent to.
        What is connected already stays. An IPv6 address is in no filter.

        :param pIpFilter: the addresses; ``None`` lifts every limit (B4.11).
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, no IP filter of the service's;
            ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``.
        """

    def GetIpFilter() -> Annotated[IFWXIpFilter | None, Out("ppIpFilter")]:
        """Return a copy of the socket's IP filter; changing the copy changes nothing here (B4.11). Called at any time.

        :returns: *ppIpFilter*, or ``None`` when there is no limit.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``.
        """


class IFWXNetworkSocketInspection(IUnknown):
    """Hidden in the IDL: ties a network socket to a protocol and puts its traffic under network inspection (B4.15).

    Had by ``QueryInterface`` on a network socket; implemented by the service. All that is known of it is its shape,
    what follows is inferred.
    """

    taggedValue("iid", UUID("060725DA-9605-417C-8459-D18C2AB441A2"))
    taggedValue("attributes", ("hidden",))

    def AssociateProtocol(ProtocolGuid: GUID) -> None:
        """Say which protocol runs on the socket. Called by the filter that made it, before traffic flows.

        Here the log names that protocol with the socket's traffic; accepted sockets inherit it.

        :param ProtocolGuid: the protocol's GUID, by value; ``GUID_NULL`` for an unknown one.
        :raises COMError: not specified; here ``E_INVALIDARG``, no protocol definition has it; ``E_POINTER``, none was
            given; ``HRESULT_FROM_WIN32(WSAENOTSOCK)``, after ``Close``.
        """

    def SetIpsInspectTraffic() -> None:
        """Have the traffic of the socket inspected. Called by the filter that made it.

        Not specified is whether ``AssociateProtocol`` comes first; a caller does well to make it so.

        :raises COMError: not specified; ``E_NOTIMPL`` where there is no inspection, as here: a success would promise
            what nobody keeps.
        """
