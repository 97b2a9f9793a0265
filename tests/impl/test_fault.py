"""Faults of filters: one alert and one traceback for each place, a line for each time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from fwx.impl import fault
from fwx.interfaces.hresult import E_FAIL, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_the_traceback_is_shown_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """DESIGN 5: logged with traceback and filter name, and an alert."""
    words = [rig.faults.report("scanner", "Detach", raised(ValueError(f"bug {number}"))) for number in range(3)]
    assert words == [f"filter 'scanner' failed in Detach: ValueError: bug {number}" for number in range(3)]
    lines = [record.getMessage() for record in caplog.records if record.name == "fwx.filter"]
    assert [("Traceback" in line, line.splitlines()[0]) for line in lines] == [
        (True, words[0]),
        (False, words[1]),
        (False, words[2]),
    ]
    (alert,) = rig.alerts
    assert (alert.message, alert.key) == (words[0], "scanner/Detach")
    assert "ValueError: bug 0" in alert.traceback


@pytest.mark.parametrize(
    ("name", "method", "error"),
    [
        ("other", "Detach", lambda: raised(ValueError())),
        ("scanner", "SetSockets", lambda: raised(ValueError())),
        ("scanner", "Detach", lambda: raised(KeyError())),
    ],
)
def test_another_fault_is_another_traceback(
    rig: Rig, caplog: pytest.LogCaptureFixture, name: str, method: str, error: object
) -> None:
    rig.faults.report("scanner", "Detach", raised(ValueError()))
    caplog.clear()
    rig.faults.report(name, method, error())  # type: ignore[operator]
    assert "Traceback" in caplog.text


def test_what_was_returned_has_no_traceback(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.faults.report("scanner", "SetSockets", COMError(E_FAIL, "returned by SetSockets"))
    assert "E_FAIL (0x80004005): returned by SetSockets" in caplog.text
    assert "Traceback" not in caplog.text
    assert rig.alerts[0].traceback == ""


def test_made_up_exceptions_do_not_fill_memory(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault, "_MOST_KNOWN", 3)
    caplog.set_level(logging.ERROR)
    for number in range(10):
        rig.faults.report("scanner", f"Method{number}", raised(ValueError()))
    assert caplog.text.count("Traceback") == 3
    assert caplog.text.count("failed in") == 10
