"""The users of the configuration: their passwords checked by Argon2id, off the loop."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, Protocol

import argon2
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from zope.interface import implementer

from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.impl.user import FWXAuthenticatedUser
from fwx.remembered_checks import RememberedChecks

REMEMBERED_SECONDS: Final = 60.0
"""How long a password that was right is not hashed again."""

Done = Callable[[Checked], None]


class LocalUser(NamedTuple):
    """A user of the configuration. *password* is an Argon2id hash in its text form."""

    name: str
    groups: tuple[str, ...]
    password: str

    @property
    def has_hash(self) -> bool:
        """Whether the password is a hash that can be compared with."""
        try:
            argon2.extract_parameters(self.password)
        except InvalidHashError:
            return False
        return True


class Workers(Protocol):
    """Where the hashing is done."""

    def submit(self, work: Callable[[], object]) -> None: ...


class _Account(NamedTuple):
    user: FWXAuthenticatedUser | None
    password: str


@implementer(IPasswordAuthenticator)
class LocalUsers:
    """Checks the passwords of users that are known here.

    What was right is remembered for a short while by a digest with a key of its own, so that a browser with thirty
    connections costs one hash. What was wrong is hashed each time. An unknown user costs the same as a wrong password.
    """

    def __init__(
        self,
        users: Iterable[LocalUser],
        workers: Workers,
        post: Callable[..., None],
        clock: Callable[[], float],
    ) -> None:
        """*workers* hashes, on other threads; *post* calls a function on the loop thread, from any thread.

        Each of *users* has a hash (:attr:`LocalUser.has_hash`).
        """
        self._accounts = {
            user.name: _Account(FWXAuthenticatedUser(user.name, user.groups), user.password) for user in users
        }
        self._nobody = _Account(None, _unknown_password(self._accounts.values()))
        self._workers = workers
        self._post = post
        self._hasher = argon2.PasswordHasher()
        self._checks = RememberedChecks(post, clock, REMEMBERED_SECONDS)

    @property
    def names(self) -> frozenset[str]:
        """The users that are known here."""
        return frozenset(self._accounts)

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check whether *password* is that of the user *name*; *done* is called once, later, on the loop thread.

        Returns what cancels the check: *done* is then not called.
        """
        account = self._accounts.get(name, self._nobody)

        def start(finish: Done) -> None:
            self._workers.submit(partial(self._work, account, password, finish))

        return self._checks.check(name, password, done, start)

    def _work(self, account: _Account, password: bytes, finish: Done) -> None:
        """Hash, on another thread."""
        try:
            self._hasher.verify(account.password, password)
            result = WRONG if account.user is None else Checked(account.user)
        except VerifyMismatchError:
            result = WRONG
        except Argon2Error as error:  # out of memory, for one
            result = Checked(None, f"the password could not be checked: {error}")
        self._post(finish, result)


def _unknown_password(accounts: Iterable[_Account]) -> str:
    """Return the hash that a password for an unknown user is compared with: as much work as that of the first user."""
    known = next((account.password for account in accounts), None)
    parameters = argon2.extract_parameters(known) if known is not None else argon2.profiles.RFC_9106_LOW_MEMORY
    cost = f"m={parameters.memory_cost},t={parameters.time_cost},p={parameters.parallelism}"
    salt, digest = (
        b64encode(secrets.token_bytes(length)).decode("ascii").rstrip("=")
        for length in (parameters.salt_len, parameters.hash_len)
    )
    return f"$argon2id$v={parameters.version}${cost}${salt}${digest}"
