"""Checking what callers hand in: a wrong argument is ``E_INVALIDARG``, never an error from inside."""

from __future__ import annotations

from typing import Any

from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, COMError

DWORD_MOST = 0xFFFF_FFFF
INT_MOST = 0x7FFF_FFFF


def whole(value: Any, name: str, least: int = 0, most: int = DWORD_MOST) -> int:
    """Return *value*, the argument *name*, if it is a whole number from *least* to *most*.

    :raises COMError: ``E_INVALIDARG`` it is not; nothing is ever truncated.
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise COMError(E_INVALIDARG, f"{name} is {value!r}, not a whole number from {least} to {most}")
    return int(value)


def octets(value: Any, name: str) -> bytes:
    """Return a copy of *value*, the argument *name*, if it is made of bytes.

    :raises COMError: ``E_POINTER`` it is ``None``; ``E_INVALIDARG`` it is something else.
    """
    if value is None:
        raise COMError(E_POINTER, f"{name} is needed")
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise COMError(E_INVALIDARG, f"{name} is {type(value).__name__}, not bytes")
    return bytes(value)
