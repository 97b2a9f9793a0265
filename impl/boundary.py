"""The one place where exceptions become HRESULTs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fwx.interfaces.hresult import E_NOTIMPL, E_OUTOFMEMORY, E_UNEXPECTED, FAILED, HRESULT, COMError

logger = logging.getLogger("fwx.boundary")


def hresult_from_exception(error: BaseException) -> HRESULT:
    """Return the HRESULT that stands for *error*; called wherever Python code meets the COM face.

    ``COMError`` gives its own code, ``NotImplementedError`` ``E_NOTIMPL``, ``MemoryError`` ``E_OUTOFMEMORY``. Anything
    else is a bug of the callee: its traceback is logged and the result is ``E_UNEXPECTED``.
    """
    match error:
        case COMError():
            return error.hresult
        case NotImplementedError():
            return E_NOTIMPL
        case MemoryError():
            return E_OUTOFMEMORY
        case _:
            logger.error("unexpected %s", type(error).__name__, exc_info=error)
            return E_UNEXPECTED


def attempt(method: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Call a method of a filter's object; return its result and its fault, whether it raised it or returned it.

    Everything counts as a fault, ``SystemExit`` too: a filter does not end the service.
    """
    try:
        result = method(*args)
    except BaseException as error:  # noqa: BLE001  a filter may raise anything; the caller judges
        return None, error
    failure = failing_result(result)
    if failure is None:
        return result, None
    return result, COMError(failure, f"returned by {getattr(method, '__name__', method)}")


def failing_result(result: object) -> HRESULT | None:
    """Return the failure that a filter's method *returned*, or ``None`` when it succeeded.

    ``None`` counts as ``S_OK``. A returned integer is read as an HRESULT, one of more than 32 bits as a bug of the
    method; any other object is the method's out value.
    """
    if isinstance(result, HRESULT):
        return result if FAILED(result) else None
    if type(result) is int and not 0 <= result < 0x8000_0000:
        return HRESULT(result) if -0x8000_0000 <= result <= 0xFFFF_FFFF else E_UNEXPECTED
    return None
