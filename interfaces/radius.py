"""Authentication of users by RADIUS."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import BOOL, BSTR, DWORD, IUnknown, UserContextType
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.user import IFWXAuthenticatedUser


class IFWXAuthenticationCompletion(IUnknown):
    """Told the outcome of an authentication (B5.4). Implemented by the filter that asked for it."""

    taggedValue("iid", UUID("09573496-1877-4C2E-AA9D-8448D39256E5"))

    def CompleteAsyncAuthentication(
        fSuccess: BOOL,
        Win32ErrorCode: DWORD,
        pIFWXAuthenticatedUser: IFWXAuthenticatedUser | None,
        UserData: UserContextType,
    ) -> HRESULT | None:
        """Take the outcome. Called by the service once for each ``AuthenticateRadiusUser`` that succeeded, never for
        one that failed; when and on which thread is not specified, here after that call and on the loop thread.

        :param fSuccess: whether the user is who he says.
        :param Win32ErrorCode: why not, a Windows error number; without meaning on success. Here
            ``ERROR_LOGON_FAILURE`` (1326), an unknown user or a wrong password, or ``ERROR_NO_LOGON_SERVERS`` (1311),
            nobody could say.
        :param pIFWXAuthenticatedUser: the user; ``None`` on failure.
        :param UserData: what was given to ``AuthenticateRadiusUser``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: never documented; a failure, raised or returned, is reported as the filter's fault.
        """


class IFWXRadiusAuthenticator(IUnknown):
    """Authenticates users by RADIUS without blocking. Made by ``IFWXFirewall2.CreateRadiusAuthenticator``; implemented
    by the service. One serves any number of users (B5.4).
    """

    taggedValue("iid", UUID("3CF0A893-7B44-477D-9FA1-70576840962B"))

    def AuthenticateRadiusUser(
        bstrUserName: BSTR,
        bstrUserPassword: BSTR,
        pIFWXAuthenticationCompletion: IFWXAuthenticationCompletion,
        UserData: UserContextType,
    ) -> None:
        """Start the authentication of one user. Called by a filter when a request needs it.

        The completion is ``CompleteAsyncAuthentication``, once.

        :param bstrUserName: the name that the user gave.
        :param bstrUserPassword: the password that the user gave.
        :param pIFWXAuthenticationCompletion: told the outcome; never ``None``.
        :param UserData: handed over then.
        :raises COMError: the Windows error as an HRESULT: it was not started and no completion follows. Here
            ``E_POINTER``, a ``None``; ``E_INVALIDARG``, an argument of another type; ``FWX_E_TERMINATING``, the service
            stops.
        """
