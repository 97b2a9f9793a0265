"""Who checks passwords: what the ways in find in the registry, whatever knows the users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from zope.interface import Attribute, Interface

from fwx.impl.user import FWXAuthenticatedUser


class Checked(NamedTuple):
    """What came of a check: the user, or none and *reason*, words for the log.

    :ivar counts: the failure was a wrong guess, which limits the attempts of its client; else nothing was compared.
    """

    user: FWXAuthenticatedUser | None
    reason: str = ""
    counts: bool = False


WRONG: Final = Checked(None, "the user or the password is wrong", counts=True)
"""An unknown user or a wrong password; nobody is told which."""


class IPasswordAuthenticator(Interface):
    """Checks names and passwords; a utility of the registry. Used on the loop thread alone.

    The unnamed one is asked by the ways in; each ``[[directory]]`` has one by its name, which that one asks.
    """

    def check(name: str, password: bytes, done: Callable[[Checked], None]) -> Callable[[], None]:
        """Check whether *password* is that of the user *name*; *done* is called once, later, on the loop thread.

        An unknown user and a wrong password must take the same time. Returns what cancels the check: *done* is then not
        called.
        """


class IRadiusUsers(Interface):
    """Checks names and passwords with the RADIUS servers alone, for ``IFWXFirewall2.CreateRadiusAuthenticator``; a
    utility of the registry. Used on the loop thread alone.
    """

    is_configured = Attribute("Whether the configuration has a directory of that kind.")

    def check(name: str, password: bytes, done: Callable[[Checked], None]) -> Callable[[], None]:
        """Check as :meth:`IPasswordAuthenticator.check` does."""
