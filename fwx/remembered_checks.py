"""Passwords that are being checked, each once, and the results that are remembered for a while."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from fwx.impl.authentication import Checked
from fwx.interfaces import COMError

MOST_REMEMBERED: Final = 1024
"""Results that are remembered at a time."""

MOST_WAITING: Final = 256
"""Passwords that are checked at a time; more are refused."""

_BUSY: Final = Checked(None, f"{MOST_WAITING} passwords are being checked already")

Done = Callable[[Checked], None]


class RememberedChecks:
    """Has who asks the same at a time wait for one check, and answers from memory what was asked a short while ago.

    The memory is keyed by a digest with a key of its own: it holds no password and no user's name.
    """

    def __init__(
        self, post: Callable[..., None], clock: Callable[[], float], seconds: float, wrong_seconds: float = 0.0
    ) -> None:
        """What was right is remembered for *seconds*, a wrong guess for *wrong_seconds*, anything else never.

        *post* calls a function on the loop thread, later.
        """
        self._post = post
        self._clock = clock
        self._seconds = seconds
        self._wrong_seconds = wrong_seconds
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[float, Checked]] = OrderedDict()
        self._under_way: dict[bytes, list[_Waiter]] = {}

    def __len__(self) -> int:
        """The number of checks that are under way."""
        return len(self._under_way)

    def check(self, name: str, password: bytes, done: Done, start: Callable[[Done], None]) -> Callable[[], None]:
        """Answer *done* once, later, on the loop thread; returns what cancels that.

        :param start: called where nothing is known: begins the check, which calls what it is given once, on the loop
            thread and not inside *start*. It may raise ``COMError``.
        """
        digest = self._digest(name.encode("utf-8", "surrogatepass"), password)
        waiter = _Waiter(done)
        known = self._known(digest)
        if known is not None:
            self._post(waiter, known)
        elif digest in self._under_way:
            self._under_way[digest].append(waiter)
        elif len(self._under_way) >= MOST_WAITING:
            self._post(waiter, _BUSY)
        else:
            self._under_way[digest] = [waiter]
            try:
                start(partial(self._finish, digest))
            except COMError as error:  # no thread, or the service stops
                del self._under_way[digest]
                self._post(waiter, Checked(None, f"the password could not be checked: {error}"))
        return waiter.cancel

    def _finish(self, digest: bytes, result: Checked) -> None:
        waiting = self._under_way.pop(digest)
        seconds = self._seconds if result.user is not None else self._wrong_seconds if result.counts else 0.0
        if seconds > 0:
            self._remembered[digest] = self._clock() + seconds, result
            self._remembered.move_to_end(digest)
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        for waiter in waiting:
            waiter(result)

    def _known(self, digest: bytes) -> Checked | None:
        until, result = self._remembered.get(digest, (0.0, None))
        if result is not None and self._clock() >= until:
            del self._remembered[digest]
            return None
        return result

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
