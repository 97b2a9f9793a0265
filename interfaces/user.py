"""The users of sessions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import Attribute, taggedValue

from fwx.interfaces.com import BSTR, DWORD_PTR, IUnknown, MethodIdl, Out


class IFWXImpersonator(IUnknown):
    """Acts under a user's account and goes back. For a user unknown to the operating system both do nothing."""

    taggedValue("iid", UUID("0AC63A8B-6C16-45A7-9B94-F0A345DA0D42"))

    def Impersonate() -> None:
        """Let the calling thread act as the user. A user who is not of the system is left as is, with success.

        :raises COMError: ``FWX_E_NOT_AUTHENTICATED``, there is no user.
        """

    def RevertToSelf() -> None:
        """Let the calling thread act as itself again. Called after an ``Impersonate`` that succeeded.

        :raises COMError: the Windows error as an HRESULT.
        """


class IFWXAuthenticatedUser(IFWXImpersonator):
    """One user who has been authenticated (B10.2). Implemented by the service; a filter that authenticates by
    itself may implement it for ``IFWXFirewall.CreatePrivateSession``.
    """

    taggedValue("iid", UUID("E1C9B61E-7DAA-4AEF-9607-5E25711F6E23"))

    Username: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(1)", 'helpstring("property Username")')
    ] = Attribute("The name of the user. Read-only; ``get_Username`` on the COM face.")

    Namespace: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(2)", 'helpstring("property Namespace")')
    ] = Attribute("The name space of the authentication, ``AD`` or ``RADIUS`` for two. Read-only.")

    UserGroups: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(3)", 'helpstring("property UserGroups")')
    ] = Attribute("The user's groups, separated by semicolons. Read-only; ``E_NOTIMPL`` for a user of the system.")


class IFWXAuthenticatedWindowsUser(IFWXAuthenticatedUser):
    """A user of Windows. One of the two properties may answer ``E_NOTIMPL``, not both."""

    taggedValue("iid", UUID("112B2FFF-A843-4214-80D8-1FB7C4D02E7D"))

    Token: Annotated[
        DWORD_PTR,
        Out("phToken", "DWORD_PTR*", "retval"),
        MethodIdl("propget", "id(1)", 'helpstring("property Token")'),
    ] = Attribute("A handle of a copy of the user's token, which the caller closes. Read-only.")

    SID: Annotated[
        bytes, Out("ppSID", "DWORD**", "retval"), MethodIdl("propget", "id(2)", 'helpstring("property SID")')
    ] = Attribute("The user's security identifier. Read-only.")
