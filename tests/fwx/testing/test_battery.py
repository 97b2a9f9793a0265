"""Batteries: how a rule ends, what a result says, and that a subject is always closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fwx.interfaces import E_INVALIDARG, E_POINTER, COMError
from fwx.testing import Battery, ConformanceError, Outcome
from fwx.testing.battery import BreachError, NotApplicable, Rule, expect, expect_equal, expect_failure, run_rules


def keeps(subject: list[str]) -> None:
    subject.append("tried")


def breaks(subject: list[str]) -> None:
    expect(not subject, "never shown")
    expect_equal(subject, ["x"], "the subject")


def asserts(subject: list[str]) -> None:
    assert subject


def raises(subject: list[str]) -> None:
    raise KeyError("from inside")


def says_nothing(subject: list[str]) -> None:
    raise NotApplicable("it has no such part")


def run(*tests: Callable[[list[str]], None]) -> tuple[Battery, list[str]]:
    closed: list[str] = []

    @contextmanager
    def make() -> Iterator[list[str]]:
        try:
            yield []
        finally:
            closed.append("closed")

    return run_rules("Thing", [Rule(test.__name__, ("C1.1",), test) for test in tests], make), closed


def test_every_rule_is_tried_on_a_subject_of_its_own() -> None:
    battery, closed = run(keeps, breaks, asserts, raises, says_nothing)
    assert [(check.name, check.outcome) for check in battery] == [
        ("keeps", Outcome.PASSED),
        ("breaks", Outcome.FAILED),
        ("asserts", Outcome.FAILED),
        ("raises", Outcome.FAILED),
        ("says_nothing", Outcome.SKIPPED),
    ]
    assert len(closed) == 5
    assert [str(check) for check in battery if check.name != "asserts"] == [
        "keeps (C1.1): ok",
        "breaks (C1.1): the subject: expected ['x'], found []",
        "raises (C1.1): it raised KeyError: 'from inside'",
        "says_nothing (C1.1): it has no such part",
    ]


def test_require_raises_all_failures_at_once() -> None:
    battery, _ = run(breaks, keeps, raises)
    assert not battery.passed
    with pytest.raises(ConformanceError) as failure:
        battery.require()
    assert str(failure.value).splitlines() == [
        "Thing: 2 breaches of the contract",
        "- breaks (C1.1): the subject: expected ['x'], found []",
        "- raises (C1.1): it raised KeyError: 'from inside'",
    ]
    good, _ = run(keeps, says_nothing)
    assert good.passed
    good.require()


def test_a_subject_that_cannot_be_made_fails_every_rule() -> None:
    @contextmanager
    def make() -> Iterator[None]:
        raise OSError("no port left")
        yield

    (check,) = run_rules("Thing", [Rule("any", (), lambda subject: None)], make)
    assert (check.outcome, check.reason) == (Outcome.FAILED, "it raised OSError: no port left")


def fail(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_expect_failure_wants_the_hresult_and_nothing_else() -> None:
    error = COMError(E_POINTER, outs=(3,))
    assert expect_failure("the call", E_POINTER, fail(error)) is error
    assert expect_failure("the call", (E_INVALIDARG, E_POINTER), fail(error)) is error
    for call, words in (
        (fail(COMError(E_INVALIDARG)), "the call: expected E_POINTER, found E_INVALIDARG"),
        (fail(TypeError("NoneType")), "the call: expected E_POINTER, found TypeError: NoneType"),
        (lambda: None, "the call: expected E_POINTER, found the result None"),
    ):
        with pytest.raises(BreachError) as breach:
            expect_failure("the call", E_POINTER, call)
        assert str(breach.value) == words
