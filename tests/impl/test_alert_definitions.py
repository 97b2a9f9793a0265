"""What is defined for events: thresholds, keys, replacement and reset, and what a flood may cost (B9.20 to B9.27)."""

from __future__ import annotations

import itertools

import pytest

from fwx.impl.alert import (
    MOST_RAISED,
    MOST_RAISED_OF_ONE,
    OTHER_KEYS,
    Alert,
    Alerts,
    Category,
    EventDefinition,
    EventInUseError,
    Severity,
)
from fwx.impl.alertcount import LONGEST_KEY, LONGEST_MESSAGE, LONGEST_TRACEBACK, MOST_A_SECOND, Allowance, Rate
from fwx.impl.alertdefinition import AlertDefinition


class Bench:
    """Alerts with a clock that the test sets, and a sink that remembers."""

    def __init__(self, *definitions: AlertDefinition, max_keys: int = 256) -> None:
        self.now = 1000.0
        self.raised: list[Alert] = []
        self.alerts = Alerts(lambda: self.now, [self.raised.append], max_keys=max_keys)
        self.alerts.put_in_force(definitions)
        self.event = self.define("Disk full")

    def define(self, name: str, source: str = "monitor") -> EventDefinition:
        return self.alerts.define(name, Severity.ERROR, Category.OTHER, source=source)

    def signal(self, times: int = 1, *, every: float = 0.0, key: str = "", message: str = "m") -> int:
        """Signal the event so often; return how many of them raised an alert."""
        raised = 0
        for _ in range(times):
            raised += self.event.signal(message, key=key)
            self.now += every
        return raised

    def seen(self) -> list[tuple[str, str, int]]:
        seen = [(alert.name, alert.key, alert.count) for alert in self.raised]
        self.raised.clear()
        return seen


def tell(**how: object) -> AlertDefinition:
    """A definition called ``tell`` for the event of the bench."""
    return AlertDefinition("tell", "Disk full", **how)  # type: ignore[arg-type]  what each test writes


# ---- which alerts a signal is for ------------------------------------------------------------------------------------


def test_an_alert_binds_actions_to_an_event() -> None:  # B9.20
    bench = Bench(tell(actions=("page somebody",)))
    bench.signal()
    (alert,) = bench.raised
    assert alert.definition is not None
    assert (alert.name, alert.event, alert.definition.actions) == ("tell", "Disk full", ("page somebody",))


def test_an_event_without_definitions_raises_its_built_in_alert() -> None:
    bench = Bench(AlertDefinition("other", "Another event"))
    bench.signal()
    assert bench.seen() == [("Disk full", "", 1)]


def test_every_definition_of_an_event_gets_its_signals() -> None:
    bench = Bench(tell(), AlertDefinition("and this", "Disk full", after_events=2))
    bench.signal(2)
    assert bench.seen() == [("tell", "", 1), ("and this", "", 2)]


@pytest.mark.parametrize(
    ("wanted", "key", "covered"),
    [
        ("", "anything", True),
        ("", "", True),
        ("2", "2", True),
        ("2", "22", False),
        ("2", "", False),
        ("lists/*", "lists/FilterInit", True),
        ("lists/*", "list", False),
        ("*", "", True),
    ],
)
def test_an_alert_may_be_for_one_kind_of_an_event(wanted: str, key: str, covered: bool) -> None:  # B9.26
    bench = Bench(tell(key=wanted))
    bench.signal(key=key)
    assert bench.seen() == [("tell" if covered else "Disk full", key, 1)]


def test_an_alert_has_its_events_severity_or_its_own() -> None:  # B9.25
    bench = Bench(tell(), AlertDefinition("mild", "Disk full", severity=Severity.INFORMATION))
    bench.signal()
    assert [alert.severity for alert in bench.raised] == [Severity.ERROR, Severity.INFORMATION]


# ---- thresholds ------------------------------------------------------------------------------------------------------


def test_number_of_events_before_it_is_raised() -> None:  # B9.23
    bench = Bench(tell(after_events=3, again_after=0.0))
    assert [bench.signal() for _ in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    assert bench.seen() == [("tell", "", 3), ("tell", "", 3)]
    assert bench.alerts.pending() == 1


@pytest.mark.parametrize(("every", "raised"), [(0.3, 1), (0.34, 0), (0.0, 1)])
def test_events_per_second(every: float, raised: int) -> None:  # B9.23
    bench = Bench(tell(events_per_second=4))
    assert bench.signal(4, every=every) == raised


def test_a_second_may_begin_at_any_signal() -> None:
    bench = Bench(tell(events_per_second=3))
    assert bench.signal(times=2, every=0.9) == 0  # at 0.0 and 0.9
    bench.now -= 0.5
    assert bench.signal() == 0  # at 1.3: two within the second
    bench.now += 0.5
    assert bench.signal() == 1  # at 1.8
    assert bench.seen() == [("tell", "", 4)]


def test_both_thresholds_have_to_be_reached() -> None:
    bench = Bench(tell(after_events=5, events_per_second=2))
    assert bench.signal(4) == 0
    bench.now += 10
    assert bench.signal() == 1, "the rate was reached before"


def test_minutes_before_it_is_raised_again() -> None:  # B9.23
    bench = Bench(tell(again_after=300.0))
    assert bench.signal(10, every=60.0) == 2
    assert bench.seen() == [("tell", "", 1), ("tell", "", 5)]
    bench.now += 60
    bench.alerts.flush(due_only=True)
    assert bench.seen() == [("tell", "", 4)]


def test_again_at_once() -> None:
    bench = Bench(tell(again_after=0.0))
    assert bench.signal(3) == 3


def test_again_when_it_has_been_reset() -> None:  # B9.23
    bench = Bench(tell(again_after=None))
    assert bench.signal(5, every=3600.0) == 1
    bench.alerts.flush()
    assert bench.seen() == [("tell", "", 1)]
    bench.alerts.reset("tell")
    assert bench.alerts.pending() == 0
    assert bench.signal() == 1


def test_a_built_in_alert_can_be_reset_too() -> None:
    bench = Bench()
    assert (bench.signal(key="a"), bench.signal(key="a")) == (1, 0)
    bench.alerts.reset("Disk full")
    assert bench.signal(key="a") == 1
    with pytest.raises(LookupError, match="there is no alert 'tell'"):
        bench.alerts.reset("tell")


def test_all_keys_count_together_unless_each_does() -> None:
    together, each = Bench(tell(after_events=2)), Bench(tell(after_events=2, each_key=True))
    for bench in (together, each):
        bench.signal(key="a")
        bench.signal(key="b")
    assert together.seen() == [("tell", "b", 2)]
    assert each.seen() == []
    each.signal(key="a")
    assert each.seen() == [("tell", "a", 2)]


def test_in_the_end_only_what_is_enough_is_raised() -> None:
    bench = Bench(tell(after_events=3))
    bench.signal(5)
    bench.alerts.flush()
    assert bench.seen() == [("tell", "", 3)]
    bench.signal()
    bench.alerts.flush()
    assert bench.seen() == [("tell", "", 3)]


@pytest.mark.parametrize("back", [0.5, 3600.0])
def test_a_clock_that_is_set_back_silences_nothing(back: float) -> None:
    bench = Bench(tell(events_per_second=2, again_after=60.0))
    assert bench.signal(2) == 1
    bench.now -= back
    assert bench.signal(2) == 1


def test_the_rate_remembers_what_it_needs() -> None:
    rate = Rate(MOST_A_SECOND)
    assert not any(rate.reached(0.0) for _ in range(MOST_A_SECOND - 1))
    assert rate.reached(0.999)
    assert not rate.reached(1.5)


# ---- what a flood may cost -------------------------------------------------------------------------------------------


def test_a_flood_raises_a_bounded_number_of_alerts() -> None:  # B9.27
    bench = Bench(tell(again_after=0.0))
    assert bench.signal(10_000) == MOST_RAISED_OF_ONE
    assert bench.alerts.pending() == 10_000 - MOST_RAISED_OF_ONE
    bench.now += 60.0 / MOST_RAISED_OF_ONE
    bench.alerts.flush(due_only=True)
    assert bench.seen()[MOST_RAISED_OF_ONE:] == [("tell", "", 10_000 - MOST_RAISED_OF_ONE)]


def test_floods_of_many_events_are_bounded_together_and_an_urgent_alert_is_not_held_back() -> None:  # B9.27
    names = [f"flood {number}" for number in range(20)]
    bench = Bench(
        *(AlertDefinition(name, name, again_after=0.0) for name in names),
        tell(urgent=True),
    )
    events = [bench.define(name) for name in names]
    for _, event in itertools.product(range(50), events):
        event.signal("m")
    assert len(bench.raised) == MOST_RAISED
    assert bench.signal() == 1


def test_a_flood_of_one_alert_leaves_room_for_the_others() -> None:
    bench = Bench(tell(again_after=0.0), AlertDefinition("calm", "Other"))
    other = bench.define("Other")
    bench.signal(1000)
    assert other.signal("m")


def test_made_up_keys_are_bounded_for_each_alert_and_leave_the_built_in_ones_alone() -> None:  # B9.27
    bench = Bench(tell(each_key=True, again_after=None), max_keys=2)
    for number in range(100):
        bench.signal(key=f"k{number}")
    assert bench.seen() == [("tell", "k0", 1), ("tell", "k1", 1), ("tell", OTHER_KEYS, 1)]
    other = bench.define("Other")
    assert [other.signal("m", key=key) for key in ("a", "b")] == [True, True]


def test_a_key_that_has_not_raised_anything_makes_room_after_a_minute() -> None:
    bench = Bench(tell(each_key=True, after_events=2), max_keys=1)
    bench.signal(key="a")
    bench.signal(2, key="b")
    assert bench.seen() == [("tell", OTHER_KEYS, 2)]
    bench.now += 60
    bench.signal(2, key="c")
    assert bench.seen() == [("tell", "c", 2)]


def test_what_makes_room_is_recorded_and_nothing_follows_it() -> None:
    bench = Bench(tell(each_key=True, actions=("page",)), max_keys=1)
    bench.signal(3, key="a")
    bench.now += 60
    bench.signal(key="b")
    assert [alert.definition.actions for alert in bench.raised if alert.definition] == [("page",), (), ("page",)]
    assert bench.seen() == [("tell", "a", 1), ("tell", "a", 2), ("tell", "b", 1)]
    assert bench.alerts.counts()[0].raised == 3


def test_long_texts_are_cut() -> None:  # B9.27
    bench = Bench()
    bench.event.signal("m" * 10_000, key="k" * 10_000, traceback="t" * 100_000)
    (alert,) = bench.raised
    assert [len(text) for text in (alert.message, alert.key, alert.traceback)] == [
        LONGEST_MESSAGE,
        LONGEST_KEY,
        LONGEST_TRACEBACK,
    ]


def test_an_allowance_fills_up_in_a_minute() -> None:
    allowance = Allowance(2)
    for _ in range(2):
        assert allowance.is_left(0.0)
        allowance.take()
    assert not allowance.is_left(29.0)
    assert not allowance.is_left(10.0), "a clock that was set back gives nothing"
    assert allowance.is_left(40.0)


# ---- definitions and events come and go ------------------------------------------------------------------------------


def test_an_alert_that_stays_the_same_keeps_its_counts_when_others_change() -> None:
    bench = Bench(tell(after_events=3), AlertDefinition("goes", "Disk full"))
    bench.signal(2)
    bench.alerts.flush()
    bench.seen()
    bench.alerts.put_in_force([AlertDefinition("comes", "Disk full"), tell(after_events=3)])
    bench.signal()
    assert bench.seen() == [("comes", "", 1), ("tell", "", 3)]
    assert [(each.definition.name, each.signals) for each in bench.alerts.counts()] == [
        ("comes", 1),
        ("tell", 3),
        ("Disk full", 0),
    ]


def test_an_alert_that_changes_begins_anew_and_what_it_held_back_is_told_without_its_actions() -> None:
    bench = Bench(tell(actions=("page",)))
    bench.signal(3)
    assert bench.seen() == [("tell", "", 1)]
    bench.alerts.put_in_force([tell(after_events=2)])
    (alert,) = bench.raised
    assert (alert.count, alert.definition and alert.definition.actions) == (2, ())
    assert bench.signal() == 0


def test_two_alerts_of_one_name_are_refused_and_nothing_changes() -> None:
    bench = Bench(tell())
    with pytest.raises(ValueError, match="two alerts are called 'tell'"):
        bench.alerts.put_in_force([tell(), tell(after_events=2)])
    bench.signal()
    assert bench.seen() == [("tell", "", 1)]


def test_an_event_goes_after_the_alerts_that_use_it() -> None:  # B9.22
    bench = Bench(tell())
    with pytest.raises(EventInUseError, match="'Disk full' is used by alert 'tell'; remove the alert first"):
        bench.event.remove()
    assert bench.signal() == 1
    bench.alerts.put_in_force([])
    bench.signal(3)
    bench.seen()
    bench.event.remove()
    assert bench.seen() == [("Disk full", "", 2)], "what was counted is told"
    with pytest.raises(ValueError, match="not defined here"):
        bench.signal()
    assert bench.define("Disk full", "another").source == "another"


def test_an_event_that_two_have_defined_goes_with_the_second() -> None:
    """The old and the new code of a filter, which is reloaded."""
    bench = Bench()
    assert bench.define("Disk full") is bench.event
    bench.event.remove()
    assert bench.signal() == 1
    bench.event.remove()
    with pytest.raises(ValueError, match="not defined here"):
        bench.alerts.event("Disk full")


def test_a_definition_may_wait_for_its_event() -> None:
    bench = Bench(AlertDefinition("early", "Later"))
    assert [each.event for each in bench.alerts.counts()] == [None, bench.event]
    bench.define("Later").signal("m")
    assert bench.seen() == [("early", "", 1)]


def test_a_definition_with_the_name_of_the_event_stands_beside_the_built_in_one() -> None:
    bench = Bench(AlertDefinition("Disk full", "Disk full", key="a", again_after=None))
    for key in ("a", "b", "a"):
        bench.signal(key=key)
    assert [(each.is_built_in, each.signals) for each in bench.alerts.counts()] == [(False, 2), (True, 1)]
    bench.alerts.reset("Disk full")
    assert [bench.signal(key=key) for key in ("a", "b")] == [1, 1]


def test_the_counts_say_what_became_of_the_signals() -> None:
    bench = Bench(tell())
    bench.signal(5, every=1.0)
    counts = bench.alerts.counts()[0]
    assert (counts.signals, counts.raised, counts.last, counts.held) == (5, 1, 1000.0, 4)
    assert not counts.is_built_in
