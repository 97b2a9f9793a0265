"""The tests of closed_hosts.py: ``pytest examples/test_closed_hosts.py``."""

from __future__ import annotations

import pytest
from closed_hosts import CloseHosts

from fwx import sdk
from fwx.testing import MemoryFirewall, Playbook, Rule

EVERYTHING = Rule("everything", "allow", ("any",), ("any", "localhost"), ("any", "localhost"))
SERVER = sdk.SocketAddress("203.0.113.7", 80)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "closed.txt"


@pytest.fixture
def memory():
    firewall = MemoryFirewall()
    yield firewall
    firewall.close()


@pytest.fixture
def start(file, memory):
    return lambda: memory.start(lambda: CloseHosts(CloseHosts.Options(file=str(file))), "closed")


def test_the_policy_is_loaded_when_the_service_starts(file, start, memory):
    file.write_text("# by order of the office\n203.0.113.7\nWWW.example.org  # and this one\n")
    memory.names.table["www.example.org"] = ["203.0.113.9"]
    start()
    Playbook(memory, target=SERVER).refused().play()
    assert memory.records[-1].reason == "denied by filter 'closed'; the host is closed"
    Playbook(memory, target=SERVER.with_port(443)).refused().play()
    Playbook(memory, target=sdk.SocketAddress("www.example.org", 80)).refused().play()
    other = Playbook(memory, target=sdk.SocketAddress("203.0.113.8", 80))
    other.client_sends(b"hello").server_gets(b"hello").play()


def test_it_is_read_again_when_a_change_is_applied(file, start, memory):
    file.write_text("")
    start()
    file.write_text("203.0.113.7")
    Playbook(memory, target=SERVER).client_sends(b"hello").server_gets(b"hello").play()
    assert memory.apply_rules(EVERYTHING) == []
    Playbook(memory, target=SERVER).refused().play()


def test_a_file_that_is_wrong_is_told_to_who_applies_and_changes_nothing(file, start, memory):
    file.write_text("203.0.113.7")
    start()
    file.write_text("198.51.100.1\n203.0.113.9 203.0.113.10\n")
    (failure,) = memory.apply_rules(EVERYTHING)
    assert "closed.txt:2: expected one host" in failure
    Playbook(memory, target=SERVER).refused().play()


def test_without_its_file_it_does_not_start(start):
    host = start()
    assert host.state == "failed"
    assert "closed.txt" in host.reason
