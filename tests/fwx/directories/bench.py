"""What directories and authenticators are tried with: a clock, timers and a queue that run when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from fwx.directories.context import DirectoryContext
from fwx.impl.authentication import Checked, IPasswordAuthenticator

Done = Callable[[Checked], None]


class Timer:
    def __init__(self, when: float, function: Callable[[], None]) -> None:
        self.when, self.function, self.is_on = when, function, True

    def cancel(self) -> None:
        self.is_on = False


class Bench:
    """The surroundings of a directory called ``corp`` that may take five seconds."""

    def __init__(self, **context: Any) -> None:
        self.now = 1000.0
        self.posted: list[Callable[[], object]] = []
        self.timers: list[Timer] = []
        self.warnings: list[tuple[str, str]] = []
        self.results: list[Checked] = []
        self.context = DirectoryContext("corp", 5.0, self.post, self.post, self.call_later, self.warn)._replace(
            **context
        )

    def post(self, function: Callable[..., object], *args: object) -> None:
        self.posted.append(lambda: function(*args))

    def call_later(self, seconds: float, function: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, function))
        return self.timers[-1]

    def warn(self, key: str, words: str) -> None:
        self.warnings.append((key, words))

    def clock(self) -> float:
        return self.now

    def run(self) -> None:
        """Run what is queued, and what that queues."""
        while self.posted:
            self.posted.pop(0)()

    def pass_time(self, seconds: float) -> None:
        """Let *seconds* go by, and the timers that are due go off."""
        self.now += seconds
        due = [timer for timer in self.timers if timer.is_on and timer.when <= self.now]
        self.timers = [timer for timer in self.timers if timer.is_on and timer not in due]
        for timer in due:
            timer.function()
        self.run()

    def check(self, authenticator: Any, name: str, password: bytes) -> Callable[[], None]:
        cancel: Callable[[], None] = authenticator.check(name, password, self.results.append)
        return cancel

    def checked(self, authenticator: Any, name: str, password: bytes) -> Checked:
        """Check and run what is queued; it must have been answered, and not inside the call."""
        self.check(authenticator, name, password)
        assert self.results == []
        self.run()
        return self.results.pop()


@implementer(IPasswordAuthenticator)
class Asked:
    """An authenticator that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, Done]] = []
        self.cancelled = 0

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        self.asked.append((name, password, done))

        def cancel() -> None:
            self.cancelled += 1

        return cancel

    def answer(self, result: Checked) -> None:
        self.asked.pop(0)[2](result)
