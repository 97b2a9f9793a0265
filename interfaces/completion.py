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
    """Told when a ``Send``, ``SendTo`` or ``Recv`` of an :class:`IFWXSocket` has ended. Implemented by a filter.

    One object may serve any number of sockets and operations; *UserData* tells them apart. A class cannot provide
    this interface together with :class:`IFWXExternalIOCompletion`: both name their method alike.
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

        The end of a ``Send`` says only that the next in the chain took the buffer and began work (B3.14); the buffer
        is not to be reused then. A graceful end of the stream is a success with a buffer of size 0 (B3.24).

        :param fSuccess: whether the operation succeeded.
        :param Win32ErrorCode: why not, a Windows or Winsock error number; without meaning on success.
        :param pIOBuffer: of a receive, the data; the reference on it is given up when this method returns.
        :param UserData: what was given to the operation.
        :param ExternalAddress: of a receive on a UDP socket, the external party: the source on the external socket,
            the target on the internal one (B3.21). It can be forged. ``None`` on TCP sockets.
        :param ExternalAddressLength: size of *ExternalAddress* in bytes, 0 when there is none. It is always given.
        :returns: ``None`` or ``S_OK``. There is nobody to report a failure to: it is logged (B5.9).
        """


class IFWXExternalIOCompletion(IUnknown):
    """Told when an operation on a hooked file or other handle has ended. Implemented by a filter."""

    taggedValue("iid", UUID("37AFF878-6BD7-11D1-B035-0000F87750CB"))

    def CompleteAsyncIO(
        fSuccess: BOOL,
        NumberOfBytesTransfered: DWORD,
        Win32ErrorCode: DWORD,
        pOverlapped: IFWXOverlapped,
        UserData: UserContextType,
    ) -> HRESULT | None:
        """Take the outcome of one operation. Called by the service, once for each.

        The order differs from :class:`IFWXIOCompletion`: the byte count stands before the error (B5.18).

        :param fSuccess: whether the operation succeeded.
        :param NumberOfBytesTransfered: bytes moved by a success.
        :param Win32ErrorCode: why it failed; without meaning on success.
        :param pOverlapped: the overlapped object that the operation used.
        :param UserData: what was given to ``SetNotificationInterface``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        """


class IFWXTaskCompletion(IUnknown):
    """A task that the service runs once for a filter, see ``IFWXFirewall2.PostTaskCompletion``. Implemented by a
    filter. One object may be posted many times; *UserData* tells the posts apart.
    """

    taggedValue("iid", UUID("95DA13D9-80ED-4A66-AE72-420928F1D183"))

    def CompleteTask(UserData: UserContextType) -> HRESULT | None:
        """Do the work. Called by the service, once for each post (B5.4), never inside ``PostTaskCompletion``.

        :param UserData: what was given to ``PostTaskCompletion``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself, a failure is logged.
        """


class IFWXAcceptCompletion(IUnknown):
    """Told of the connection that an ``IFWXNetworkSocket.Accept`` has yielded. Implemented by a filter."""

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
        connection (B4.12, B4.13).

        :param fSuccess: whether a connection was accepted.
        :param Win32ErrorCode: why not; without meaning on success.
        :param pListeningSocket: the socket that listens.
        :param pAcceptSocket: the new connection's socket; ``None`` on failure.
        :param RemoteAddress: the peer, as ``GetPeerName`` would tell; without meaning on failure.
        :param RemoteAddressLength: its size in bytes.
        :param LocalAddress: our end, as ``GetSockName`` would tell; without meaning on failure.
        :param LocalAddressLength: its size in bytes.
        :param UserData: what was given to ``Accept``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself, a failure is logged.
        """


class IFWXOverlapped(IUnknown):
    """Ties the ``OVERLAPPED`` of a file operation to a filter's callback. Made by ``IFWXFirewall.CreateOverlapped``.

    The order is: ``SetNotificationInterface``, ``GetOverlapped``, the operation on a hooked handle (B5.18).
    """

    taggedValue("iid", UUID("0CF075B8-A8F6-11D0-A7F1-0000F8750B21"))

    def GetOverlapped() -> Annotated[object, Out("ppov", "LPOVERLAPPED*")]:
        """Return the structure to pass to the operation; the handle must have been hooked before.

        :returns: *ppov*, valid while this object lives.
        :raises COMError: ``E_NOTIMPL`` where the service has no such operations.
        """

    def SetNotificationInterface(piExternalIOCompletion: IFWXExternalIOCompletion, UserData: UserContextType) -> None:
        """Store whom to tell, and with what. Called before the structure is used.

        :param piExternalIOCompletion: told when the operation ends; it may serve several operations.
        :param UserData: handed back then.
        :raises COMError: ``E_NOTIMPL`` where the service has no such operations.
        """
