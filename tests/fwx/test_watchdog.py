"""The watchdog: what it takes for an incident, and what it says of one. Time passes when the test says so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from fwx.impl.alert import Alert, Alerts, Category, Severity
from fwx.impl.culprit import Culprit
from fwx.watchdog import Watchdog

SLUGGARD = Culprit(("sluggard",), "FirewallEventHandler", "Session.wait, sluggard.py:7", "the stack\n")
NOBODY = Culprit((), "", "Poller._dispatch, network.py:1", "the stack\n")


class Timer:
    """A timer of the loop, which goes off when the test says so."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """A watchdog whose loop gives a sign when the test lets it."""

    def __init__(self, culprit: Culprit) -> None:
        self.now = 1000.0
        self.culprit = culprit
        self.timers: list[Timer] = []
        self.judged: list[str] = []
        self.alerts: list[Alert] = []
        self.while_judging: Callable[[], object] = lambda: None
        alerts = Alerts(lambda: self.now, (self.alerts.append,))
        event = alerts.define("Slow", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")
        self.watchdog = Watchdog(1.0, lambda: self.now, self.call_later, self.judge, event)
        self.watchdog.beat()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        assert seconds == 0.25
        self.timers.append(Timer(callback))
        return self.timers[-1]

    def judge(self, frame: FrameType) -> Culprit:
        self.judged.append(frame.f_code.co_name)
        self.while_judging()
        return self.culprit

    def pass_time(self, *seconds: float) -> float:
        """Have the watchdog look after so many seconds each; return when it wants to look again."""
        again = 0.0
        for each in seconds:
            self.now += each
            again = self.watchdog.look()
        return again

    def answer(self) -> None:
        self.timers.pop().callback()


def test_a_loop_that_gives_signs_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(SLUGGARD)
    for _ in range(10):
        bench.pass_time(0.25, 0.25, 0.25)
        bench.answer()
    assert len(bench.timers) == 1
    assert not bench.judged
    assert not caplog.records


def test_it_sleeps_until_the_next_sign_would_be_too_late() -> None:
    bench = Bench(SLUGGARD)
    assert bench.pass_time(0.0) == 1.25
    assert bench.pass_time(1.0) == 0.25
    bench.answer()
    assert bench.pass_time(0.25) == 1.0
    assert bench.pass_time(1.0) == 1.0
    assert len(bench.judged) == 1
    assert bench.pass_time(1.0) == 1.0
    assert len(bench.judged) == 1


def test_an_incident_is_told_twice_and_alerted_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(SLUGGARD)
    bench.pass_time(0.25, 0.9)
    assert not caplog.records
    bench.pass_time(0.25, 0.25, 60.0)
    [noticed] = caplog.records
    assert noticed.levelno == logging.ERROR
    assert noticed.getMessage() == (
        "every connection waits for filter 'sluggard' in FirewallEventHandler (Session.wait, sluggard.py:7): the loop"
        " has stood still for 1.1 s\nthe stack"
    )
    assert len(bench.judged) == 1
    assert not bench.alerts
    bench.now += 0.6
    bench.answer()
    [alert] = bench.alerts
    assert alert.message == (
        "every connection waited at least 62.0 s for filter 'sluggard' in FirewallEventHandler"
        " (Session.wait, sluggard.py:7)"
    )
    assert (alert.key, alert.traceback) == ("sluggard/FirewallEventHandler", "the stack\n")
    bench.pass_time(0.25)
    bench.answer()
    assert len(bench.alerts) == 1
    bench.pass_time(0.25, 1.25)
    assert len(bench.judged) == 2
    bench.now += 60.0
    bench.answer()
    assert len(bench.alerts) == 2


def test_what_no_filter_does_is_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(NOBODY)
    bench.pass_time(0.25, 1.0)
    bench.answer()
    assert not bench.alerts
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "for the service itself (Poller._dispatch" in caplog.records[-1].getMessage()


def test_a_stack_that_came_too_late_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The loop has answered while its stack was taken: that shows something else."""
    bench = Bench(SLUGGARD)
    bench.while_judging = bench.answer
    bench.pass_time(0.25, 1.0)
    assert bench.judged
    assert not caplog.records
    assert not bench.alerts


def test_the_thread_looks_and_ends() -> None:
    """It looks by itself, and lives no longer than the service, as its timer does."""
    judged, timers = threading.Event(), []
    event = Alerts(lambda: 0.0, ()).define("Slow", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")

    def call_later(_seconds: float, callback: Callable[[], None]) -> Timer:
        timers.append(Timer(callback))
        return timers[-1]

    def judge(_frame: FrameType) -> Culprit:
        judged.set()
        return NOBODY

    def make() -> Watchdog:
        return Watchdog(0.01, time.monotonic, call_later, judge, event)

    make().stop()  # of one that never ran
    watchdog = make()
    watchdog.start()
    assert judged.wait(5)
    watchdog.stop()
    assert [timer.cancelled for timer in timers] == [True]
    assert "fwx-watchdog" not in {thread.name for thread in threading.enumerate()}


def test_a_watchdog_that_fails_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    twice = threading.Semaphore(0)

    def judge(_frame: FrameType) -> Culprit:
        twice.release()
        raise RuntimeError("no stack")

    event = Alerts(lambda: 0.0, ()).define("Slow", Severity.ERROR, Category.FIREWALL_SERVICE, source="fwx")
    watchdog = Watchdog(0.01, time.monotonic, lambda _seconds, callback: Timer(callback), judge, event)
    watchdog.start()
    for _ in range(2):
        assert twice.acquire(timeout=5)
    watchdog.stop()
    assert "the watchdog failed" in caplog.text
    assert "RuntimeError: no stack" in caplog.text
