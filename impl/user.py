"""IFWXAuthenticatedUser: who a client is, once it has been checked (B10.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXAuthenticatedUser

LOCAL_NAMESPACE: Final = "fwx"
"""``Namespace`` of the users of the configuration; Windows has ``AD``, RADIUS servers ``RADIUS`` (B10.2)."""

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

    def __init__(self, name: str, groups: Iterable[str] = (), namespace: str = LOCAL_NAMESPACE) -> None:
        """Made by who checks passwords."""
        self._name = name
        self._namespace = namespace
        self._groups = tuple(groups)
        self.who: Who = frozenset({AUTHENTICATED, user_key(name), *map(group_key, self._groups)})

    @property
    def Username(self) -> str:
        """The name that the client authenticated itself with."""
        return self._name

    @property
    def Namespace(self) -> str:
        """``fwx`` for a user of the configuration."""
        return self._namespace

    @property
    def UserGroups(self) -> str:
        """The names of the groups, separated by semicolons; empty without one."""
        return ";".join(self._groups)

    def Impersonate(self) -> None:
        """Do nothing: the operating system does not know the user."""

    def RevertToSelf(self) -> None:
        """Do nothing, as :meth:`Impersonate` did."""
