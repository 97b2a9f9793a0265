"""The one place where exceptions become HRESULTs."""

from __future__ import annotations

import logging
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


def attempt(target: object, name: str, *args: Any) -> tuple[Any, BaseException | None]:
    """Call the method *name* of a filter's object; return its result and its fault, raised or returned.

    Everything counts as a fault, a method that is not there and ``SystemExit`` too: a filter does not end the service.
    """
    try:
        result = getattr(target, name)(*args)
    except BaseException as error:  # noqa: BLE001  a filter may raise anything; the caller judges
        return None, error
    failure = failing_result(result)
    return result, None if failure is None else COMError(failure, f"returned by {name}")


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
