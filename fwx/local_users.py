"""The users of the configuration: their passwords checked by Argon2id, off the loop."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, Protocol

import argon2
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from zope.interface import implementer

from fwx.impl.authentication import Checked, IPasswordAuthenticator
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import COMError

REMEMBERED_SECONDS: Final = 60.0
"""How long a password that was right is not hashed again."""

MOST_REMEMBERED: Final = 1024
"""Passwords that are remembered at a time."""

MOST_WAITING: Final = 256
"""Passwords that wait to be hashed; more are refused."""

_WRONG: Final = Checked(None, "the user or the password is wrong", counts=True)
_BUSY: Final = Checked(None, f"{MOST_WAITING} passwords are being checked already")

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


class _Check:
    """One password that is being hashed, and who waits for the result."""

    __slots__ = ("account", "digest", "password", "waiting")

    def __init__(self, account: _Account, digest: bytes, password: bytes) -> None:
        self.account = account
        self.digest = digest
        self.password = password
        self.waiting: list[Done] = []


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
        self._clock = clock
        self._hasher = argon2.PasswordHasher()
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._under_way: dict[bytes, _Check] = {}

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check whether *password* is that of the user *name*; *done* is called once, later, on the loop thread.

        Returns what cancels the check: *done* is then not called.
        """
        account = self._accounts.get(name, self._nobody)
        digest = self._digest(name.encode("utf-8", "surrogatepass"), password)
        waiter = _Waiter(done)
        if self._is_remembered(digest):
            self._post(waiter, Checked(account.user))
            return waiter.cancel
        check = self._under_way.get(digest)
        if check is None:
            if len(self._under_way) >= MOST_WAITING:
                self._post(waiter, _BUSY)
                return waiter.cancel
            check = _Check(account, digest, password)
            try:
                self._workers.submit(partial(self._work, check))
            except COMError as error:  # no thread
                self._post(waiter, Checked(None, f"the password could not be checked: {error}"))
                return waiter.cancel
            self._under_way[digest] = check
        check.waiting.append(waiter)
        return waiter.cancel

    def _work(self, check: _Check) -> None:
        """Hash, on another thread."""
        account = check.account
        try:
            self._hasher.verify(account.password, check.password)
            result = _WRONG if account.user is None else Checked(account.user)
        except VerifyMismatchError:
            result = _WRONG
        except Argon2Error as error:  # out of memory, for one
            result = Checked(None, f"the password could not be checked: {error}")
        self._post(self._finish, check, result)

    def _finish(self, check: _Check, result: Checked) -> None:
        del self._under_way[check.digest]
        if result.user is not None:
            self._remembered[check.digest] = self._clock() + REMEMBERED_SECONDS
            self._remembered.move_to_end(check.digest)
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        for waiter in check.waiting:
            waiter(result)

    def _is_remembered(self, digest: bytes) -> bool:
        until = self._remembered.get(digest)
        if until is not None and self._clock() >= until:
            del self._remembered[digest]
            return False
        return until is not None

    def _digest(self, name: bytes, password: bytes) -> bytes:
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + password, "sha256")


class _Waiter:
    """Somebody who waits for a result; cancelled, who does so no more."""

    __slots__ = ("_done",)

    def __init__(self, done: Done) -> None:
        self._done: Done | None = done

    def __call__(self, result: Checked) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def cancel(self) -> None:
        self._done = None


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
