"""What a filter implements to hear that an operation has ended, and the overlapped object of file operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import (
    BOOL,
    DWORD,
    INT,
    SOCKADDR,
    UNIQUE,
    IUnknown,
    Out,
    UserContextType,
)
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.iobuffer import IFWXIOBuffer
    from fwx.interfaces.sockets import IFWXNetworkSocket


class IFWXIOCompletion(IUnknown):
    """Told when a ``Send``, ``SendTo`` or ``Recv`` of an :class:`IFWXSocket` has ended (B5.2). Implemented by a filter.

    One object may serve any number of sockets and operations; *UserData* tells them apart (B5.5). A class cannot
    provide this interface together with :class:`IFWXExternalIOCompletion`: both name their method alike.
    """

    taggedValue("iid", UUID("0CF075B4-A8F6-11D0-A7F1-0000F8750B21"))

    def CompleteAsyncIO(
        fSuccess: BOOL,
        Win32ErrorCode: DWORD,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: UserContextType,
        ExternalAddress: Annotated[SOCKADDR | None, UNIQUE],
        ExternalAddressLength: INT,
    ) -> HRESULT | None:
        """Take the outcome of one operation. Called by the service exactly once for each, never inside the call that
        posted it, in order for one socket and direction. A filter's protocol logic runs here.

        The end of a ``Send`` says only that the next in the chain took the buffer and began work (B3.14); the buffer is
        not to be reused then. A graceful end of the stream is a success with a buffer of size 0 (B3.24). The SDK calls
        on any worker thread, both directions at once (B5.10); here the calls come one at a time, on the loop thread.

        :param fSuccess: whether the operation succeeded (B5.3).
        :param Win32ErrorCode: why not, a Windows or Winsock error number; without meaning on success (B5.6), here 0.
        :param pIOBuffer: of a receive, the data (B5.7); the reference on it is given up when this method returns. Here
            it is the buffer that was sent for a ``Send`` that succeeded, and ``None`` on failure.
        :param UserData: what was given to the operation.
        :param ExternalAddress: of a receive on a UDP socket, the external party: the source on the external socket, the
            target on the internal one (B3.21, B5.8). It can be forged (B3.22). ``None`` on TCP sockets.
        :param ExternalAddressLength: size of *ExternalAddress* in bytes, 0 when there is none. It is always given.
        :returns: ``None`` or ``S_OK``. Any success counts as ``S_OK``.
        :raises COMError: a failure, raised or returned. The SDK does not say what it does (B5.9); here it is reported
            as the filter's fault and ends the connection, or resets the network socket.
        """


class IFWXExternalIOCompletion(IUnknown):
    """Told when an operation on a hooked file or other handle has ended (B5.2). Implemented by a filter.

    It is not for the traffic of an :class:`IFWXSocket`.
    """

    taggedValue("iid", UUID("37AFF878-6BD7-11D1-B035-0000F87750CB"))

    def CompleteAsyncIO(
        fSuccess: BOOL,
        NumberOfBytesTransfered: DWORD,
        Win32ErrorCode: DWORD,
        pOverlapped: IFWXOverlapped,
        UserData: UserContextType,
    ) -> HRESULT | None:
        """Take the outcome of one operation. Called by the service, once for each (B5.18), never inside the call that
        began it; here on the loop thread. The overlapped object may be used again, from inside this call on.

        The order differs from :class:`IFWXIOCompletion`: the byte count stands before the error.

        :param fSuccess: whether the operation succeeded (B5.3).
        :param NumberOfBytesTransfered: bytes moved by a success; the IDL spells it so. Here a failed write tells how
            many it had moved.
        :param Win32ErrorCode: why it failed, a Windows error number; without meaning on success, here 0. Here the end
            of a file is ``ERROR_HANDLE_EOF``, of a pipe ``ERROR_BROKEN_PIPE``, and what was cancelled or was pending
            when the service stopped ``ERROR_OPERATION_ABORTED``.
        :param pOverlapped: the overlapped object that the operation used; a filter lets go of it here.
        :param UserData: what was given to ``SetNotificationInterface``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: never documented; a failure, raised or returned, is reported as the filter's fault.
        """


class IFWXTaskCompletion(IUnknown):
    """A task that the service runs once for a filter, see ``IFWXFirewall2.PostTaskCompletion`` (B5.4). Implemented by a
    filter. One object may be posted many times; *UserData* tells the posts apart.
    """

    taggedValue("iid", UUID("95DA13D9-80ED-4A66-AE72-420928F1D183"))

    def CompleteTask(UserData: UserContextType) -> HRESULT | None:
        """Do the work. Called by the service, once for each post (B5.4), never inside ``PostTaskCompletion``; here on
        the loop thread, where it must not block, or on a thread of the pool where the object provides
        ``fwx.sdk.IBlocking``: then several calls may run at once.

        :param UserData: what was given to ``PostTaskCompletion``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: never documented; a failure, raised or returned, is reported as a fault.
        """


class IFWXAcceptCompletion(IUnknown):
    """Told of the connection that an ``IFWXNetworkSocket.Accept`` has yielded (B5.2). Implemented by a filter.

    One object may serve several listening sockets; *UserData* tells them apart.
    """

    taggedValue("iid", UUID("58C4D721-3E61-11D1-B02D-0000F87750CB"))

    def CompleteAsyncAccept(
        fSuccess: BOOL,
        Win32ErrorCode: DWORD,
        pListeningSocket: IFWXNetworkSocket,
        pAcceptSocket: IFWXNetworkSocket | None,
        RemoteAddress: SOCKADDR,
        RemoteAddressLength: DWORD,
        LocalAddress: SOCKADDR,
        LocalAddressLength: DWORD,
        UserData: UserContextType,
    ) -> HRESULT | None:
        """Take one accepted connection. Called by the service once for each ``Accept``; call that again for the next
        connection (B4.12, B4.13). It never comes inside ``Accept``.

        The SDK does not say what the arguments hold on failure; here the socket is ``None`` and both addresses are
        0.0.0.0 with port 0.

        :param fSuccess: whether a connection was accepted (B5.3).
        :param Win32ErrorCode: why not, a Windows or Winsock error number; without meaning on success.
        :param pListeningSocket: the socket that listens.
        :param pAcceptSocket: the new connection's socket; ``None`` on failure.
        :param RemoteAddress: the peer, as ``GetPeerName`` would tell; without meaning on failure.
        :param RemoteAddressLength: its size in bytes.
        :param LocalAddress: our end, as ``GetSockName`` would tell; without meaning on failure.
        :param LocalAddressLength: its size in bytes.
        :param UserData: what was given to ``Accept``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: not specified; here a failure, raised or returned, is reported as a fault and the accepted
            socket is reset.
        """


class IFWXOverlapped(IUnknown):
    """Ties the ``OVERLAPPED`` of a file operation to a filter's callback. Made by ``IFWXFirewall.CreateOverlapped``;
    implemented by the service.

    The order is: ``SetNotificationInterface``, ``GetOverlapped``, the operation on a hooked handle (B5.18). Not
    specified is whether an object may serve a second operation after the first has ended; here it may, one at a time.
    """

    taggedValue("iid", UUID("0CF075B8-A8F6-11D0-A7F1-0000F8750B21"))

    def GetOverlapped() -> Annotated[object, Out("ppov", "LPOVERLAPPED*")]:
        """Return the structure to pass to the operation. Called by the filter; the handle was hooked before (B5.19).

        :returns: *ppov*, valid while this object lives; here a ``fwx.sdk.OVERLAPPED``, the same at every call.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def SetNotificationInterface(piExternalIOCompletion: IFWXExternalIOCompletion, UserData: UserContextType) -> None:
        """Store whom to tell, and with what. Called by the filter before the structure is used.

        The completion is ``IFWXExternalIOCompletion.CompleteAsyncIO``, once the operation has ended. Here it holds for
        the operations that begin from now on, until it is called again.

        :param piExternalIOCompletion: told when the operation ends; it may serve several operations.
        :param UserData: handed back then.
        :raises COMError: the SDK names no code; here ``E_POINTER``, no completion; ``E_INVALIDARG``, something else.
        """
