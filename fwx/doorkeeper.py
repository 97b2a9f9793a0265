"""Who the clients of a proxy port are: passwords checked, attempts limited."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from fwx.impl.authentication import Checked, IPasswordAuthenticator, IRadiusUsers

if TYPE_CHECKING:
    from fwx.limits import AttemptLimits
    from fwx.proxy import Credentials

MOST_ATTEMPTS: Final = 10
"""Wrong passwords of one client address within :data:`ATTEMPT_SECONDS`, after which it is refused as long."""

MOST_ATTEMPTS_OF_USER: Final = 30
"""Wrong passwords for one user within :data:`ATTEMPT_SECONDS`, from anywhere, after which it is refused as long."""

ATTEMPT_SECONDS: Final = 60.0

LONGEST_KEY: Final = 256
"""Characters of a user's name by which guesses are counted; longer ones that begin alike share the limit."""

Done = Callable[[Checked], None]
Ask = Callable[[Done], object]


class _Attempt:
    __slots__ = ("ask", "done", "key")

    def __init__(self, key: str, ask: Ask, done: Done) -> None:
        self.key = key
        self.ask = ask
        self.done: Done | None = done

    def tell(self, result: Checked) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(result)


class AttemptGate:
    """Has passwords checked, for one key no more at a time than it may get wrong; the others wait their turn."""

    def __init__(self, attempts: AttemptLimits, refusal: str, post: Callable[..., None]) -> None:
        """*refusal* are the words for the log where a key is refused; *post* calls a function on the loop thread."""
        self._attempts = attempts
        self._refused = Checked(None, refusal)
        self._post = post
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Attempt]] = {}

    def __len__(self) -> int:
        """The number of keys with attempts that are under way or wait."""
        return len(self._under_way.keys() | self._waiting.keys())

    def check(self, key: str, ask: Ask, done: Done) -> Callable[[], None]:
        """Have *ask* called when it is the turn of *key*; *done* is called once, later, unless it is cancelled.

        Returns what cancels it.
        """
        attempt = _Attempt(key, ask, done)
        self._waiting.setdefault(key, deque()).append(attempt)
        self._start_waiting(key)

        def cancel() -> None:
            # A password that is being compared still counts when it is wrong: who leaves early guesses no more often.
            attempt.done = None

        return cancel

    def _start_waiting(self, key: str) -> None:
        waiting = self._waiting.get(key)
        while waiting:
            allowance = self._attempts.allowance(key)
            if allowance and self._under_way[key] >= allowance:
                return
            attempt = waiting.popleft()
            if attempt.done is None:
                continue
            if allowance:
                self._under_way[key] += 1
                attempt.ask(partial(self._checked, attempt))
            else:
                self._post(attempt.tell, self._refused)
        self._waiting.pop(key, None)

    def _checked(self, attempt: _Attempt, result: Checked) -> None:
        key = attempt.key
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]
        if result.counts:
            self._attempts.failed(key)
        attempt.tell(result)
        self._start_waiting(key)


@implementer(IPasswordAuthenticator, IRadiusUsers)
class GuardedUsers:
    """Limits the wrong passwords for one user, wherever they come from; the spelling of the name does not matter.

    ``corp\\ann`` and ``ann`` are two names here: each has its own limit.
    """

    def __init__(self, authenticator: IPasswordAuthenticator | IRadiusUsers, gate: AttemptGate) -> None:
        """*gate* is one for all that check passwords in a service."""
        self._authenticator = authenticator
        self._gate = gate
        self.is_configured = True

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says; refused after too many that were
        wrong.
        """
        # Directories take no notice of case and of additional blanks; who guesses must not gain by that.
        # Whoever tries long ones must not have us remember them.
        key = " ".join(name[:LONGEST_KEY].casefold().split())
        return self._gate.check(key, partial(self._authenticator.check, name, password), done)


class Doorkeeper:
    """Has the passwords of clients checked, and limits those that are wrong of each address.

    One for a service: an address that is refused at one listener is refused at all.
    """

    def __init__(self, authenticator: IPasswordAuthenticator, gate: AttemptGate) -> None:
        """*gate* counts by addresses."""
        self._authenticator = authenticator
        self._gate = gate

    def check(self, address: str, credentials: Credentials, done: Done) -> Callable[[], None]:
        """Check *credentials* of the client at *address*; *done* is called once, later, unless it is cancelled.

        Returns what cancels it.
        """
        ask = partial(self._authenticator.check, credentials.user, credentials.password)
        return self._gate.check(address, ask, done)


def address_gate(attempts: AttemptLimits, post: Callable[..., None]) -> AttemptGate:
    """Return what counts by client addresses; *attempts* is for :data:`MOST_ATTEMPTS`."""
    words = f"{MOST_ATTEMPTS} wrong passwords came from this address within {ATTEMPT_SECONDS:g} s"
    return AttemptGate(attempts, words, post)


def user_gate(attempts: AttemptLimits, post: Callable[..., None]) -> AttemptGate:
    """Return what counts by users; *attempts* is for :data:`MOST_ATTEMPTS_OF_USER`."""
    words = f"{MOST_ATTEMPTS_OF_USER} wrong passwords came for this user within {ATTEMPT_SECONDS:g} s"
    return AttemptGate(attempts, words, post)
