"""The names of actions and results in the firewall log, and the numbers that a name stands for."""

from __future__ import annotations

from fwx.impl.logrecord import Action
from fwx.interfaces import hresult
from fwx.interfaces.hresult import FAILED, HRESULT, HRESULT_FROM_WIN32

_NAMES = {int(action): action.name for action in Action}


def action_name(number: int) -> str:
    """Return the name of a value of the column ``Action`` (B9.10); its number where a later version has written it."""
    return _NAMES.get(number) or f"Action({number})"


def actions_of(text: str) -> int:
    """Return the number of the action *text*: its name, in any case, or a number.

    :raises ValueError: it is neither.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    for action in Action:
        if action.name.lower() == text.lower():
            return int(action)
    raise ValueError(f"{text!r} is no action; expected one of {', '.join(action.name for action in Action)}")


def result_name(code: int) -> str:
    """Return the name of a result code, a Windows error number or an HRESULT; empty for success."""
    if code == 0:
        return ""
    name = (HRESULT(code) if FAILED(code) else HRESULT_FROM_WIN32(code)).name
    return name.removeprefix("HRESULT_FROM_WIN32(").removesuffix(")") if name.startswith("HRESULT") else name


def results_of(text: str) -> tuple[int, ...]:
    """Return the values of ``resultcode`` that *text* stands for: a name as :func:`result_name` gives it, or a number.

    :raises ValueError: it is neither.
    """
    try:
        number = int(text, 0)
    except ValueError:
        number = None
    if number is not None:
        if not -(1 << 31) <= number < 1 << 32:
            raise ValueError(f"{text} is no result code; expected 32 bits")
        return (number & 0xFFFFFFFF,)  # an HRESULT may be written with a sign
    if text.upper() in ("S_OK", "SUCCESS"):
        return (0,)
    code = getattr(hresult, text.upper(), None)
    if not isinstance(code, int):
        raise ValueError(f"{text!r} is no result code; expected a number, or a name such as FWX_E_POLICY_RULES_DENIED")
    plain = int(code)
    return (plain,) if FAILED(plain) else (plain, int(HRESULT_FROM_WIN32(plain)))
