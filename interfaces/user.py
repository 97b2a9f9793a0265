"""The users of sessions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import Attribute, taggedValue

from fwx.interfaces.com import BSTR, DWORD_PTR, IUnknown, MethodIdl, Out


class IFWXImpersonator(IUnknown):
    """Acts under a user's account and goes back. Implemented by the service, or by a filter that authenticates by
    itself.

    For a user unknown to the operating system both methods do nothing, with success. The service's users are such.
    """

    taggedValue("iid", UUID("0AC63A8B-6C16-45A7-9B94-F0A345DA0D42"))

    def Impersonate() -> None:
        """Let the calling thread act as the user. Called by whoever is to act. A user who is not of the system is left
        as is, with success.

        :raises COMError: ``FWX_E_NOT_AUTHENTICATED``, there is no user.
        """

    def RevertToSelf() -> None:
        """Let the calling thread act as itself again. Called after an ``Impersonate`` that succeeded.

        :raises COMError: the SDK names no code; the Windows error as an HRESULT.
        """


class IFWXAuthenticatedUser(IFWXImpersonator):
    """One user who has been authenticated (B10.2). Implemented by the service; a filter that authenticates by itself
    may implement it for ``IFWXFirewall.CreatePrivateSession`` (B6.29).

    Had from ``IFWXSession.GetAuthenticatedUser`` or as the product of a RADIUS authentication. Its properties are
    read-only attributes on the Python face, ``get_`` methods on the COM face. On the COM face the caller frees the
    strings (B1.46). The service's users are those of its configuration, with the name space ``fwx``, and those of its
    directories, with ``LDAP`` or ``RADIUS``, whose names are ``directory\\name``; a session's user does not change.
    """

    taggedValue("iid", UUID("E1C9B61E-7DAA-4AEF-9607-5E25711F6E23"))

    Username: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(1)", 'helpstring("property Username")')
    ] = Attribute(
        "The name of the user, the *pVal* of ``get_Username`` on the COM face. Read-only. Read by any holder, at any "
        "time. ``COMError``: the SDK names no code; an implementation here does not fail."
    )

    Namespace: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(2)", 'helpstring("property Namespace")')
    ] = Attribute(
        "The name space of the authentication, such as ``AD`` or ``RADIUS`` (B10.2), the *pVal* of ``get_Namespace`` "
        "on the COM face. Read-only. Read by any holder, at any time. ``COMError``: the SDK names no code; an "
        "implementation here does not fail."
    )

    UserGroups: Annotated[
        BSTR, Out("pVal", "BSTR*", "retval"), MethodIdl("propget", "id(3)", 'helpstring("property UserGroups")')
    ] = Attribute(
        "The user's groups, separated by semicolons, the *pVal* of ``get_UserGroups`` on the COM face. Read-only. "
        "Read by any holder, at any time. ``COMError``: ``E_NOTIMPL``, always for a user of Windows; the SDK names no "
        "other code."
    )


class IFWXAuthenticatedWindowsUser(IFWXAuthenticatedUser):
    """A user of Windows. Implemented by the service, or by a filter that authenticates by itself. Had by
    ``QueryInterface`` on the user.

    One of the two properties may answer ``E_NOTIMPL``, not both. ``UserGroups`` always does: the groups are in these
    two. This version makes no such object.
    """

    taggedValue("iid", UUID("112B2FFF-A843-4214-80D8-1FB7C4D02E7D"))

    Token: Annotated[
        DWORD_PTR,
        Out("phToken", "DWORD_PTR*", "retval"),
        MethodIdl("propget", "id(1)", 'helpstring("property Token")'),
    ] = Attribute(
        "A handle of a copy of the user's token, which the caller closes, the *phToken* of ``get_Token`` on the COM "
        "face. Read-only. Read by any holder, at any time. ``COMError``: ``E_NOTIMPL``, allowed where ``SID`` "
        "answers; the SDK names no other code."
    )

    SID: Annotated[
        bytes, Out("ppSID", "DWORD**", "retval"), MethodIdl("propget", "id(2)", 'helpstring("property SID")')
    ] = Attribute(
        "The user's security identifier, the *ppSID* of ``get_SID`` on the COM face; who frees it there is not "
        "specified. Read-only. Read by any holder, at any time. ``COMError``: ``E_NOTIMPL``, allowed where ``Token`` "
        "answers; other codes are not specified."
    )
