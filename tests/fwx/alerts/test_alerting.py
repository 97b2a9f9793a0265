"""The alerts of a service as a whole, and what ``fwx alerts`` asks it for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.alerts import performer
from fwx.alerts.alerting import MOST_RECENT, Alerting
from fwx.alerts.control import AlertsControl
from fwx.alerts.definitions import definitions_of
from fwx.commands.alerts import _words, alerts
from fwx.config import load
from fwx.control import ControlError
from fwx.control.server import ControlServer
from fwx.impl.alert import Alert, Category, Severity
from fwx.service_events import EVENTS

TEXT = """
[service]
state_dir = "state"

[[alert]]
name = "page"
event = "Log failure"
severity = "warning"
after_events = 2
again_after_minutes = "reset"
command = ["/bin/page"]

[[alert]]
name = "never"
event = "Limit reached"
additional_key = "k*"
[[filter]]
name = "f"
use = "data-monitor"
"""


class Bench:
    """The alerts of a service whose commands fail, and the clock that the test sets."""

    def __init__(self, folder: Path, text: str, loop: asyncio.AbstractEventLoop) -> None:
        (folder / "fwx.toml").write_text(text)
        (folder / "state").mkdir()
        self.configuration = load(folder / "fwx.toml")
        self.now = 1000.0
        self.written: list[Alert] = []
        self.alerting = Alerting(self.configuration, self.written.append, loop, lambda: self.now)
        self.events = self.alerting.events
        self.control = AlertsControl(self.alerting)

    async def told(self) -> list[Mapping[str, Any]]:
        lines: Any = Lines()
        await self.control.alerts({}, lines)
        assert lines.sent[0] == {"done": {}}
        return list(lines.sent[1:])


class Lines:
    """What would be sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    async def send(self, line: Mapping[str, Any]) -> None:
        self.sent.append(json.loads(json.dumps(line)))


async def settle() -> None:
    """Let the loop do all that can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def failing(*_: object) -> str:
    return "no route"


@pytest.fixture
def with_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(performer, "run_command", failing)

    def run(test: Callable[[Bench], Awaitable[None]], text: str = TEXT) -> None:
        async def whole() -> None:
            bench = Bench(tmp_path, text, asyncio.get_running_loop())
            await test(bench)
            await bench.alerting.close(1.0)

        asyncio.run(whole())

    return run


def test_the_built_in_alerts_stay_in_force_without_a_table(with_bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(3):
            bench.events.log_failure.signal("full\n")
        bench.now += 60
        bench.events.log_failure.signal("full\n")
        assert [(alert.event, alert.count) for alert in bench.written] == [("Log failure", 1), ("Log failure", 3)]
        assert caplog.messages == ["alert: Log failure: full\\n", "alert: Log failure: full\\n (3 times)"]

    with_bench(test, "")


def test_a_failure_of_an_action_is_an_event_once(with_bench: Any) -> None:
    text = (
        TEXT + '[[alert]]\nname = "round"\nevent = "Alert action failure"\ncommand = ["x"]\nagain_after_minutes = 0\n'
    )

    async def test(bench: Bench) -> None:
        for _ in range(3):
            bench.alerting.alerts.reset("page")
            bench.events.log_failure.signal("full")
            bench.events.log_failure.signal("full")
            await settle()
        await bench.alerting.performer.close(10.0)
        assert [alert.name for alert in bench.written] == ["page", "round", "page", "page"]
        (failure,) = [alert for alert in bench.written if alert.name == "round"]
        assert (failure.key, failure.message) == ("page/command", "alert 'page': command failed: no route")

    with_bench(test, text)


def test_what_is_told_of_the_alerts(with_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        for number in range(5):
            bench.events.log_failure.signal(f"full {number}", traceback="Traceback")
        await settle()
        page, never, *others = await bench.told()
        assert page["alert"] == {
            "name": "page", "event": "Log failure", "built_in": False, "defined_by": "fwx", "additional_key": None,
            "severity": "warning", "category": "firewall service", "after_events": 2, "events_per_second": None,
            "again_after_minutes": "reset", "each_key": False, "signals": 5, "raised": 1,
            "last": "1970-01-01T00:16:40Z", "held": 3,
            "actions": [{"action": "command", "done": 0, "failed": 1, "reason": "no route"}],
        }  # fmt: skip
        assert (never["alert"]["defined_by"], never["alert"]["severity"], never["alert"]["last"]) == (None, None, None)
        assert [each["alert"]["name"] for each in others if "alert" in each] == [each.name for each in EVENTS.values()]
        raised = [each["raised"] for each in others if "raised" in each]
        assert [each["name"] for each in raised] == ["page", "Alert action failure"]
        assert raised[0] == {
            "time": "1970-01-01T00:16:40Z", "name": "page", "event": "Log failure", "severity": "warning",
            "source": "fwx", "key": "", "count": 2, "message": "full 1",
        }  # fmt: skip
        assert all(alert.traceback == "" for alert in bench.alerting.recent)

    with_bench(test)


def test_a_bounded_number_of_alerts_is_remembered(with_bench: Any) -> None:  # B9.27
    async def test(bench: Bench) -> None:
        for number in range(2 * MOST_RECENT):
            bench.events.denied(f"192.0.2.{number}", f"m{number}")
        first, *_ = bench.alerting.recent
        assert first.message == f"m{MOST_RECENT}"

    with_bench(test, "")


def test_a_reset_through_the_control_socket(with_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(4):
            bench.events.log_failure.signal("full")
        assert await bench.control.reset({"name": "page"}) == {"name": "page"}
        bench.events.log_failure.signal("full")
        assert bench.events.log_failure.signal("full")
        with pytest.raises(ControlError, match="there is no alert 'pag'; did you mean 'page'"):
            await bench.control.reset({"name": "pag"})

    with_bench(test)


def test_alerts_whose_event_nobody_has_defined_are_named(with_bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        event = bench.alerting.alerts.define("Limit reach", Severity.ERROR, Category.OTHER, source="f")
        bench.alerting.warn_of_unknown_events()
        assert caplog.messages == [
            "alert 'never' cannot be raised: neither the service nor a filter has defined the event 'Limit reached'; "
            "did you mean 'Limit reach'?"
        ]
        event.remove()
        bench.alerting.alerts.define("Limit reached", Severity.ERROR, Category.OTHER, source="f")
        caplog.clear()
        bench.alerting.warn_of_unknown_events()
        assert caplog.messages == []

    with_bench(test)


def test_definitions_are_replaced_and_the_counts_of_those_that_stay_are_kept(with_bench: Any, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.events.log_failure.signal("full")
        bench.events.log_failure.signal("full")
        await settle()
        (tmp_path / "fwx.toml").write_text(TEXT.replace('"never"', '"other"'))
        bench.alerting.put_in_force(definitions_of(load(tmp_path / "fwx.toml")))
        page, other = (await bench.told())[:2]
        assert (page["alert"]["raised"], page["alert"]["actions"][0]["failed"]) == (1, 1)
        assert other["alert"]["name"] == "other"
        bench.alerting.put_in_force(())
        assert all(each["alert"]["built_in"] for each in await bench.told() if "alert" in each)

    with_bench(test)


def test_an_alert_stops_the_service_once(with_bench: Any, caplog: pytest.LogCaptureFixture) -> None:  # B9.18
    stops: list[str] = []

    async def test(bench: Bench) -> None:
        bench.alerting.stop = lambda: stops.append("stop")
        for _ in range(2):
            bench.alerting.alerts.reset("last")
            bench.events.log_failure.signal("full")
            await settle()
        assert (stops, bench.alerting.stopped_by) == (["stop"], "last")
        assert caplog.messages.count("alert 'last' stops the service") == 1

    with_bench(test, '[[alert]]\nname = "last"\nevent = "Log failure"\nstop_service = true\n')


def test_a_service_that_nobody_can_stop_says_so(with_bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        bench.events.log_failure.signal("full")
        await settle()
        assert "is not run by 'fwx serve' and goes on" in caplog.text

    with_bench(test, '[[alert]]\nname = "last"\nevent = "Log failure"\nstop_service = true\n')


def test_the_commands(with_bench: Any, tmp_path: Path) -> None:
    config = ["--config", str(tmp_path / "fwx.toml")]

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(alerts, list(arguments))
        return result.exit_code, result.output

    async def test(bench: Bench) -> None:
        control, state = bench.control, bench.configuration.state_dir
        server = ControlServer(state, {"reset alert": control.reset}, {"alerts": control.alerts})
        server.open()
        await server.start()
        for _ in range(3):
            bench.events.log_failure.signal("full")
        bench.events.filter_fault.signal("it broke\x1b[2J", key="f/Detach")
        await settle()
        try:
            code, told = await asyncio.to_thread(run, *config)
            assert code == 0
            assert told.splitlines()[:3] == [
                "alert 'page' of 'Log failure': warning, raised once, last 1970-01-01T00:16:40Z; signalled 3 times, "
                "1 held back",
                "  command: done never, failed once: no route",
                "alert 'never' of 'Limit reached' for 'k*', which nobody has defined: no severity, raised never; "
                "signalled never",
            ]
            assert "built-in alert 'Log failure': error, raised never; signalled never\n" in told
            assert told.splitlines()[-3:] == [
                "  1970-01-01T00:16:40Z  warning  page: full (2 times)",
                "  1970-01-01T00:16:40Z  error  Filter fault [f/Detach]: it broke\\x1b[2J",
                "  1970-01-01T00:16:40Z  warning  Alert action failure [page/command]: "
                "alert 'page': command failed: no route",
            ]
            code, told = await asyncio.to_thread(run, *config, "--json")
            assert [each["name"] for each in json.loads(told)["alerts"]][:2] == ["page", "never"]
            assert await asyncio.to_thread(run, "reset", *config, "page") == (0, "alert 'page' has been reset\n")
            code, told = await asyncio.to_thread(run, "reset", *config, "pag")
            assert (code, told) == (1, "Error: there is no alert 'pag'; did you mean 'page'?\n")
        finally:
            await server.stop()

    with_bench(test)
    code, told = run(*config)
    assert (code, told.splitlines()[0]) == (
        1, f"Error: no service runs with the state folder {tmp_path}/state"
    )  # fmt: skip
    assert run(*config, "reset", "x")[0] == 2


def test_without_anything_raised() -> None:
    assert list(_words({"alerts": [], "raised": []})) == []
