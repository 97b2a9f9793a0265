"""Who may authenticate at a service: the users and directories in force, behind utilities that the registry keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from fwx.authenticators import Authenticators, Directories
from fwx.doorkeeper import (
    ATTEMPT_SECONDS,
    MOST_ATTEMPTS,
    MOST_ATTEMPTS_OF_USER,
    Doorkeeper,
    GuardedUsers,
    address_gate,
    user_gate,
)
from fwx.impl.authentication import Checked, IPasswordAuthenticator, IRadiusUsers
from fwx.impl.user import LOCAL_NAMESPACE, NOBODY, FWXAuthenticatedUser
from fwx.limits import AttemptLimits
from fwx.local_users import LocalUser, LocalUsers
from fwx.user_directories import DirectorySurroundings, UserDirectories
from fwx.workers import WorkerPool

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.impl.user import SessionUser, Who
    from fwx.registry import Registry
    from fwx.user_directories import MakeAuthenticator

HASHING_THREADS: Final = 2

FAREWELL_SECONDS: Final = 1.0
"""How long after its longest time-out a directory is closed that is in force no more."""

Done = Callable[[Checked], None]
Authenticator = IPasswordAuthenticator | IRadiusUsers


@implementer(IPasswordAuthenticator, IRadiusUsers)
class Current:
    """Stands in the registry for what checks passwords now, which may be another one after a change.

    :ivar current: who is asked; ``None`` where the configuration has nobody any more.
    """

    def __init__(self, current: Authenticator | None, post: Callable[..., None]) -> None:
        """*post* calls a function on the loop thread, later."""
        self.current = current
        self._post = post

    @property
    def is_configured(self) -> bool:
        """Whether there is anybody to ask."""
        return self.current is not None

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says."""
        if self.current is None:
            self._post(done, Checked(None, "the configuration has no such directory any more"))
            return lambda: None
        return self.current.check(name, password, done)


class Accounts:
    """The users and directories of a service; a change of the configuration puts others in their place.

    Wrong passwords are counted whatever changes. A plugin that has registered an authenticator of its own, unnamed or
    by the name of a directory, stays in its place.

    :ivar doorkeeper: what the ways in ask. :ivar pools: the threads, which are the service's to end.
    """

    def __init__(self, registry: Registry, around: DirectorySurroundings) -> None:
        self._registry = registry
        self._around = around
        # Passwords are hashed here, not by the threads of filters, which may be busy.
        self._hashing = WorkerPool(HASHING_THREADS, HASHING_THREADS)
        self._directories: UserDirectories | None = None
        # Those that are in force no more, until what was asked has been answered.
        self._leaving: list[UserDirectories] = []
        self._foreign: frozenset[str] = frozenset()
        self._named: dict[str, Current] = {}
        post = around.post
        self._everybody = Current(None, post)
        self._radius = Current(None, post)
        of_address = AttemptLimits(MOST_ATTEMPTS, ATTEMPT_SECONDS, time.monotonic)
        self._of_user = user_gate(AttemptLimits(MOST_ATTEMPTS_OF_USER, ATTEMPT_SECONDS, time.monotonic), post)
        # Of the users that the configuration has or had: by which names the rules know them now.
        self._known_as: dict[str, Who] = {}
        self._is_ours = registry.queryUtility(IPasswordAuthenticator) is None
        if self._is_ours:
            registry.register_utility(self._everybody, IPasswordAuthenticator)
        if registry.queryUtility(IRadiusUsers) is None:
            registry.register_utility(self._radius, IRadiusUsers)
        guarded = GuardedUsers(registry.getUtility(IPasswordAuthenticator), self._of_user)
        self.doorkeeper = Doorkeeper(guarded, address_gate(of_address, post))

    @property
    def pools(self) -> tuple[WorkerPool, ...]:
        known = (*self._leaving, *([self._directories] if self._directories is not None else []))
        return (self._hashing, *(pool for directories in known for pool in directories.pools))

    def make_directories(self, configuration: Configuration, makers: tuple[MakeAuthenticator, ...]) -> UserDirectories:
        """Make the directories of *configuration*; nobody is asked. What is not used is to be closed."""
        return UserDirectories(configuration, makers, self._around)

    def register(self, configuration: Configuration) -> None:
        """Have the registry, which is not frozen yet, know the directories of *configuration* by their names."""
        foreign = set()
        for table in configuration.directories:
            if self._registry.queryUtility(IPasswordAuthenticator, table.name) is None:
                self._named[table.name] = Current(None, self._around.post)
                self._registry.register_utility(self._named[table.name], IPasswordAuthenticator, table.name)
            else:
                foreign.add(table.name)
        self._foreign = frozenset(foreign)

    def use(self, users: tuple[LocalUser, ...], directories: UserDirectories) -> None:
        """Have *users* and *directories* asked from now on; what is being checked is answered by those before."""
        before, self._directories = self._directories, directories
        for name, current in self._named.items():
            current.current = directories.by_name.get(name)
        self._known_as = self._known(users)
        local = LocalUsers(users, self._hashing, self._around.post, time.monotonic)
        self._everybody.current = Authenticators(local, local.names, self._asked(directories, directories.by_name))
        radius = self._asked(directories, directories.radius) if directories.radius else None
        self._radius.current = None if radius is None else GuardedUsers(radius, self._of_user)
        if before is not None:
            self._leaving.append(before)
            self._around.loop.call_later(before.longest_seconds + FAREWELL_SECONDS, self._let_go, before)

    def known_as(self, user: SessionUser) -> Who:
        """Return by which names the rules know *user* now: one of the configuration may have other groups, or be gone.

        What a directory has said of its users holds as long as their sessions.
        """
        return self._who(self._known_as, user)

    def known_after(self, users: tuple[LocalUser, ...]) -> Callable[[SessionUser], Who]:
        """Return what :meth:`known_as` would be with *users* in force."""
        return partial(self._who, self._known(users))

    def close(self) -> None:
        """Give up what is under way: the service stops."""
        for directories in (*self._leaving, self._directories):
            if directories is not None:
                directories.close()

    def _known(self, users: tuple[LocalUser, ...]) -> dict[str, Who]:
        known = {user.name: FWXAuthenticatedUser(user.name, user.groups).who for user in users}
        return {**dict.fromkeys(self._known_as, NOBODY), **known}

    def _who(self, known: Mapping[str, Who], user: SessionUser) -> Who:
        if not self._is_ours or user.Namespace != LOCAL_NAMESPACE:
            return user.who
        return known.get(user.Username, user.who)

    def _let_go(self, directories: UserDirectories) -> None:
        directories.close()
        self._leaving.remove(directories)
        for pool in directories.pools:
            pool.close()

    def _asked(self, directories: UserDirectories, names: Iterable[str]) -> Directories:
        """Return what asks the directories of *names* in turn, those that a plugin has replaced by the plugin's."""
        asked: Mapping[str, IPasswordAuthenticator] = {
            name: self._registry.getUtility(IPasswordAuthenticator, name)
            if name in self._foreign
            else directories.by_name[name]
            for name in names
        }
        return Directories(asked)
