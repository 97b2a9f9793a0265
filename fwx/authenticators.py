"""Everybody who may authenticate: the users of the configuration first, then those of its directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zope.interface import implementer

from fwx.directories import SEPARATOR
from fwx.impl.authentication import Checked, IPasswordAuthenticator, IRadiusUsers

Done = Callable[[Checked], None]


class _Round:
    """One check that goes from directory to directory."""

    __slots__ = ("_cancel", "_done", "_left", "_name", "_password")

    def __init__(self, name: str, password: bytes, directories: Sequence[IPasswordAuthenticator], done: Done) -> None:
        self._name = name
        self._password = password
        self._left = list(directories)
        self._done: Done | None = done
        self._cancel: Callable[[], None] = lambda: None

    def ask(self) -> None:
        self._cancel = self._left.pop(0).check(self._name, self._password, self._checked)

    def cancel(self) -> None:
        self._done = None
        self._cancel()

    def _checked(self, result: Checked) -> None:
        if self._done is None:
            return
        if result.user is None and result.counts and self._left:
            self.ask()
            return
        self._done(result)


@implementer(IRadiusUsers)
class Directories:
    """Asks directories in turn until one knows the user.

    One that cannot say ends the search: whoever it may know must not be taken for somebody whom the next one knows.
    """

    def __init__(self, directories: Mapping[str, IPasswordAuthenticator]) -> None:
        """*directories* by name, in their order."""
        self._directories = directories

    @property
    def is_configured(self) -> bool:
        """Whether there is one."""
        return bool(self._directories)

    def __len__(self) -> int:
        return len(self._directories)

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says.

        ``directory\\name`` is asked of that directory alone, as ``name``.
        """
        prefix, separator, rest = name.partition(SEPARATOR)
        if separator and prefix in self._directories:
            return self._directories[prefix].check(rest, password, done)
        search = _Round(name, password, tuple(self._directories.values()), done)
        search.ask()
        return search.cancel


@implementer(IPasswordAuthenticator)
class Authenticators:
    """What the ways in ask, unless a plugin has registered something else.

    A user of the configuration is sought there alone: no directory can let somebody else in by that name.
    """

    def __init__(self, local: IPasswordAuthenticator, local_names: frozenset[str], directories: Directories) -> None:
        self._local = local
        self._local_names = local_names
        self._directories = directories

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says."""
        if not self._directories or name in self._local_names:
            return self._local.check(name, password, done)
        return self._directories.check(name, password, done)
