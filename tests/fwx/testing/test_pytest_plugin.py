"""The pytest plugin: its fixtures in a test suite of somebody else."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
from fwx import sdk
from fwx.filters.data_monitor import DataMonitor
from fwx.testing import SocketPair, check_socket


class Broken(sdk.DataPump):
    def inspect(self, to_server, buffer):
        raise KeyError("on the way")


def test_session(fwx_session, fwx_firewall):
    assert fwx_session.GetClientAddress().host == "192.0.2.1"
    assert fwx_firewall.firewall.QueryInterface(sdk.IFWXFirewall2) is fwx_firewall.firewall


def test_connection(fwx_connection, fwx_session):
    client, server = fwx_connection.established()
    assert fwx_connection.connection.GetSession() is fwx_session
    client.send(b"through the pump")
    assert server.receive() == b"through the pump"


def test_socket_pair(fwx_socket_pair):
    fwx_socket_pair.send(fwx_socket_pair.left, b"abc")
    assert fwx_socket_pair.receive_all(fwx_socket_pair.right, 3) == b"abc"


def test_playbook(fwx_playbook):
    book = fwx_playbook(DataMonitor, {"alert_on": "EICAR"})
    book.client_sends(b"EICAR").server_gets(b"EICAR").alerts().play()


def test_playbook_without_a_filter(fwx_playbook):
    fwx_playbook(client="192.0.2.9").server_sends(b"hi").client_gets(b"hi").play()


def test_forgotten_playbook(fwx_playbook):
    fwx_playbook().client_sends(b"never happens")


def test_wrong_playbook(fwx_playbook):
    fwx_playbook().client_sends(b"one").server_gets(b"two").play()


def test_failing_filter(fwx_firewall):
    from fwx.testing import AttachingFilter
    fwx_firewall.start(lambda: AttachingFilter(Broken))
    client, _ = fwx_firewall.open().established()
    client.send(b"x")
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    # The plugin is named, since it need not be installed; an installed one would then be there twice.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    command = [sys.executable, "-m", "pytest", "-p", "fwx.testing.pytest_plugin", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_the_fixtures(tmp_path: Path, source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source_tree)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_filter.py").write_text(TESTS)
    result = run_pytest(tmp_path, "-rA", "--tb=short")
    outcomes = dict(
        line.split(" ", 1)[::-1]
        for line in re.findall(r"^((?:PASSED|FAILED|ERROR) test_filter\.py::\w+)", result.stdout, re.MULTILINE)
    )
    names = {name.removeprefix("test_filter.py::test_"): outcome for name, outcome in outcomes.items()}
    assert names == {
        "session": "PASSED",
        "connection": "PASSED",
        "socket_pair": "PASSED",
        "playbook": "PASSED",
        "playbook_without_a_filter": "PASSED",
        "forgotten_playbook": "ERROR",
        "wrong_playbook": "FAILED",
        "failing_filter": "ERROR",
    }, result.stdout
    assert "1 of 1 playbooks were written and never played: call play()" in result.stdout
    assert "! << server gets b'two'" in result.stdout
    assert "a filter failed: CompleteAsyncIO: KeyError: 'on the way'" in result.stdout


def test_the_fixtures_are_documented(tmp_path: Path, source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source_tree)
    output = run_pytest(tmp_path, "--fixtures").stdout
    for name in ("fwx_firewall", "fwx_session", "fwx_connection", "fwx_socket_pair", "fwx_playbook"):
        assert re.search(rf"^{name} -- .*\n    \S", output, re.MULTILINE), output


def test_the_distribution_offers_the_plugin(source_tree: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(source_tree / "setup.cfg")
    assert setup["options.entry_points"]["pytest11"].split() == ["fwx", "=", "fwx.testing.pytest_plugin"]
