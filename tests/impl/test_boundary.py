"""Exceptions and returned numbers as HRESULTs."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.impl.boundary import attempt, failing_result, hresult_from_exception
from fwx.interfaces import fwx_dfpc_Middle
from fwx.interfaces.hresult import (
    E_FAIL,
    E_NOTIMPL,
    E_OUTOFMEMORY,
    E_UNEXPECTED,
    FWX_E_BUFFERFULL,
    HRESULT,
    S_FALSE,
    S_OK,
    COMError,
)


@pytest.mark.parametrize(
    ("error", "hresult", "logged"),
    [
        (COMError(FWX_E_BUFFERFULL), FWX_E_BUFFERFULL, False),
        (NotImplementedError(), E_NOTIMPL, False),
        (MemoryError(), E_OUTOFMEMORY, False),
        (ValueError("a bug"), E_UNEXPECTED, True),
        (KeyboardInterrupt(), E_UNEXPECTED, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exceptions(caplog: pytest.LogCaptureFixture, error: BaseException, hresult: int, logged: bool) -> None:
    assert hresult_from_exception(error) == hresult
    assert ("unexpected" in caplog.text) is logged


RESULTS = [
    (None, None),
    (S_OK, None),
    (S_FALSE, None),
    (0, None),
    (1, None),
    (0x7FFFFFFF, None),
    (E_FAIL, E_FAIL),
    (0x80004005, E_FAIL),
    (-0x7FFFBFFB, E_FAIL),
    (0xFFFFFFFF, HRESULT(0xFFFFFFFF)),
    (0x1_0000_0000, E_UNEXPECTED),
    (0x1_8000_0000, E_UNEXPECTED),
    (-0x8000_0001, E_UNEXPECTED),
    (True, None),
    (fwx_dfpc_Middle, None),
    ("text", None),
    (object, None),
]


@pytest.mark.parametrize(("result", "failure"), RESULTS)
def test_results(result: Any, failure: int | None) -> None:
    """DESIGN 3: what a filter returns counts like what it raises."""
    found = failing_result(result)
    assert found == failure
    assert found is None or type(found) is HRESULT


class Filter:
    def __init__(self, method: Any) -> None:
        self.method = method


@pytest.mark.parametrize(("result", "failure"), RESULTS)
def test_attempts_that_return(result: Any, failure: int | None) -> None:
    returned, error = attempt(Filter(lambda: result), "method")
    assert returned is result
    assert (error.hresult if isinstance(error, COMError) else None) == failure


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1), COMError(E_NOTIMPL)])
def test_attempts_that_raise(error: BaseException) -> None:
    def method() -> None:
        raise error

    assert attempt(Filter(method), "method") == (None, error)


def test_an_attempt_with_arguments() -> None:
    assert attempt(Filter(lambda *given: given), "method", 1, 2) == ((1, 2), None)


def test_a_method_that_is_not_there() -> None:
    """A filter that says it provides an interface and lacks a method of it."""
    returned, error = attempt(Filter(None), "Detach")
    assert returned is None
    assert isinstance(error, AttributeError)
