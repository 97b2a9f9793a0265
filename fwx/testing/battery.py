"""Batteries: rules of behaviour that an implementation is tried against, and the table of how it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from fwx.interfaces import HRESULT, COMError

Subject = TypeVar("Subject")


class Outcome(StrEnum):
    """How one check ended."""

    PASSED = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"
    """The rule does not apply to this implementation; the check's reason says why."""


class ConformanceError(AssertionError):
    """An implementation breaks the contract. ``breaches`` holds everything that is wrong, in order."""

    def __init__(self, subject: str, breaches: Iterable[object]) -> None:
        self.subject = subject
        self.breaches = tuple(breaches)
        count = f"{len(self.breaches)} breach{'' if len(self.breaches) == 1 else 'es'}"
        super().__init__("\n".join((f"{subject}: {count} of the contract", *(f"- {each}" for each in self.breaches))))


class BreachError(AssertionError):
    """Raised inside a rule: the implementation does not keep it. Says what was expected and what was found."""


class NotApplicable(Exception):  # noqa: N818  not an error: the battery skips the rule
    """Raised inside a rule: it says nothing about this implementation, and why."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One rule of a battery.

    :ivar name: the rule as a sentence, unique in its battery.
    :ivar facts: the numbers of the facts that ask for it.
    :ivar test: called with a fresh subject; raises :class:`BreachError` or :class:`NotApplicable`. Everything else that
        it raises counts as a breach too.
    """

    name: str
    facts: tuple[str, ...]
    test: Callable[[Subject], None]


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one rule."""

    name: str
    facts: tuple[str, ...]
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        cited = f" ({', '.join(self.facts)})" if self.facts else ""
        return f"{self.name}{cited}: {self.reason or self.outcome}"


@dataclass(frozen=True, slots=True)
class Battery:
    """The result of a battery: every check, in the order of its rules."""

    subject: str
    checks: tuple[Check, ...]

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def passed(self) -> bool:
        """No check failed."""
        return not self.failures

    def require(self) -> None:
        """Called in a test: raise one error with every check that failed.

        :raises ConformanceError: some did.
        """
        if self.failures:
            raise ConformanceError(self.subject, self.failures)


def run_rules(
    subject: str, rules: Iterable[Rule[Subject]], make: Callable[[], AbstractContextManager[Subject]]
) -> Battery:
    """Try every one of *rules* on a subject of its own, which *make* opens and the context manager closes."""
    return Battery(subject, tuple(_run(rule, make) for rule in rules))


def _run(rule: Rule[Subject], make: Callable[[], AbstractContextManager[Subject]]) -> Check:
    try:
        with make() as subject:
            rule.test(subject)
    except NotApplicable as skip:
        return Check(rule.name, rule.facts, Outcome.SKIPPED, str(skip))
    except AssertionError as broken:
        return Check(rule.name, rule.facts, Outcome.FAILED, str(broken) or "an assertion failed")
    except Exception as error:  # noqa: BLE001  an implementation may raise anything; all of it breaks the rule
        return Check(rule.name, rule.facts, Outcome.FAILED, f"it raised {describe(error)}")
    return Check(rule.name, rule.facts, Outcome.PASSED)


def describe(error: BaseException) -> str:
    """Return *error* as a check's reason names it."""
    return f"{type(error).__name__}: {error}"


def expect(condition: object, reason: str) -> None:
    """Go on if *condition* holds.

    :raises BreachError: it does not, with *reason*.
    """
    if not condition:
        raise BreachError(reason)


def expect_equal(found: object, wanted: object, what: str) -> None:
    """Go on if *found* equals *wanted*; *what* names it.

    :raises BreachError: it does not, with both.
    """
    if found != wanted:
        raise BreachError(f"{what}: expected {wanted!r}, found {found!r}")


def expect_failure(what: str, codes: int | Iterable[int], call: Callable[..., Any], *args: Any) -> COMError:
    """Call *call* and return the failure that it raises, whose HRESULT must be one of *codes*; *what* names the call.

    :raises BreachError: it succeeded, failed otherwise, or raised something that is no :class:`COMError`.
    """
    wanted = [HRESULT(codes)] if isinstance(codes, int) else [HRESULT(code) for code in codes]
    names = " or ".join(code.name for code in wanted)
    try:
        result = call(*args)
    except COMError as error:
        if int(error.hresult) not in {int(code) for code in wanted}:
            raise BreachError(f"{what}: expected {names}, found {error.hresult.name}") from error
        return error
    except Exception as error:
        raise BreachError(f"{what}: expected {names}, found {describe(error)}") from error
    raise BreachError(f"{what}: expected {names}, found the result {result!r}")
