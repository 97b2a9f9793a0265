"""IFWXAuthenticatedUser: who a client is, once it has been checked (B10.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from zope.interface import implementer

from fwx.impl.boundary import hresult_from_exception
from fwx.impl.fault import shown
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXAuthenticatedUser
from fwx.interfaces.hresult import E_INVALIDARG, COMError

LOCAL_NAMESPACE: Final = "fwx"
"""``Namespace`` of the users of the configuration; Windows has ``AD``, RADIUS servers ``RADIUS`` (B10.2)."""

LDAP_NAMESPACE: Final = "LDAP"
"""``Namespace`` of the users of LDAP directories."""

AUTHENTICATED: Final = "authenticated"
"""What rules call every user that is known."""

Who = frozenset[str]
"""By which names the rules know a client; empty for one that is nobody."""

NOBODY: Final[Who] = frozenset()


def user_key(name: str) -> str:
    """Return how a user's name stands in a :data:`Who`; a group may have the same name."""
    return f"user {name}"


def group_key(name: str) -> str:
    return f"group {name}"


@implementer(IFWXAuthenticatedUser)
class FWXAuthenticatedUser(Unknown):
    """A user that is none of the operating system's. It does not change, so all sessions of the user share it."""

    __slots__ = ("_groups", "_name", "_namespace", "who")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(
        self, name: str, groups: Iterable[str] = (), namespace: str = LOCAL_NAMESPACE, who: Who | None = None
    ) -> None:
        """Made by who checks passwords. *who*: by which names rules know the user, if not by *name* and *groups*."""
        self._name = name
        self._namespace = namespace
        self._groups = tuple(groups)
        known = (user_key(name), *map(group_key, self._groups))
        self.who: Who = frozenset({AUTHENTICATED, *known}) if who is None else who

    @property
    def face(self) -> IFWXAuthenticatedUser:
        """What filters get."""
        return self

    @property
    def Username(self) -> str:
        """The name of the user; that of a directory's user is ``directory\\name``."""
        return self._name

    @property
    def Namespace(self) -> str:
        """``fwx`` for a user of the configuration, ``LDAP`` or ``RADIUS`` for one of such a directory."""
        return self._namespace

    @property
    def UserGroups(self) -> str:
        """The names of the groups, separated by semicolons; empty without one."""
        return ";".join(self._groups)

    def Impersonate(self) -> None:
        """Do nothing: the operating system does not know the user."""

    def RevertToSelf(self) -> None:
        """Do nothing, as :meth:`Impersonate` did."""


class VouchedUser:
    """A user whom a filter has authenticated, for a private session (B6.29). What it is called is asked once.

    :ivar face: the filter's object. :ivar who: rules know that it is authenticated, and nothing more: the users and
        groups that they name are those of the configuration.
    """

    __slots__ = ("Namespace", "Username", "face", "who")

    def __init__(self, face: IFWXAuthenticatedUser) -> None:
        """:raises COMError: ``E_INVALIDARG`` it has no name, no name space, or that of the service's own users; what
        its properties raise.
        """
        self.face = face
        self.Username = _text(face, "Username")
        self.Namespace = _text(face, "Namespace")
        if self.Namespace.lower() == LOCAL_NAMESPACE:
            raise COMError(
                E_INVALIDARG, f"users of the name space {LOCAL_NAMESPACE!r} come from the configuration alone"
            )
        self.who: Who = frozenset({AUTHENTICATED})


SessionUser: TypeAlias = FWXAuthenticatedUser | VouchedUser
"""Whose session it is."""


def session_user(user: IFWXAuthenticatedUser | None) -> SessionUser | None:
    """Return what a session keeps of *user*, which a filter has given.

    :raises COMError: ``E_INVALIDARG`` it is no user; as :class:`VouchedUser`.
    """
    if user is None or isinstance(user, FWXAuthenticatedUser):
        return user
    if not IFWXAuthenticatedUser.providedBy(user):
        raise COMError(E_INVALIDARG, f"an IFWXAuthenticatedUser is needed, not {type(user).__name__}")
    return VouchedUser(user)


def _text(user: Any, name: str) -> str:
    try:
        value = getattr(user, name)
    except Exception as error:
        raise COMError(hresult_from_exception(error), f"{name} of the user cannot be had") from error
    if not isinstance(value, str) or not value:
        raise COMError(E_INVALIDARG, f"{name} of the user is {shown(value)}, not a text")
    return value
