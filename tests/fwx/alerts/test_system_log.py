"""Lines for the system's log, and an alert in words."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwx.alerts.system_log import write_line
from fwx.alerts.words import environment, plain, sentence
from fwx.impl.alert import Alert, Severity
from fwx.impl.alertdefinition import AlertDefinition

HOSTILE = "a\0b\n<0>x\x1b[2J\udc80"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "log"))
        opened.setblocking(False)
        yield opened


@pytest.mark.parametrize(
    ("severity", "number"), [(Severity.ERROR, 27), (Severity.WARNING, 28), (Severity.INFORMATION, 30)]
)
def test_a_line_has_the_severity(device: socket.socket, severity: Severity, number: int) -> None:  # B9.24, B9.25
    assert write_line(severity, "alert: \u00fc", Path(device.getsockname())) == ""
    assert device.recv(65536).decode() == f"<{number}>fwx[{os.getpid()}]: alert: \u00fc"


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert write_line(Severity.ERROR, "x", tmp_path / "no") == f"{tmp_path / 'no'}: No such file or directory"


def test_a_log_that_nobody_reads_holds_nobody_up(device: socket.socket) -> None:
    found = [write_line(Severity.ERROR, "x" * 100_000, Path(device.getsockname())) for _ in range(2000)]
    assert found[0] == ""
    assert "Resource temporarily unavailable" in found[-1]


def test_an_alert_in_one_line() -> None:
    alert = Alert(0.0, "Log failure", Severity.ERROR, "fwx", "", HOSTILE, "", 12)
    assert sentence(alert) == "alert: Log failure: a\\x00b\\n<0>x\\x1b[2J\\udc80 (12 times)"
    named = Alert(0.0, "Log failure", Severity.ERROR, "fwx", "", "m", definition=AlertDefinition("page", "Log failure"))
    assert sentence(named) == "alert: page: Log failure: m"


def test_what_a_command_finds_in_its_environment() -> None:
    alert = Alert(0.0, "Log failure", Severity.ERROR, "fwx", HOSTILE, HOSTILE, "", 12)
    found = environment(alert, "fw1")
    assert {name: value for name, value in found.items() if value != plain(HOSTILE)} == {
        "FWX_ALERT_NAME": "Log failure",
        "FWX_ALERT_EVENT": "Log failure",
        "FWX_ALERT_SEVERITY": "error",
        "FWX_ALERT_SOURCE": "fwx",
        "FWX_ALERT_COUNT": "12",
        "FWX_ALERT_SERVER": "fw1",
        "FWX_ALERT_TIME": "1970-01-01T00:00:00Z",
    }
    assert all(value.isprintable() for value in found.values())
