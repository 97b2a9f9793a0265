"""Who checks passwords: what the ways in find in the registry, whatever knows the users."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zope.interface import Interface

from fwx.impl.user import FWXAuthenticatedUser


class Checked(NamedTuple):
    """What came of a check: the user, or none and *reason*, words for the log.

    :ivar counts: the failure was a wrong guess, which limits the attempts of its client; else nothing was compared.
    """

    user: FWXAuthenticatedUser | None
    reason: str = ""
    counts: bool = False


class IPasswordAuthenticator(Interface):
    """Checks names and passwords; a utility of the registry. Used on the loop thread alone."""

    def check(name: str, password: bytes, done: Callable[[Checked], None]) -> Callable[[], None]:
        """Check whether *password* is that of the user *name*; *done* is called once, later, on the loop thread.

        An unknown user and a wrong password must take the same time. Returns what cancels the check: *done* is then not
        called.
        """
