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
    """Told the outcome of an authentication. Implemented by the filter that asked for it."""

    taggedValue("iid", UUID("09573496-1877-4C2E-AA9D-8448D39256E5"))

    def CompleteAsyncAuthentication(
        fSuccess: BOOL,
        Win32ErrorCode: DWORD,
        pIFWXAuthenticatedUser: IFWXAuthenticatedUser | None,
        UserData: UserContextType,
    ) -> HRESULT | None:
        """Take the outcome. Called by the service once for each ``AuthenticateRadiusUser`` that succeeded.

        :param fSuccess: whether the user is who he says.
        :param Win32ErrorCode: why not; without meaning on success.
        :param pIFWXAuthenticatedUser: the user; ``None`` on failure.
        :param UserData: what was given to ``AuthenticateRadiusUser``.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        """


class IFWXRadiusAuthenticator(IUnknown):
    """Authenticates users by RADIUS without blocking. Made by ``IFWXFirewall2.CreateRadiusAuthenticator``."""

    taggedValue("iid", UUID("3CF0A893-7B44-477D-9FA1-70576840962B"))

    def AuthenticateRadiusUser(
        bstrUserName: BSTR,
        bstrUserPassword: BSTR,
        pIFWXAuthenticationCompletion: IFWXAuthenticationCompletion,
        UserData: UserContextType,
    ) -> None:
        """Start the authentication of one user. Called by a filter when a request needs it.

        :param bstrUserName: the name that the user gave.
        :param bstrUserPassword: the password that the user gave.
        :param pIFWXAuthenticationCompletion: told the outcome.
        :param UserData: handed over then.
        :raises COMError: it was not started and no completion follows.
        """
