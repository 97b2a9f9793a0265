from __future__ import annotations

import logging
import threading
from uuid import UUID

import pytest

from fwx.impl.alert import OTHER_KEYS, Alert, Alerts, Category, EventDefinition, Severity


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Alerts with a clock that the test sets and a sink that remembers."""

    def __init__(self, *, max_keys: int = 256) -> None:
        self.clock = Clock()
        self.raised: list[Alert] = []
        self.alerts = Alerts(self.clock, [self.raised.append], 60.0, max_keys=max_keys)
        self.event = self.define("filter fault")

    def define(self, name: str, source: str = "monitor") -> EventDefinition:
        return self.alerts.define(name, Severity.ERROR, Category.FIREWALL_SERVICE, source=source)

    def seen(self) -> list[tuple[str, str, int]]:
        seen = [(alert.key, alert.message, alert.count) for alert in self.raised]
        self.raised.clear()
        return seen


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_severities_and_categories_have_the_numbers_of_the_sdk() -> None:  # B9.25
    assert [severity.name for severity in sorted(Severity)] == ["ERROR", "WARNING", "INFORMATION"]
    assert [category.value for category in Category] == [0, 1, 2, 3, 4, 5]
    assert (Category.SECURITY, Category.FIREWALL_SERVICE, Category.LOAD_BALANCING) == (0, 3, 5)


def test_an_event_is_named_and_keyed_by_a_guid(bench: Bench) -> None:  # B9.20
    guid = UUID(int=7)
    event = bench.alerts.define("disk", Severity.WARNING, Category.OTHER, source="service", guid=guid)
    assert (event.name, event.guid, event.source) == ("disk", guid, "service")
    assert Bench().event.guid == bench.event.guid
    assert bench.define("another").guid != bench.event.guid


def test_the_same_definition_by_the_same_source_is_one_event(bench: Bench) -> None:
    assert bench.define("filter fault") is bench.event


def test_a_name_belongs_to_one_source(bench: Bench) -> None:
    with pytest.raises(ValueError, match="'filter fault' of 'other' is defined by 'monitor' already"):
        bench.define("filter fault", source="other")
    with pytest.raises(ValueError, match="defined already, otherwise"):
        bench.alerts.define("filter fault", Severity.INFORMATION, Category.OTHER, source="monitor")


@pytest.mark.parametrize("jump", [-(10**8), 10**8])
def test_what_the_clock_is_set_to_holds_no_alert_back_and_frees_none(jump: float) -> None:
    """B9.23: limits are counted in seconds that only grow; the alert has the time of day."""
    clock, monotonic, raised = Clock(), Clock(), list[Alert]()
    alerts = Alerts(clock, [raised.append], 60.0, monotonic=monotonic)
    event = alerts.define("disk", Severity.WARNING, Category.OTHER, source="service")
    assert event.signal("one")
    clock.now += jump
    monotonic.now += 1.0
    assert not event.signal("two")
    monotonic.now += 60.0
    assert event.signal("three")
    assert [(alert.message, alert.count, alert.time) for alert in raised] == [
        ("one", 1, 1000.0),
        ("three", 2, 1000.0 + jump),
    ]
    assert alerts.counts()[-1].last == 1000.0 + jump


def test_the_alert_carries_what_was_signalled(bench: Bench) -> None:  # B9.21
    assert bench.event.signal("it broke", key="10.0.0.1", traceback="Traceback: ...")
    assert bench.raised == [
        Alert(1000.0, "filter fault", Severity.ERROR, "monitor", "10.0.0.1", "it broke", "Traceback: ...", 1)
    ]


def test_an_event_may_be_signalled_by_its_name(bench: Bench) -> None:
    assert bench.alerts.signal("filter fault", "it broke")
    assert bench.seen() == [("", "it broke", 1)]


def test_an_event_that_nobody_defined_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="'nothing' is not defined"):
        bench.alerts.signal("nothing", "it broke")
    foreign = Bench().define("foreign")
    with pytest.raises(ValueError, match="'foreign' is not defined"):
        bench.alerts.signal(foreign, "it broke")


def test_within_the_interval_signals_are_counted_and_reported_with_the_next_one(bench: Bench) -> None:  # B9.23, B9.27
    assert bench.event.signal("first")
    bench.clock.now += 1
    assert not bench.event.signal("second")
    bench.clock.now += 58.9
    assert not bench.event.signal("third")
    assert bench.alerts.pending() == 2
    assert bench.seen() == [("", "first", 1)]
    bench.clock.now += 0.1
    assert bench.event.signal("fourth")
    assert bench.seen() == [("", "fourth", 3)]
    assert bench.alerts.pending() == 0
    bench.clock.now += 59
    assert not bench.event.signal("fifth")


def test_keys_and_events_are_limited_each_on_its_own(bench: Bench) -> None:  # B9.26
    other = bench.define("other")
    assert [bench.event.signal("m", key=key) for key in ("a", "b", "a")] == [True, True, False]
    assert other.signal("m", key="a")


def test_a_clock_that_is_set_back_does_not_silence_an_event(bench: Bench) -> None:
    bench.event.signal("first")
    bench.clock.now -= 3600
    assert bench.event.signal("second")


def test_flush_reports_what_is_pending(bench: Bench) -> None:
    for message in ("first", "second", "third"):
        bench.event.signal(message)
    bench.alerts.flush(due_only=True)
    assert bench.seen() == [("", "first", 1)]
    bench.alerts.flush()
    assert bench.seen() == [("", "third", 2)]
    bench.alerts.flush()
    assert bench.seen() == []


def test_the_count_of_a_storm_that_has_ended_is_reported_when_its_interval_is_over(bench: Bench) -> None:
    bench.event.signal("first")
    bench.event.signal("second")
    bench.clock.now += 60
    bench.alerts.flush(due_only=True)
    assert bench.seen() == [("", "first", 1), ("", "second", 1)]
    assert not bench.event.signal("third"), "the flush has begun a new interval"


def test_made_up_keys_cost_a_bounded_number_of_alerts() -> None:  # B9.27
    bench = Bench(max_keys=4)
    for number in range(1000):
        bench.event.signal(f"m{number}", key=f"k{number}")
    assert bench.seen() == [("k0", "m0", 1), ("k1", "m1", 1), ("k2", "m2", 1), ("k3", "m3", 1), (OTHER_KEYS, "m4", 1)]
    assert bench.alerts.pending() == 995
    assert bench.define("another").signal("seen all the same", key="x")


def test_a_key_whose_interval_is_over_makes_room_and_its_count_is_reported() -> None:
    bench = Bench(max_keys=1)
    bench.event.signal("m", key="a")
    bench.event.signal("again", key="a")
    bench.clock.now += 60
    bench.event.signal("m", key="b")
    assert bench.seen() == [("a", "m", 1), ("a", "again", 1), ("b", "m", 1)]


def test_the_table_of_keys_has_room_for_one_at_least() -> None:
    with pytest.raises(ValueError, match="max_keys is 0"):
        Bench(max_keys=0)


def test_a_sink_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(alert: Alert) -> None:
        raise OSError("no mail today")

    raised: list[Alert] = []
    alerts = Alerts(Clock(), [broken, raised.append])
    event = alerts.define("fault", Severity.ERROR, Category.OTHER, source="service")
    with caplog.at_level(logging.ERROR, "fwx.alert"):
        assert event.signal("it broke")
    assert [alert.message for alert in raised] == ["it broke"]
    assert "'fault': it broke" in caplog.text
    assert "no mail today" in caplog.text


def test_a_sink_may_signal() -> None:
    raised: list[str] = []
    alerts = Alerts(Clock(), [lambda alert: raised.append(alert.event), lambda alert: second.signal("and this")])
    first = alerts.define("first", Severity.ERROR, Category.OTHER, source="service")
    second = alerts.define("second", Severity.ERROR, Category.OTHER, source="service")
    first.signal("this")
    assert raised == ["first", "second"]


def test_no_signal_is_lost_between_threads(bench: Bench) -> None:
    start = threading.Barrier(4)

    def storm() -> None:
        start.wait()
        for _ in range(1000):
            bench.event.signal("m")

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.alerts.pending() == 3999
    assert bench.seen() == [("", "m", 1)]
