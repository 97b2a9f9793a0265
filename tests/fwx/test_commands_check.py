from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fwx.commands.check import check

DATA = Path(__file__).parent.parent / "data"

MODULE = """
from zope.interface import implementer

from fwx.filter_options import FilterOptions
from fwx.interfaces import IFWXFilter


class Words(FilterOptions):
    alert_on: str


@implementer(IFWXFilter)
class Watch:
    Options = Words
"""

FILTER = '[[filter]]\nname = "f"\nuse = "fwx_probe_check:Watch"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the module path with the filter fwx_probe_check:Watch; it is the working directory."""
    (tmp_path / "fwx_probe_check.py").write_text(MODULE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("fwx_probe_check", None)


ANY = (
    "fwx.toml: rule: warning: there is no [[rule]], so the embedded policy holds: "
    "programs on this machine may connect to everything"
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(check, arguments)


def copy(name: str, folder: Path) -> None:
    """Copy a file of tests/data; its filter is the one of this module."""
    shutil.copy(DATA / name, folder / "fwx.toml")
    text = (folder / "fwx.toml").read_text()
    (folder / "fwx.toml").write_text(text.replace('"data-monitor"', '"fwx_probe_check:Watch"'))


def test_an_empty_file_is_right(folder: Path) -> None:
    (folder / "fwx.toml").write_text("")
    result = run("fwx.toml")
    assert (result.exit_code, result.stderr.splitlines()) == (0, [ANY])
    assert result.stdout == "fwx.toml: ok: 1 listener, 0 rules, 0 filters, 0 networks, 0 protocols, 0 users\n"


def test_what_the_service_does_is_right(folder: Path) -> None:
    copy("config_relay.toml", folder)
    result = run("fwx.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "fwx.toml: ok: 2 listeners, 1 rule, 1 filter, 1 network, 1 protocol, 0 users\n"


def test_the_whole_format_is_right_with_notes_of_what_serve_refuses(folder: Path) -> None:
    copy("config_full.toml", folder)
    result = run("fwx.toml")
    assert result.exit_code == 0
    assert result.stdout.startswith("fwx.toml: ok: 3 listeners, 5 rules, 1 filter, ")
    notes = result.stderr.splitlines()
    assert len(notes) == 1
    assert all("'fwx serve' refuses this: this version " in note for note in notes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (FILTER, "fwx.toml:1: filter.options.alert_on: is missing; expected str\n"),
        (
            FILTER + "[filter.options]\nalert_on = 'x'\nalert = 1\n",
            "fwx.toml:6: filter.options.alert: unknown key 'alert'; did you mean 'alert_on'?\n",
        ),
        (
            FILTER + "options = {\n alert_on = 1 }\n".replace("\n ", ""),
            "fwx.toml:4: filter.options.alert_on: 1 is a whole number, not a string\n",
        ),
        (
            FILTER.replace("Watch", "Wach"),
            "fwx.toml:3: filter.use: filter 'fwx_probe_check:Wach' cannot be loaded: "
            "importing fwx_probe_check:Wach raised AttributeError: "
            "module 'fwx_probe_check' has no attribute 'Wach'\n",
        ),
    ],
)
def test_a_filter_is_loaded_and_its_options_are_judged(folder: Path, text: str, problem: str) -> None:
    (folder / "fwx.toml").write_text(text)
    result = run("fwx.toml")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", problem)


def test_faults_of_form_and_of_filters_come_together(folder: Path) -> None:
    (folder / "fwx.toml").write_text("[servce]\n" + FILTER + "options = 3\n" + FILTER.replace('"f"', '"g"'))
    lines = run("fwx.toml").stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["fwx.toml:1", "servce"],
        ["fwx.toml:5", "filter.options"],
        ["fwx.toml:6", "filter.options.alert_on"],
    ]


def test_a_use_that_is_no_text_is_a_fault_of_form_only(folder: Path) -> None:
    (folder / "fwx.toml").write_text('[[filter]]\nname = "f"\nuse = 3\n')
    assert run("fwx.toml").stderr.startswith("fwx.toml:3: filter.use: 3 is a whole number, not a string")


def test_deep_opens_what_the_file_names(folder: Path) -> None:
    copy("config_full.toml", folder)
    assert run("fwx.toml").exit_code == 0
    result = run("fwx.toml", "--deep")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"listener.tls.certificate: {folder}/www.pem cannot be opened: No such file or directory" in result.stderr


def test_deep_waits_for_a_file_without_other_faults(folder: Path) -> None:
    (folder / "fwx.toml").write_text('[service]\nuser = "no-such-user"\nx = 1\n')
    assert run("fwx.toml", "--deep").stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_a_problem(folder: Path) -> None:
    result = run("absent.toml")
    assert (result.exit_code, result.stderr) == (1, "absent.toml: cannot be read: No such file or directory\n")
    assert folder.is_dir()


def test_without_a_file_the_usage_is_wrong() -> None:
    assert run().exit_code == 2
