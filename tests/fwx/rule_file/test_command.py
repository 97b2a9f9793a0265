"""``fwx rule``: what it does to a file, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fwx.cli import main
from fwx.commands import rule as command
from fwx.control import ControlError
from fwx.rule_file.layout import RuleLayout

TEXT = """\
# The branch office.

[[network]]
name = "internal"
ranges = ["10.1.0.0/16"]

[[filter]]
name = "monitor"
use = "data-monitor"

# Staff, at any time.
[[rule]]
name = "staff"
action = "allow"
protocols = ["HTTP", "HTTPS"]  # and no other
from = ["internal"]
to = ["external"]
filters = ["monitor"]

# ---- the rest ----

[[rule]]
name = "ban"
action = "deny"
protocols = ["Telnet"]
from = ["internal"]
to = ["any"]
log = false

[log]
sqlite = "log.db"

[[rule]]
name = "dns"
enabled = false  # until June
action = "allow"
protocols = ["DNS"]
from = ["internal"]
to = ["any"]
source_ports = ["1024-65535", "53"]
"""
NEW = ("add", "guests", "--allow", "--protocols", "SMTP,POP3", "--from", "internal", "--to", "external")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fwx.toml"
    path.write_text(TEXT)
    return path


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["rule", *arguments, "--config", str(file)], catch_exceptions=False)


def done(file: Path, *arguments: str) -> str:
    result = run(file, *arguments)
    assert result.exit_code == 0, result.output
    return result.output.replace(str(file), "fwx.toml")


def refused(file: Path, *arguments: str, code: int = 1) -> str:
    """Run what is refused; the file is what it was."""
    before = file.read_bytes()
    result = run(file, *arguments)
    assert result.exit_code == code, result.output
    assert file.read_bytes() == before
    return " ".join(result.output.replace(str(file), "fwx.toml").split())


def rules(file: Path) -> list[Any]:
    found: list[Any] = tomllib.loads(file.read_text())["rule"]
    return found


def names(file: Path) -> list[str]:
    return [rule["name"] for rule in rules(file)]


# ---- list ------------------------------------------------------------------------------------------------------------


def test_system_rules_are_listed_first(file: Path) -> None:
    """B7.2: as they are tried, wherever they stand."""
    table = TEXT[TEXT.index("[[rule]]") :].partition("\n\n")[0]
    system = (
        table.replace("[[rule]]", "[[system_rule]]").replace("staff", "self").replace('["external"]', '["localhost"]')
    )
    file.write_text(TEXT + system + "\n")
    first, second, *_ = json.loads(done(file, "list", "--json"))
    assert (first["order"], first["name"], first["system"]) == (1, "self", True)
    assert (second["order"], second["name"], second["system"]) == (2, "staff", False)
    assert f"1. 'self' (line {first['line']}, system rule): " in done(file, "list")
    assert file.read_text().splitlines()[first["line"] - 1] == "[[system_rule]]"


def test_list(file: Path) -> None:
    """B7.5: the last rule is built in."""
    assert done(file, "list").splitlines() == [
        "1. 'staff' (line 12): allow HTTP, HTTPS from internal to external; filters monitor",
        "2. 'ban' (line 22, not logged): deny Telnet from internal to any",
        "3. 'dns' (line 33, disabled): allow DNS from internal to any; source ports 1024-65535, 53",
        "4. 'Default rule' (built in): deny any from any, localhost to any, localhost",
    ]
    documents = json.loads(done(file, "list", "--json"))
    assert [(each["order"], each["line"], each["name"], each["enabled"]) for each in documents] == [
        (1, 12, "staff", True),
        (2, 22, "ban", True),
        (3, 33, "dns", False),
        (4, None, "Default rule", True),
    ]
    assert (documents[0]["from"], documents[0]["to"], documents[2]["source_ports"]) == (
        ["internal"],
        ["external"],
        ["1024-65535", "53"],
    )


def test_list_without_rules(file: Path) -> None:
    file.write_text("")
    assert done(file, "list") == "no rules: this machine itself is allowed everything, and nobody else\n"
    assert json.loads(done(file, "list", "--json")) == []


# ---- add -------------------------------------------------------------------------------------------------------------


def test_add_behind_all_others(file: Path) -> None:
    assert done(file, *NEW) == "fwx.toml:42: rule 'guests' added\n"
    assert file.read_text() == TEXT + (
        '\n[[rule]]\nname = "guests"\naction = "allow"\nprotocols = ["SMTP", "POP3"]\nfrom = ["internal"]\n'
        'to = ["external"]\n'
    )


@pytest.mark.parametrize(
    ("place", "order"),
    [
        (("--first",), ["guests", "staff", "ban", "dns"]),
        (("--before", "ban"), ["staff", "guests", "ban", "dns"]),
        (("--after", "ban"), ["staff", "ban", "guests", "dns"]),
        (("--before", "Default rule"), ["staff", "ban", "dns", "guests"]),
    ],
)
def test_add_in_a_place(file: Path, place: tuple[str, ...], order: list[str]) -> None:
    said = done(file, *NEW, *place)
    assert names(file) == order
    line = int(said.split(":")[1])
    assert file.read_text().splitlines()[line - 1 : line + 1] == ["[[rule]]", 'name = "guests"']
    new = {'protocols = ["SMTP", "POP3"]', 'name = "guests"'}
    assert set(file.read_text().splitlines()) - set(TEXT.splitlines()) == new
    assert set(TEXT.splitlines()) <= set(file.read_text().splitlines())


def test_add_with_everything(file: Path) -> None:
    """Every option is a key; what has no option goes by --set."""
    with file.open("a") as text:
        text.write('[[schedule]]\nname = "work"\n[[upstream]]\nname = "up"\nkind = "http"\naddress = "10.1.0.1:1"\n')
        text.write('[[user]]\nname = "al"\ngroups = ["crew"]\npassword = "$argon2id$v=19$m=65536,t=3,p=4$..."\n')
    options = ("--users", "al", "--groups", "crew", "--schedule", "work", "--filters", "monitor", "--upstream", "up")
    more = (
        "--no-log",
        "--shadow",
        "--disabled",
        "--source-ports",
        "1-9,53",
        "--set",
        "limits={connections_per_user=5}",
    )
    said = done(file, *NEW, *options, *more, "--to", "any", "--comment", "For guests,\nnot for us.", "--after", "staff")
    assert said == "fwx.toml:22: rule 'guests' added\n"
    assert file.read_text().splitlines()[19:39] == [
        "# For guests,",
        "# not for us.",
        "[[rule]]",
        'name = "guests"',
        'action = "allow"',
        'protocols = ["SMTP", "POP3"]',
        'from = ["internal"]',
        'to = ["external", "any"]',
        'users = ["al"]',
        'groups = ["crew"]',
        'source_ports = ["1-9", "53"]',
        'schedule = "work"',
        'filters = ["monitor"]',
        'upstream = "up"',
        "log = false",
        "shadow = true",
        "enabled = false",
        "limits = {connections_per_user=5}",
        "",
        "# ---- the rest ----",
    ]


def test_the_first_rule_ends_the_embedded_policy(file: Path) -> None:
    file.write_text('[[network]]\nname = "internal"\nranges = ["10.1.0.0/16"]')
    said = done(file, *NEW)
    assert said.startswith(
        "fwx.toml:5: rule 'guests' added; it is the first one: what no rule allows is denied from now"
    )
    assert file.read_text().startswith('[[network]]\nname = "internal"\nranges = ["10.1.0.0/16"]\n\n[[rule]]\n')
    assert file.read_text().endswith('to = ["external"]')
    said = done(file, "remove", "guests")
    assert said.startswith("fwx.toml:5: rule 'guests' removed; it was the last one: without a rule this machine itself")


def test_names_are_written_as_toml_wants_them(file: Path) -> None:
    done(file, "add", 'say "hi" \\ é', *NEW[2:])
    assert names(file)[-1] == 'say "hi" \\ é'
    with file.open("a") as text:
        text.write('[[network]]\nname = "a, b"\nranges = ["10.9.0.0/16"]\n')
    done(file, "add", "other", *NEW[2:5], "--set", 'from = ["a, b"]', "--to", "external")
    assert rules(file)[-1]["from"] == ["a, b"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*NEW[:2], *NEW[3:]), 2, "one of --allow and --deny is needed"),
        (NEW[:3], 2, "--protocols, --from, --to needed"),
        ((*NEW, "--first", "--last"), 2, "a rule has one place"),
        ((*NEW, "--set", "colour"), 2, "'colour' is no key with a value of TOML"),
        ((*NEW, "--set", "a=1\nb=2"), 2, "is no key with a value of TOML"),
        ((*NEW, "--set", "a=["), 2, "is no key with a value of TOML"),
        ((*NEW, "--set", "log=true", "--no-log"), 2, "--set has log, which an option says already"),
        ((*NEW, "--set", "log=true", "--set", "log=false"), 2, "--set has one key twice"),
        ((*NEW, "--set", 'colour="blue"'), 1, "nothing has been written: fwx.toml:48: rule.colour: "),
        ((*NEW, "--users", "nobody"), 1, "nothing has been written: fwx.toml:48: rule.users: "),
        (("add", "staff", *NEW[2:]), 1, "nothing has been written: fwx.toml:43: rule.name: "),
        (("add", "Default rule", *NEW[2:]), 1, "nothing has been written: fwx.toml:43: rule.name: "),
        (("add", "", *NEW[2:]), 1, "nothing has been written: fwx.toml:43: rule.name: "),
        (("add", "a\nb", *NEW[2:]), 2, "'a\\nb' has control characters in it"),
        (("add", "a\x7f", *NEW[2:]), 2, "'a\\x7f' has control characters in it"),
        ((*NEW, "--users", "\udcff"), 2, "has control characters in it"),
        ((*NEW, "--comment", "a\x01"), 2, "the comment has control characters in it"),
        ((*NEW, "--after", "Default rule"), 1, "'Default rule', is built in: none stands after it"),
        ((*NEW, "--after", "stuff"), 1, "fwx.toml has no rule 'stuff'; did you mean 'staff'?"),
        ((*NEW, "--before", "zzz"), 1, "has no rule 'zzz'; 'fwx rule list' has them all"),
    ],
)
def test_what_add_refuses(file: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert words in refused(file, *arguments, code=code)


# ---- move, remove, disable, enable -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (("staff", "--last"), ["ban", "dns", "staff"]),
        (("staff", "--after", "ban"), ["ban", "staff", "dns"]),
        (("dns", "--first"), ["dns", "staff", "ban"]),
        (("dns", "--before", "ban"), ["staff", "dns", "ban"]),
        (("staff", "--before", "Default rule"), ["ban", "dns", "staff"]),
    ],
)
def test_move(file: Path, arguments: tuple[str, ...], order: list[str]) -> None:
    data = {rule["name"]: rule for rule in rules(file)}
    line = {"staff": 12, "dns": 33}[arguments[0]]
    said = done(file, "move", *arguments)
    assert names(file) == order
    assert [data[name] for name in order] == rules(file)
    assert said.endswith(f"rule {arguments[0]!r} moved here from line {line}\n")
    assert sorted(filter(None, file.read_text().splitlines())) == sorted(filter(None, TEXT.splitlines()))
    text = file.read_text()
    assert '# Staff, at any time.\n[[rule]]\nname = "staff"\n' in text
    assert "enabled = false  # until June\n" in text


def test_a_move_to_where_it_is(file: Path) -> None:
    assert done(file, "move", "staff", "--first") == "fwx.toml:12: rule 'staff' stands there already\n"
    assert done(file, "move", "ban", "--after", "staff") == "fwx.toml:22: rule 'ban' stands there already\n"
    assert file.read_text() == TEXT


def test_remove(file: Path) -> None:
    assert done(file, "remove", "staff") == "fwx.toml:12: rule 'staff' removed\n"
    head, _, rest = TEXT.partition("# Staff, at any time.\n")
    assert file.read_text() == head + "# ---- the rest ----" + rest.partition("# ---- the rest ----")[2]


def test_disable_and_enable(file: Path) -> None:
    assert done(file, "disable", "staff") == "fwx.toml:12: rule 'staff' disabled\n"
    assert file.read_text() == TEXT.replace('name = "staff"\n', 'name = "staff"\nenabled = false\n')
    assert done(file, "disable", "staff") == "fwx.toml:12: rule 'staff' is disabled already\n"
    done(file, "enable", "staff")
    assert file.read_text() == TEXT.replace('name = "staff"\n', 'name = "staff"\nenabled = true\n')
    done(file, "enable", "dns")
    assert "enabled = true  # until June\n" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("remove", "Default rule"),
            "the last rule, 'Default rule', is built in: it denies everything, and cannot be removed",
        ),
        (("move", "Default rule", "--first"), "is built in: it denies everything, and cannot be moved"),
        (("disable", "Default rule"), "is built in: it denies everything, and cannot be disabled"),
        (("move", "staff", "--after", "staff"), "rule 'staff' cannot stand after itself"),
        (("remove", "sttaf"), "fwx.toml has no rule 'sttaf'; did you mean 'staff'?"),
    ],
)
def test_what_is_refused(file: Path, arguments: tuple[str, ...], words: str) -> None:
    """B7.5: the built-in rule can be neither moved nor removed."""
    assert words in refused(file, *arguments)


def test_a_move_needs_a_place(file: Path) -> None:
    assert "one of --before, --after, --first and --last is needed" in refused(file, "move", "staff", code=2)


def test_what_hides_another_rule_is_warned_of(file: Path) -> None:
    said = done(file, "add", "all", "--deny", "--protocols", "any", "--from", "any,localhost", "--to", "any", "--first")
    assert "rule.name: warning: rule 'staff' can never match: rule 'all' in line 12 matches all of it first" in said


SYSTEM = """
# The office asks the firewall for names.
[[system_rule]]
name = "names"
action = "allow"
protocols = ["DNS"]
from = ["internal"]
to = ["localhost"]
"""


def test_system_rules_are_tables_of_their_own(file: Path) -> None:
    """B7.1: they are listed before the others; a rule moves within its kind."""
    file.write_text(TEXT + SYSTEM)
    listed = done(file, "list").splitlines()
    assert listed[0] == "1. 'names' (line 43, system rule): allow DNS from internal to localhost"
    assert listed[1].startswith("2. 'staff' (line 12)")
    new = ("add", "ping", "--system", "--deny", "--protocols", "HTTP", "--from", "any", "--to", "localhost")
    assert done(file, *new) == "fwx.toml:50: rule 'ping' added\n"
    assert done(file, "move", "ping", "--before", "names") == "fwx.toml:42: rule 'ping' moved here from line 50\n"
    assert done(file, "disable", "names") == "fwx.toml:50: rule 'names' disabled\n"
    data = tomllib.loads(file.read_text())
    assert [(each["name"], each.get("enabled")) for each in data["system_rule"]] == [("ping", None), ("names", False)]
    assert names(file) == ["staff", "ban", "dns"]
    words = "rule 'names' is a system rule: system rules come before all others"
    assert words in refused(file, "move", "dns", "--before", "names")
    assert "rule 'dns' is no system rule" in refused(file, *new[:1], "pong", *new[2:], "--after", "dns")
    assert done(file, "remove", "names").endswith("rule 'names' removed\n")
    assert "# The office" not in file.read_text()
    assert done(file, "remove", "ping").endswith("rule 'ping' removed\n")
    assert file.read_text() == TEXT


# ---- files -----------------------------------------------------------------------------------------------------------


def test_lines_that_end_as_on_windows(file: Path) -> None:
    file.write_bytes(TEXT.replace("\n", "\r\n").encode().removesuffix(b"\r\n"))
    done(file, *NEW, "--comment", "new", "--before", "ban")
    done(file, "disable", "ban")
    content = file.read_bytes()
    assert b"\r\n# new\r\n[[rule]]\r\nname = " in content
    assert b'name = "ban"\r\nenabled = false\r\n' in content
    assert content.count(b"\n") == content.count(b"\r\n")
    assert content.endswith(b'"53"]')


def test_through_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file.name)
    assert run(link, "remove", "ban").output == f"{link}:22: rule 'ban' removed\n"
    assert link.is_symlink()
    assert names(file) == ["staff", "dns"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[", "nothing has been written: fwx.toml:1: not valid TOML"),
        (TEXT.replace('to = ["external"]', 'to = ["nowhere"]'), "fwx.toml:17: rule.to: "),
        (
            "rule = [{ name = 'staff', action = 'deny', protocols = ['any'], from = ['any'], to = ['any'] }]",
            "is one array",
        ),
        (
            TEXT + '[[schedule]]\nname = "s"\n[rule.limits]\nconnections_per_user = 1\n',
            "fwx.toml:43: rule.limits: is not",
        ),
    ],
)
def test_files_that_cannot_be_edited(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    assert words in refused(file, "disable", "staff")


def test_there_is_no_file(tmp_path: Path) -> None:
    result = run(tmp_path / "none.toml", "remove", "staff")
    assert (result.exit_code, "none.toml: cannot be read: No such file or directory" in result.output) == (1, True)


def test_an_edit_that_would_change_more_is_not_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes of the text is compared with the same edit of the data: a fault here never gets into a file."""
    text = RuleLayout.text.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(RuleLayout, "text", property(lambda layout: text(layout).replace("log.db", "other.db")))
    assert "cannot be edited by command without changing more than was asked for" in refused(file, "remove", "ban")


# ---- --dry-run and --apply -------------------------------------------------------------------------------------------


def test_a_dry_run_prints_a_diff(file: Path) -> None:
    result = run(file, "disable", "staff", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"--- {file}",
        f"+++ {file} (edited)",
        "@@ -11,6 +11,7 @@",
        " # Staff, at any time.",
        " [[rule]]",
        ' name = "staff"',
        "+enabled = false",
        ' action = "allow"',
        ' protocols = ["HTTP", "HTTPS"]  # and no other',
        ' from = ["internal"]',
    ]
    assert result.stderr == f"{file}:12: rule 'staff' disabled\n"
    assert file.read_text() == TEXT
    file.write_text(TEXT.removesuffix("\n"))
    assert "\n\\ No newline at end of file\n" in run(file, *NEW, "--dry-run").stdout
    assert run(file, "move", "staff", "--first", "--dry-run").stdout == ""


def test_the_service_is_asked_to_apply_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(command, "tell", lambda *given, **more: asked.append((*given, more)))
    done(file, "remove", "ban", "--apply")
    run(file, "remove", "dns", "--apply", "--dry-run")
    edited = file.read_bytes()
    folder, what, body, request, more = asked[0]
    assert (folder, what, body, more["dry_run"]) == (file.parent / "state", "apply", edited, False)
    assert request == {"path": str(file), "bytes": len(edited)}
    assert (asked[1][4]["dry_run"], b'"dns"' in asked[1][2], b'"dns"' in edited) == (True, False, True)


def test_a_service_that_is_not_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise ControlError("no service runs with the state folder state")

    monkeypatch.setattr(command, "tell", nobody)
    result = run(file, "remove", "ban", "--apply")
    assert (result.exit_code, names(file)) == (1, ["staff", "dns"])
    assert "Error: the file is written, but not applied: no service runs" in result.output


def test_other_commands_do_not_pay_for_it() -> None:
    """What edits rules is imported by this command alone."""
    code = "import sys, fwx.commands.check; print(any(name.startswith('fwx.rule_file') for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
