"""One directory as the service asks it: with a deadline, a memory for results, and an alert where it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.interfaces import FWX_E_TERMINATING, COMError
from fwx.remembered_checks import RememberedChecks

if TYPE_CHECKING:
    from fwx.directories.context import DirectoryContext

logger = logging.getLogger("fwx.directories")

WRONG_SECONDS: Final = 5.0
"""How long at most a wrong password is remembered: a program that repeats it does not lock the account there."""

Done = Callable[[Checked], None]


class _Question:
    """One check by the authenticator, until it has answered or its time is over."""

    __slots__ = ("cancel", "finish", "timer")

    def __init__(self, finish: Done) -> None:
        self.finish: Done | None = finish
        self.timer: Any = None
        self.cancel: Callable[[], None] = lambda: None

    def end(self, result: Checked, post: Callable[..., None]) -> None:
        """Hand *result* on, from the run queue; a second one is lost."""
        finish, self.finish = self.finish, None
        if finish is not None:
            self.timer.cancel()
            post(finish, result)


@implementer(IPasswordAuthenticator)
class Directory:
    """What is in the registry for a ``[[directory]]`` table, around the authenticator of its kind.

    A check that ends without a result, by an error or late, lets nobody in, and is not remembered.
    """

    def __init__(
        self,
        authenticator: IPasswordAuthenticator,
        context: DirectoryContext,
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        """*seconds*: how long results are remembered, wrong guesses no longer than :data:`WRONG_SECONDS`."""
        self.name = context.name
        self._authenticator = authenticator
        self._context = context
        self._checks = RememberedChecks(context.post, clock, seconds, min(seconds, WRONG_SECONDS))
        self._questions: set[_Question] = set()
        self._is_closed = False

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says; *name* is without the directory's.

        A password that is empty is wrong without being sent: LDAP servers take it for nobody's and let it in (RFC 4513
        section 5.1.2). So is a name that is no text.
        """
        return self._checks.check(name, password, done, partial(self._start, name, password))

    def close(self) -> None:
        """Give up what is under way, and ask no more; called when the service stops."""
        self._is_closed = True
        for question in list(self._questions):
            self._give_up(question, "the service stops")

    def _start(self, name: str, password: bytes, finish: Done) -> None:
        if not password or not name.isprintable() or not name.strip():
            self._context.post(finish, WRONG)
            return
        if self._is_closed:
            raise COMError(FWX_E_TERMINATING, "the service stops")
        question = _Question(finish)
        self._questions.add(question)
        words = f"it did not answer within {self._context.seconds:g} s"
        question.timer = self._context.call_later(self._context.seconds, partial(self._late, question, words))
        try:
            question.cancel = self._authenticator.check(name, password, partial(self._checked, question))
        except Exception as error:  # of a plugin, or there is no thread
            logger.warning("directory %r cannot be asked", self.name, exc_info=not isinstance(error, COMError))
            words = f"it cannot be asked: {type(error).__name__}: {error}"
            self._context.warn(self.name, f"directory {self.name!r}: {words}")
            self._context.post(self._give_up, question, words)

    def _checked(self, question: _Question, result: Checked) -> None:
        self._questions.discard(question)
        question.end(result, self._context.post)

    def _late(self, question: _Question, words: str) -> None:
        self._context.warn(self.name, f"directory {self.name!r}: {words}")
        self._give_up(question, words)

    def _give_up(self, question: _Question, words: str) -> None:
        self._questions.discard(question)
        question.cancel()
        question.end(Checked(None, f"directory {self.name!r}: {words}"), self._context.post)
