"""From ``[[alert]]`` tables to definitions, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwx.alert_events import EVENTS_ATTRIBUTE
from fwx.alerts.actions import CommandAction, LogAction, MailAction, StopAction
from fwx.alerts.definitions import definitions_of
from fwx.commands.check import check
from fwx.config import ConfigurationError, load
from fwx.filter_loader import installed_filters, load_filter_class
from fwx.impl.alert import Category, Severity
from fwx.impl.alertcount import MOST_A_SECOND
from fwx.impl.alertdefinition import AlertDefinition
from fwx.interfaces import SocketAddress

MAIL = 'mail = {{ to = [{to}], from = "a@b.org", server = "m:25"{more} }}'
ALERT = '[[alert]]\nname = "a"\nevent = "Log failure"\n'


def defined(folder: Path, text: str) -> tuple[AlertDefinition, ...]:
    (folder / "fwx.toml").write_text('[service]\nname = "fw1"\n' + text)
    return definitions_of(load(folder / "fwx.toml"))


def problems(folder: Path, text: str) -> list[str]:
    (folder / "fwx.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(folder / "fwx.toml")
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in caught.value.problems]


def checked(folder: Path, text: str, *options: str) -> tuple[int, str]:
    (folder / "fwx.toml").write_text(text)
    result = CliRunner().invoke(check, [str(folder / "fwx.toml"), *options])
    return result.exit_code, result.output.replace(f"{folder}/", "")


def test_what_is_not_written(tmp_path: Path) -> None:
    assert defined(tmp_path, "") == ()
    assert defined(tmp_path, ALERT) == (AlertDefinition("a", "Log failure"),)


def test_every_key(tmp_path: Path) -> None:  # B9.23, B9.24, B9.25, B9.26
    (tmp_path / "secret").write_text("correct horse\n")
    (tmp_path / "secret").chmod(0o600)
    (found,) = defined(
        tmp_path,
        ALERT + 'additional_key = "k*"\nseverity = "information"\ncategory = "load balancing"\nafter_events = 3\n'
        "events_per_second = 7\nagain_after_minutes = 0.5\neach_key = true\nlog = true\n"
        'command = ["page", "ops"]\ncommand_seconds = 5\nstop_service = true\nserver = "fw1"\n'
        '[alert.mail]\nto = ["ops@example.org"]\nfrom = "fwx@example.org"\nserver = "mail.example.org:25"\n'
        'start_tls = true\nca = "ca.pem"\nuser = "fwx"\npassword_file = "secret"\nseconds = 9\n',
    )
    server = SocketAddress("mail.example.org", 25)
    mail = MailAction(
        ("ops@example.org",), "fwx@example.org", server, 9.0, True, tmp_path / "ca.pem", "fwx", tmp_path / "secret",
        "correct horse",
    )  # fmt: skip
    assert found == AlertDefinition(
        "a", "Log failure", "k*", Severity.INFORMATION, Category.LOAD_BALANCING, 3, 7, 30.0, True, urgent=True,
        actions=(LogAction(), CommandAction(("page", "ops"), 5.0), mail, StopAction()),
    )  # fmt: skip


@pytest.mark.parametrize(("written", "seconds"), [("0", 0.0), ("2.5", 150.0), ('"reset"', None)])
def test_when_again(tmp_path: Path, written: str, seconds: float | None) -> None:
    assert defined(tmp_path, ALERT + f"again_after_minutes = {written}\n")[0].again_after == seconds


@pytest.mark.parametrize("line", ["enabled = false", 'server = "fw2"'])
def test_what_is_not_in_force_here(tmp_path: Path, line: str) -> None:  # B9.26
    """Neither its password nor its command has to be there."""
    mail = MAIL.format(to='"a@b.org"', more=', start_tls = true, user = "u", password_file = "none"')
    assert defined(tmp_path, f'{ALERT}{line}\n{mail}\ncommand = ["/nowhere/page"]\n') == ()
    assert checked(tmp_path, (tmp_path / "fwx.toml").read_text(), "--deep")[0] == 0


def test_a_password_that_cannot_be_read(tmp_path: Path) -> None:
    mail = 'mail = { to = ["a@b.org"], from = "a@b.org", server = "m:25", start_tls = true, user = "u", '
    with pytest.raises(ConfigurationError) as caught:
        defined(tmp_path, ALERT + mail + 'password_file = "secret" }\n')
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (6, "alert.mail.password_file")


def test_a_password_that_cannot_be_read_any_more_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when root has read it at the start, and the configuration changes."""
    text = ALERT + MAIL.format(to='"a@b.org"', more=', start_tls = true, user = "u", password_file = "secret"')
    (tmp_path / "secret").write_text("first\n")
    (tmp_path / "secret").chmod(0o600)
    before = defined(tmp_path, text)
    (tmp_path / "secret").write_text("second\n")
    configuration = load(tmp_path / "fwx.toml")
    assert definitions_of(configuration, before)[0].actions[0].password == "second"
    monkeypatch.setattr("fwx.alerts.definitions.is_closed", lambda file: file == tmp_path / "secret")
    assert definitions_of(configuration, before) == before
    assert definitions_of(configuration)[0].actions[0].password == "second"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("after_events = 0", "after_events: 0 is out of range"),
        (f"events_per_second = {MOST_A_SECOND + 1}", f"events_per_second: {MOST_A_SECOND + 1} is out of range"),
        ("again_after_minutes = -1", "again_after_minutes: -1 is out of range; expected a number of minutes from 0 up"),
        ("again_after_minutes = inf", "again_after_minutes: inf is out of range"),
        ("again_after_minutes = true", "again_after_minutes: true is no number of minutes"),
        ("again_after_minutes = 'never'", "again_after_minutes: 'never' is no number of minutes"),
        ('severity = "eror"', "severity: 'eror' is not known; expected 'error', 'warning' or 'information'; did you"),
        ("command = []", "command: is empty; expected a program and its arguments"),
        ('command = ["", "x"]', "command: ['', 'x'] begins with no program"),
        ('command = ["x", "\\u0000"]', "has a NUL in it"),
        ('command = "page ops"', "command: 'page ops' is a string, not an array"),
        ("command_seconds = 1", "command_seconds: 1 is of no use without command"),
        (MAIL.format(to="", more=""), "mail.to: is empty"),
        (MAIL.format(to='"a@b.org", "a@b.org"', more=""), "names 'a@b.org' twice"),
        (MAIL.format(to='"a b@c.org"', more=""), "mail.to: 'a b@c.org' is not a mail address"),
        (MAIL.format(to='"a@b.org\\r\\nBcc: c"', more=""), "is not a mail address"),
        (MAIL.format(to='"<a@b.org>"', more=""), "is not a mail address"),
        (MAIL.format(to='"a@b..org"', more=""), "is not a DNS name"),
        (
            MAIL.format(to='"a@b.org"', more=', user = "u", password_file = "f"'),
            "mail.user: 'u' needs start_tls = true",
        ),
        (MAIL.format(to='"a@b.org"', more=', ca = "c"'), "mail.ca: 'c' is of no use without start_tls"),
        (MAIL.format(to='"a@b.org"', more=', start_tls = true, user = "u"'), "mail.password_file: is missing; user"),
        (MAIL.format(to='"a@b.org"', more=', password_file = "f"'), "mail.password_file: 'f' is written without user"),
    ],
)
def test_bad_values(tmp_path: Path, line: str, told: str) -> None:
    found = problems(tmp_path, ALERT + line + "\n")
    assert any(each.startswith("4: alert.") and told in each for each in found), found


# ---- events that there are not ---------------------------------------------------------------------------------------


def test_an_event_that_is_neither_built_in_nor_a_filters(tmp_path: Path) -> None:
    assert problems(tmp_path, '[[alert]]\nname = "a"\nevent = "Log failur"\n') == [
        "3: alert.event: unknown event 'Log failur'; did you mean 'Log failure'?"
    ]
    assert problems(tmp_path, '[[alert]]\nname = "a"\nevent = "zzz"\n') == [
        "3: alert.event: unknown event 'zzz'; expected a built-in one, as no [[filter]] defines another"
    ]


def test_names_that_are_no_names(tmp_path: Path) -> None:
    found = problems(tmp_path, '[[alert]]\nname = ["a"]\nevent = ["b"]\n')
    assert [each.partition(";")[0] for each in found] == [
        "2: alert.name: ['a'] is an array, not a string",
        "3: alert.event: ['b'] is an array, not a string",
    ]


def test_the_name_of_a_built_in_alert_is_for_its_event_alone(tmp_path: Path) -> None:
    assert problems(tmp_path, '[[alert]]\nname = "Filter fault"\nevent = "Log failure"\n') == [
        "2: alert.name: 'Filter fault' is the built-in alert of the event of that name; expected another name"
    ]
    assert [each.name for each in defined(tmp_path, ALERT.replace('"a"', '"Log failure"'))] == ["Log failure"]
    assert "5: alert.name: 'a' is already the name of a [[alert]] in line 2; expected another name" in problems(
        tmp_path, ALERT + ALERT
    )


FILTER = '[[filter]]\nname = "f"\nuse = "{use}"\n[[alert]]\nname = "a"\nevent = "{event}"\n'
FILTER += '[[rule]]\nname = "r"\naction = "deny"\nprotocols = ["any"]\nfrom = ["any"]\nto = ["any"]\n'


def test_an_event_that_a_filter_declares(tmp_path: Path) -> None:  # B9.22
    assert checked(tmp_path, FILTER.format(use="data-monitor", event="Pattern found in data")) == (
        0, "fwx.toml: ok: 1 listener, 1 rule, 1 filter, 0 networks, 0 protocols, 0 users\n"
    )  # fmt: skip


def test_an_event_that_no_filter_declares(tmp_path: Path) -> None:
    code, told = checked(tmp_path, FILTER.format(use="data-monitor", event="Patern found in data"))
    assert (code, told) == (
        1, "fwx.toml:6: alert.event: unknown event 'Patern found in data'; did you mean 'Pattern found in data'?\n"
    )  # fmt: skip
    code, told = checked(tmp_path, FILTER.format(use="data-monitor", event="zzz"))
    assert "unknown event 'zzz'; expected a built-in one or one of Pattern found in data" in told


def test_a_filter_that_declares_nothing_may_define_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(load_filter_class("data-monitor"), EVENTS_ATTRIBUTE)
    code, told = checked(tmp_path, FILTER.format(use="data-monitor", event="Log failur"))
    assert code == 0
    assert told.splitlines()[1] == (
        "fwx.toml:6: alert.event: warning: no event 'Log failur' is known; it cannot be raised unless 'f' defines it; "
        "did you mean 'Log failure'?"
    )


def test_a_filter_that_cannot_be_loaded_is_the_only_fault(tmp_path: Path) -> None:
    code, told = checked(tmp_path, FILTER.format(use="no_such_module:Filter", event="zzz"))
    assert (code, len(told.splitlines())) == (1, 1)
    assert "filter.use" in told


SHIPPED = [each.name for each in installed_filters() if each.value.startswith("fwx.filters.")]


@pytest.mark.parametrize("name", SHIPPED)
def test_filters_that_ship_declare_the_events_that_they_define(name: str, source_tree: Path) -> None:
    filter_class = load_filter_class(name)
    module = source_tree / Path(*filter_class.__module__.split("."))
    files = module.parent.glob("*.py") if module.parent.name != "filters" else [module.with_suffix(".py")]
    texts = "".join(file.read_text() for file in files)
    defines = re.findall(r'sdk\.define_event\(\w+, "([^"]+)"', texts)
    assert sorted(getattr(filter_class, EVENTS_ATTRIBUTE)) == sorted(defines)
    assert len(defines) == texts.count("define_event(")
