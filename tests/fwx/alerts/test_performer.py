"""What follows alerts: one at a time, bounded, reported once where it fails, and nothing left at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fwx.alerts import performer as module
from fwx.alerts.actions import Action, CommandAction, LogAction, MailAction, StopAction
from fwx.alerts.performer import MOST_COMMANDS, ActionCounts, Performer
from fwx.impl.alert import Alert, Severity
from fwx.impl.alertdefinition import AlertDefinition
from fwx.interfaces import SocketAddress

COMMAND = CommandAction(("/bin/page", "ops"), 30.0)
MAIL = MailAction(("ops@example.org",), "fwx@example.org", SocketAddress("127.0.0.1", 25), 30.0)


class Command:
    """One that runs until the test ends it."""

    def __init__(self, argv: Sequence[str], variables: Mapping[str, str], message: str, seconds: float) -> None:
        self.argv, self.variables, self.message, self.seconds = argv, variables, message, seconds
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.was_called_off = False


class Bench:
    """A performer whose commands are those of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[Command] = []
        self.failures: list[tuple[str, str]] = []
        self.stopped: list[str] = []
        monkeypatch.setattr(module, "run_command", self._run)
        self.performer = Performer(
            "fw1", asyncio.get_running_loop(), self.stopped.append, lambda *words: self.failures.append(words)
        )
        self.performer.own_event = "Alert action failure"

    async def _run(self, *how: Any) -> str:
        command = Command(*how)
        self.commands.append(command)
        try:
            return await command.outcome
        except asyncio.CancelledError:
            command.was_called_off = True
            raise

    async def raises(self, *actions: Action, name: str = "tell", event: str = "Log failure", count: int = 1) -> None:
        definition = AlertDefinition(name, event, actions=actions)
        self.performer(Alert(0.0, event, Severity.ERROR, "fwx", "", f"{name} {count}", "", count, definition))
        await settle()

    def counts(self, *actions: Action, name: str = "tell") -> list[ActionCounts]:
        return self.performer.counts(AlertDefinition(name, "Log failure", actions=actions))


async def settle() -> None:
    """Let the loop do all that can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def on_loop(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Bench], Any]], None]:
    """Run a test's coroutine function with a bench, which is closed after it."""

    def run(test: Callable[[Bench], Any]) -> None:
        async def whole() -> None:
            bench = Bench(monkeypatch)
            try:
                await test(bench)
            finally:
                await bench.performer.close(0.0)

        asyncio.run(whole())

    return run


def test_a_command_gets_what_the_alert_says(on_loop: Any) -> None:  # B9.24
    async def test(bench: Bench) -> None:
        await bench.raises(COMMAND)
        (command,) = bench.commands
        assert (command.argv, command.message, command.seconds) == (("/bin/page", "ops"), "tell 1", 30.0)
        assert command.variables["FWX_ALERT_NAME"] == "tell"
        assert command.variables["FWX_ALERT_SERVER"] == "fw1"
        assert bench.counts(COMMAND) == [("command", 0, 0, "")]
        command.outcome.set_result("")
        await settle()
        assert bench.counts(COMMAND) == [("command", 1, 0, "")]

    on_loop(test)


def test_what_is_raised_meanwhile_waits_as_one(on_loop: Any) -> None:  # B9.27
    async def test(bench: Bench) -> None:
        for count in (1, 2, 3, 4):
            await bench.raises(COMMAND, count=count)
        assert len(bench.commands) == 1
        bench.commands[0].outcome.set_result("")
        await settle()
        assert [(each.message, each.variables["FWX_ALERT_COUNT"]) for each in bench.commands] == [
            ("tell 1", "1"),
            ("tell 4", "9"),
        ]

    on_loop(test)


def test_so_many_commands_run_at_a_time(on_loop: Any) -> None:  # B9.27
    async def test(bench: Bench) -> None:
        for number in range(MOST_COMMANDS + 3):
            await bench.raises(COMMAND, name=f"tell {number}")
        assert len(bench.commands) == MOST_COMMANDS
        bench.commands[0].outcome.set_result("")
        await settle()
        assert len(bench.commands) == MOST_COMMANDS + 1

    on_loop(test)


def test_a_failure_is_reported_once_and_so_is_its_end(on_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        for failure in ("no route", "no route", "something else", "", "no route"):
            await bench.raises(COMMAND)
            bench.commands[-1].outcome.set_result(failure)
            await settle()
        words = "alert 'tell': command failed: no route"
        assert bench.failures == [(words, "tell/command"), (words, "tell/command")]
        assert bench.counts(COMMAND) == [("command", 1, 4, "no route")]
        lines = [record.message for record in caplog.records if record.name == "fwx.alert"]
        assert lines == [words, "alert 'tell': command works again", words]

    on_loop(test)


def test_the_failure_of_what_follows_a_failure_is_no_event(on_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Else it would go round."""

    async def test(bench: Bench) -> None:
        await bench.raises(COMMAND, event="Alert action failure")
        bench.commands[0].outcome.set_result("no route")
        await settle()
        assert bench.failures == []
        assert "alert 'tell': command failed: no route" in caplog.text

    on_loop(test)


def test_an_alert_of_another_thread_and_a_line_in_the_system_log(on_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B9.24: a line in the system's log."""

    written: list[tuple[Severity, str, int]] = []

    def write(severity: Severity, text: str) -> str:
        written.append((severity, text, threading.get_ident()))
        return ""

    monkeypatch.setattr(module, "write_line", write)

    async def test(bench: Bench) -> None:
        definition = AlertDefinition("a", "e", actions=(LogAction(),))
        alert = Alert(0.0, "e", Severity.ERROR, "fwx", "", "m", definition=definition)
        await asyncio.to_thread(bench.performer, alert)
        await settle()
        assert written == [(Severity.ERROR, "alert: a: e: m", threading.get_ident())]

    on_loop(test)


def test_the_service_is_stopped_after_everything_else_has_begun(on_loop: Any) -> None:  # B9.18, B9.24
    async def test(bench: Bench) -> None:
        await bench.raises(StopAction(), COMMAND)
        assert (bench.stopped, len(bench.commands)) == (["tell"], 1)

    on_loop(test)


def test_an_alert_without_actions_costs_nothing(on_loop: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.raises()
        bench.performer(Alert(0.0, "e", Severity.ERROR, "fwx", "", "m"))
        await settle()
        assert bench.commands == []

    on_loop(test)


def test_in_the_end_what_was_raised_is_done(on_loop: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.raises(COMMAND)
        await bench.raises(COMMAND, count=2)
        closing = asyncio.create_task(bench.performer.close(60.0))
        for place in (0, 1):
            await settle()
            bench.commands[place].outcome.set_result("")
        await closing
        assert bench.counts(COMMAND) == [("command", 2, 0, "")]
        await bench.raises(COMMAND)
        assert len(bench.commands) == 2, "nothing follows any more"

    on_loop(test)


def test_in_the_end_what_takes_too_long_is_called_off(on_loop: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.raises(COMMAND)
        await bench.performer.close(0.0)
        assert bench.commands[0].was_called_off

    on_loop(test)


def test_what_was_raised_just_before_the_end_is_done(on_loop: Any) -> None:
    async def test(bench: Bench) -> None:
        definition = AlertDefinition("tell", "e", actions=(COMMAND,))
        bench.performer(Alert(0.0, "e", Severity.ERROR, "fwx", "", "m", definition=definition))
        await bench.performer.close(0.0)
        assert len(bench.commands) == 1

    on_loop(test)


def test_what_is_no_longer_defined_is_forgotten_when_it_has_ended(on_loop: Any) -> None:
    async def test(bench: Bench) -> None:
        stays = AlertDefinition("stays", "Log failure", actions=(COMMAND,))
        for name in ("stays", "goes", "runs"):
            await bench.raises(COMMAND, name=name)
        await bench.raises(COMMAND, name="runs")
        for command in bench.commands[:2]:
            command.outcome.set_result("")
        await settle()
        bench.performer.keep([stays])
        assert bench.counts(COMMAND, name="stays") == [("command", 1, 0, "")]
        assert bench.counts(COMMAND, name="goes") == [("command", 0, 0, "")]
        bench.commands[2].outcome.set_result("")
        await settle()
        assert len(bench.commands) == 3, "what waited is not done"
        assert bench.counts(COMMAND, name="runs") == [("command", 0, 0, "")]

    on_loop(test)


class QuickDelivery:
    """A mail that is delivered, or not, as soon as it is sent."""

    outcomes: ClassVar[list[str]] = []
    subjects: ClassVar[list[str]] = []

    def __init__(self, action: MailAction, message: EmailMessage) -> None:
        self.subjects.append(message["Subject"])

    def run(self) -> str:
        return self.outcomes.pop()

    def abort(self) -> None:
        """There is nothing under way."""


def test_a_mail_is_sent_and_what_became_of_it_is_told(on_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # B9.24
    monkeypatch.setattr(module, "Delivery", QuickDelivery)
    monkeypatch.setattr(QuickDelivery, "outcomes", ["550 no", ""])
    monkeypatch.setattr(QuickDelivery, "subjects", [])

    async def test(bench: Bench) -> None:
        await bench.raises(MAIL)
        await bench.raises(MAIL, count=2)
        await bench.performer.close(10.0)
        assert len(QuickDelivery.subjects) == 2
        assert all("fw1" in subject and "tell" in subject for subject in QuickDelivery.subjects)
        assert bench.counts(MAIL) == [("mail", 1, 1, "550 no")]
        assert bench.failures == [("alert 'tell': mail failed: 550 no", "tell/mail")]

    on_loop(test)


class SlowDelivery:
    """A mail that is under way until it is aborted."""

    made: ClassVar[list[SlowDelivery]] = []

    def __init__(self, action: MailAction, message: object) -> None:
        self._aborted = threading.Event()
        self.made.append(self)

    def run(self) -> str:
        return "aborted" if self._aborted.wait(10) else "not aborted"

    def abort(self) -> None:
        self._aborted.set()


def test_a_mail_has_its_time(on_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Delivery", SlowDelivery)

    async def test(bench: Bench) -> None:
        await bench.raises(replace(MAIL, seconds=0.05))
        await bench.performer.close(10.0)
        assert bench.failures[0][0].endswith("mail server 127.0.0.1:25 has not taken it after 0.05 s")

    on_loop(test)


def test_a_mail_that_is_under_way_at_the_end_is_called_off(on_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Delivery", SlowDelivery)

    async def test(bench: Bench) -> None:
        await bench.raises(MAIL)
        await bench.performer.close(0.0)
        assert SlowDelivery.made[-1].run() == "aborted"

    on_loop(test)


def test_a_command_that_is_real(on_loop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = module.run_command

    async def test(bench: Bench) -> None:
        monkeypatch.setattr(module, "run_command", real)
        script = f"cat > {tmp_path}/page; echo $FWX_ALERT_EVENT >> {tmp_path}/page"
        await bench.raises(CommandAction(("/bin/sh", "-c", script), 10.0))
        await bench.performer.close(10.0)
        assert (tmp_path / "page").read_text() == "tell 1\nLog failure\n"

    on_loop(test)
