"""Records of denials: how many there may be, what is told of the rest, and when there is an alert."""

from __future__ import annotations

import pytest

from fwx import denials
from fwx.denials import DenialFigures, Denials
from fwx.impl.logrecord import Action, LogRecord


class Log:
    """What is written and told, by a clock that only the test moves."""

    def __init__(self, figures: DenialFigures) -> None:
        self.now = 100.0
        self.written: list[LogRecord] = []
        self.told: list[tuple[str, str]] = []
        self.denials = Denials(
            self.written.append, lambda: self.now, figures, lambda address, words: self.told.append((address, words))
        )

    def write(self, address: str, action: Action = Action.Denied, times: int = 1) -> None:
        for _ in range(times):
            self.denials.write(LogRecord(self.now, action, source_ip=address, reason="no rule allows it"))

    @property
    def addresses(self) -> list[str]:
        """Whose records have been written, which are forgotten."""
        found = [record.source_ip for record in self.written]
        self.written.clear()
        return found


def test_records_in_a_second() -> None:
    """B11.8: of all addresses together; what is no denial passes, and counts nothing."""
    log = Log(DenialFigures(records_a_second=2))
    log.write("a", Action.Terminate, times=5)
    assert log.addresses == ["a"] * 5
    for address in ("a", "b", "c"):
        log.write(address)
    assert log.addresses == ["a", "b"]
    log.now += 0.9
    log.write("d")
    assert log.addresses == []
    log.now += 0.1
    log.write("e", times=3)
    assert log.addresses == ["e", "e"]


def test_records_of_an_address_in_a_minute() -> None:
    """B11.8: its minute begins with the first one; the others have theirs."""
    log = Log(DenialFigures(records_a_minute=2))
    log.write("a", times=3)
    log.write("b")
    log.now += 59.9
    log.write("a")
    assert log.addresses == ["a", "a", "b"]
    log.now += 0.1
    log.write("a")
    assert log.addresses == ["a"]


def test_what_is_left_out_is_told() -> None:
    """No record is lost silently: one tells how many there were, and what the last one was."""
    log = Log(DenialFigures(records_a_second=1))
    log.denials.flush()
    for address in ("a", "b", "c"):
        log.write(address)
    log.denials.flush()
    log.denials.flush()
    assert [record.source_ip for record in log.written] == ["a", "c"]
    words = "2 denials are not in the log, of which this is the last one: no rule allows it"
    assert log.written[1].reason == words


def test_an_address_that_is_denied_too_often() -> None:
    """B11.6: an event that names it, once in its minute, whether the denials are in the log or not."""
    log = Log(DenialFigures(alert=3, records_a_minute=1))
    log.write("192.0.2.1", times=2)
    log.write("192.0.2.2", times=2)
    log.write("", times=9)
    assert log.told == []
    log.write("192.0.2.1", times=5)
    words = "192.0.2.1 was denied 3 times in a minute (denials_before_alert)"
    assert log.told == [("192.0.2.1", words)]
    log.now += 60
    log.write("192.0.2.1", times=3)
    assert len(log.told) == 2


def test_a_flood_of_addresses_does_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "_SWEEP_AT", 10)
    log = Log(DenialFigures())
    log.denials._sweep_at = 10
    for number in range(1000):
        log.write(f"address {number}")
        log.now += 10
    assert len(log.denials._minutes) <= 20
