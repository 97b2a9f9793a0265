"""The hosts file: what stands in it, when it is read, and what is left to the name service."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fwx.hosts_file
from fwx.hosts_file import LARGEST, HostsFile, parse
from fwx.interfaces import Hostent

TEXT = """\
127.0.0.1       localhost
::1             localhost ip6-localhost  # an alias
192.0.2.1\tWeb.example   web www  web
# 192.0.2.9     commented.example
192.0.2.2       backup.example web
192.0.2.2       second.example
2001:db8::1     web.example six
not-an-address  nowhere.example
192.0.2.7
192.0.2.300     beyond.example

fe80::1%2       linked.example
"""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(TEXT)
    return path


FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
BACKUP = IPv4Address("192.0.2.2")


@pytest.mark.parametrize(
    ("question", "host"),
    [
        ("localhost", Hostent("localhost", ("ip6-localhost",), (IPv4Address("127.0.0.1"), IPv6Address("::1")))),
        ("LOCALHOST", Hostent("localhost", ("ip6-localhost",), (IPv4Address("127.0.0.1"), IPv6Address("::1")))),
        ("ip6-localhost", Hostent("localhost", ("ip6-localhost",), (IPv6Address("::1"),))),
        ("web.example", Hostent("Web.example", ("web", "www", "web.example", "six"), (FOUR, SIX))),
        ("web", Hostent("Web.example", ("web", "www", "backup.example"), (FOUR, BACKUP))),
        ("second.example", Hostent("second.example", (), (BACKUP,))),
        ("linked.example", Hostent("linked.example", (), (IPv6Address("fe80::1%2"),))),
        (FOUR, Hostent("Web.example", ("web", "www"), (FOUR,))),
        (BACKUP, Hostent("backup.example", ("web", "second.example"), (BACKUP,))),
        (IPv6Address("::1"), Hostent("localhost", ("ip6-localhost",), (IPv6Address("::1"),))),
        ("commented.example", None),
        ("nowhere.example", None),
        ("beyond.example", None),
        ("alias", None),
        (IPv4Address("192.0.2.7"), None),
        (IPv4Address("192.0.2.9"), None),
    ],
)
def test_find(clock: Clock, path: Path, question: str, host: Hostent | None) -> None:
    assert HostsFile(clock, path).find(question) == host


def test_a_change_is_noticed_within_a_second_and_nothing_is_found_until_it_is_read(clock: Clock, path: Path) -> None:
    hosts = HostsFile(clock, path)
    path.write_text("192.0.2.5 web.example another\n")
    assert not hosts.has_changed(), "it is not looked at all the time"
    assert hosts.find("web") is not None
    clock.now += 1.0
    assert hosts.has_changed()
    assert not hosts.has_changed(), "told once"
    assert (hosts.find("web"), hosts.find("web.example")) == (None, None)
    hosts.replace(hosts.read())
    assert hosts.find("another") == Hostent("web.example", ("another",), (IPv4Address("192.0.2.5"),))
    clock.now += 1.0
    assert not hosts.has_changed()


def test_it_is_looked_at_once_a_second(clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    stat = os.stat
    hosts = HostsFile(clock, path)
    monkeypatch.setattr(fwx.hosts_file.os, "stat", lambda path: looked.append(path) or stat(path))
    for _ in range(30):
        hosts.has_changed()
        clock.now += 0.1
    assert len(looked) in (2, 3)


def test_a_file_that_comes_and_goes(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hosts"
    hosts = HostsFile(clock, path)
    assert hosts.find("web") is None
    path.write_text(TEXT)
    clock.now += 1.0
    assert hosts.has_changed()
    hosts.replace(hosts.read())
    assert hosts.find("web") is not None
    path.unlink()
    clock.now += 1.0
    assert hosts.has_changed()
    hosts.replace(hosts.read())
    assert hosts.find("web") is None
    assert caplog.messages == [], "no file is no fault"


@pytest.mark.parametrize("fault", ["large", "folder"])
def test_a_file_that_is_not_read(clock: Clock, path: Path, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """The name service is asked, and the log of the service says why."""
    if fault == "large":
        path.write_text(TEXT + "#" * LARGEST)
    else:
        path.unlink()
        path.mkdir()
    assert HostsFile(clock, path).find("web") is None
    assert len(caplog.messages) == 1
    assert "the name service is asked for its names" in caplog.messages[0]


def test_the_largest_file_that_is_read(clock: Clock, path: Path) -> None:
    path.write_text(TEXT + "#" * (LARGEST - len(TEXT)))
    assert HostsFile(clock, path).find("web") is not None


def test_bytes_that_are_no_text(clock: Clock, path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0 \x80\n192.0.2.1 \xff\n192.0.2.2 fine.example\n")
    assert HostsFile(clock, path).find("fine.example") == Hostent("fine.example", (), (BACKUP,))


@given(st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    for question, host in parse(text).items():
        assert host.addresses
        assert isinstance(question, str) or question in host.addresses


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("192.0.2.1", "192.0.2.2", "2001:db8::1")),
            st.lists(st.sampled_from(("a", "B", "c", "D.example")), min_size=1, max_size=3),
        ),
        max_size=6,
    )
)
def test_every_address_of_a_name_and_every_name_of_an_address(lines: list[tuple[str, list[str]]]) -> None:
    hosts = parse("\n".join(f"{address} {' '.join(names)}" for address, names in lines))
    for name in ("a", "b", "c", "d.example"):
        wanted = {ip_address(address) for address, names in lines if name in map(str.lower, names)}
        assert set(hosts[name].addresses if name in hosts else ()) == wanted
    for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        named = {name for address, names in lines if address == text for name in names}
        host = hosts.get(ip_address(text))
        assert set((host.name, *host.aliases) if host else ()) == named
