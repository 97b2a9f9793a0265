"""Who the clients of a proxy port are: passwords checked, attempts limited."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from fwx.impl.authentication import Checked

if TYPE_CHECKING:
    from fwx.impl.authentication import IPasswordAuthenticator
    from fwx.limits import AttemptLimits
    from fwx.proxy import Credentials

MOST_ATTEMPTS: Final = 10
"""Wrong passwords of one client address within :data:`ATTEMPT_SECONDS`, after which it is refused as long."""

ATTEMPT_SECONDS: Final = 60.0

_REFUSED: Final = Checked(None, f"{MOST_ATTEMPTS} wrong passwords came from this address within {ATTEMPT_SECONDS:g} s")

Done = Callable[[Checked], None]


class _Attempt:
    __slots__ = ("address", "credentials", "done")

    def __init__(self, address: str, credentials: Credentials, done: Done) -> None:
        self.address = address
        self.credentials = credentials
        self.done: Done | None = done

    def tell(self, result: Checked) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(result)


class Doorkeeper:
    """Has the passwords of clients checked, of one address no more at a time than it may get wrong; the others wait.

    One for a service: an address that is refused at one listener is refused at all.
    """

    def __init__(
        self, authenticator: IPasswordAuthenticator, attempts: AttemptLimits, post: Callable[..., None]
    ) -> None:
        """*post* calls a function on the loop thread, later."""
        self._authenticator = authenticator
        self._attempts = attempts
        self._post = post
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Attempt]] = {}

    def check(self, address: str, credentials: Credentials, done: Done) -> Callable[[], None]:
        """Check *credentials* of the client at *address*; *done* is called once, later, unless it is cancelled.

        Returns what cancels it.
        """
        attempt = _Attempt(address, credentials, done)
        self._waiting.setdefault(address, deque()).append(attempt)
        self._start_waiting(address)

        def cancel() -> None:
            # A password that is being compared still counts when it is wrong: who leaves early guesses no more often.
            attempt.done = None

        return cancel

    def _start_waiting(self, address: str) -> None:
        waiting = self._waiting.get(address)
        while waiting:
            allowance = self._attempts.allowance(address)
            if allowance and self._under_way[address] >= allowance:
                return
            attempt = waiting.popleft()
            if attempt.done is None:
                continue
            if allowance:
                self._under_way[address] += 1
                name, password = attempt.credentials.user, attempt.credentials.password
                self._authenticator.check(name, password, partial(self._checked, attempt))
            else:
                self._post(attempt.tell, _REFUSED)
        self._waiting.pop(address, None)

    def _checked(self, attempt: _Attempt, result: Checked) -> None:
        address = attempt.address
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]
        if result.counts:
            self._attempts.failed(address)
        attempt.tell(result)
        self._start_waiting(address)
