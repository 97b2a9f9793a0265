from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from fwx.config import Configuration, load
from fwx.config_model import ProxyListener, PublishListener, TransparentListener
from fwx.config_rules import Rule
from fwx.config_validation import keys_of
from fwx.config_values import Hours
from fwx.interfaces.address import SocketAddress

DATA = Path(__file__).parent.parent / "data"


def write(folder: Path, text: str) -> Path:
    file = folder / "fwx.toml"
    file.write_text(text)
    return file


def is_embedded_default(configuration: Configuration) -> bool:
    (listener,) = configuration.listeners
    return (
        isinstance(listener, ProxyListener)
        and (listener.name, listener.bind) == ("proxy", SocketAddress("127.0.0.1", 1080))
        and listener.authenticate == "off"
        and not configuration.rules
    )


def test_no_file_is_the_embedded_default() -> None:
    configuration = load(None)
    assert configuration.path is None
    assert is_embedded_default(configuration)


def test_an_empty_file_is_the_embedded_default(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    configuration = load(file)
    assert configuration.path == file
    assert is_embedded_default(configuration)


def test_the_defaults() -> None:
    configuration = load(None)
    assert configuration.service.name == socket.gethostname()
    assert (configuration.service.workers, configuration.service.user) == (1, None)
    limits = configuration.limits
    assert (limits.tcp_per_address, limits.tcp_connects_per_minute_per_address) == (160, 600)  # B11's table
    assert (limits.udp_per_address, limits.handshake_seconds) == (160, 10.0)
    assert (configuration.log.sqlite, configuration.log.w3c, configuration.log.sql) == ("firewall.db", None, None)
    assert configuration.packet_filter.backend == "memory"
    assert configuration.console is None


def test_any_listener_replaces_the_default_one(tmp_path: Path) -> None:
    file = write(tmp_path, '[[listener]]\nname = "www"\nkind = "publish"\nbind = "[::1]:0"\nto = "[fd00::1]:80"\n')
    (listener,) = load(file).listeners
    assert isinstance(listener, PublishListener)
    assert (listener.bind, listener.to) == (SocketAddress("::1", 0), SocketAddress("fd00::1", 80))
    assert (listener.proxy_protocol, listener.send_proxy_protocol, listener.tls) == ("off", "off", None)


def test_every_table_and_key_of_the_format() -> None:
    configuration = load(DATA / "config_full.toml")
    proxy, transparent, www = configuration.listeners
    assert isinstance(proxy, ProxyListener)
    assert isinstance(transparent, TransparentListener)
    assert isinstance(www, PublishListener)
    assert (proxy.authenticate, transparent.mode) == ("optional", "tproxy")
    assert (www.proxy_protocol, www.trusted, www.send_proxy_protocol) == ("require", ("10.1.0.0/16",), "v2")
    assert www.tls is not None
    assert (www.tls.certificate, www.tls.key, www.tls.ca) == ("www.pem", "www.key", None)
    assert [network.name for network in configuration.networks] == ["internal", "servers"]
    assert configuration.domains[0].names == ("*.debian.org", "pypi.org")
    assert configuration.computers[0].ranges == ("10.1.0.40-10.1.0.59", "10.2.0.9")
    assert configuration.urls[0].urls[2] == "intranet.example:8080"
    out, rest = configuration.network_rules
    assert (out.source, out.destination, out.relation) == (("internal",), ("external",), "nat")
    assert rest.relation == "route"
    assert [rule.name for rule in configuration.all_rules] == ["no shell", "staff browse", "updates", "www", "pages"]
    assert configuration.rules[-1].content_types == ("text/html", "image/*")
    assert [configuration.rule_path(number) for number in (0, 1)] == [("system_rule", 0), ("rule", 0)]
    (ports,) = configuration.protocols[0].ports
    assert (ports.transport, ports.direction, ports.first, ports.last_port) == ("tcp", "outbound", 21, 21)
    assert configuration.users[0].groups == ("staff",)
    assert configuration.schedules[0].days == frozenset(range(5))
    assert configuration.schedules[0].hours == (Hours(480, 1080),)
    (upstream,) = configuration.upstreams
    assert (upstream.kind, upstream.address, upstream.user) == ("socks5", SocketAddress("10.1.0.1", 1080), "branch")
    assert configuration.filters[0].options == {"alert_on": "EICAR"}
    assert configuration.log.w3c is not None
    assert configuration.log.w3c.directory == "w3c"
    assert configuration.log.json_lines is not None
    assert (configuration.log.json_lines.directory, configuration.log.json_lines.megabytes) == ("json", 64)
    assert configuration.log.json_lines.fields == ("GmtLogTime", "Action")
    assert configuration.console is not None
    assert configuration.console.bind.address == ip_address("127.0.0.1")


def test_a_rule_has_from_as_source_and_to_as_destination() -> None:
    rule, *_ = load(DATA / "config_full.toml").rules
    assert (rule.source, rule.destination, rule.protocols) == (("internal",), ("external",), ("HTTP", "HTTPS"))
    assert (rule.groups, rule.users, rule.schedule, rule.upstream) == (("staff",), ("any",), "work", "parent")
    assert (rule.filters, rule.log) == (("monitor",), True)
    assert (rule.limits.connections_per_user, rule.limits.new_per_second_per_address) == (50, 20)


def test_a_protocol_may_have_a_guid_and_one_port() -> None:
    (protocol,) = load(DATA / "config_relay.toml").protocols
    assert protocol.guid == UUID("6F0C2D0E-6C0A-4D9B-9C55-0B1F3C1D7A42")
    assert [(ports.first, ports.last_port) for ports in protocol.ports] == [(8080, 8080), (9000, 9010)]


def test_a_configuration_cannot_be_changed() -> None:
    configuration = load(None)
    with pytest.raises(ValidationError, match="frozen"):
        configuration.limits.tcp_per_address = 1  # type: ignore[misc]


def test_a_configuration_is_made_by_load_only() -> None:
    with pytest.raises(TypeError, match=r"made by fwx\.config\.load"):
        Configuration.model_validate({})


def test_a_key_has_its_line() -> None:
    configuration = load(DATA / "config_relay.toml")
    text = (DATA / "config_relay.toml").read_text().splitlines()
    assert text[configuration.line(("rule", 0, "to")) - 1].startswith("to = ")
    assert text[configuration.line(("protocol", 0, "ports", 1, "last")) - 1].strip().startswith("{ transport")


@pytest.mark.parametrize(
    ("text", "state", "database"),
    [
        ("", "state", "state/firewall.db"),
        ('[service]\nstate_dir = "s"\n[log]\nsqlite = "l/f.db"\n', "s", "s/l/f.db"),
        ('[service]\nstate_dir = "/var/s"\n[log]\nsqlite = "/var/f.db"\n', "/var/s", "/var/f.db"),
    ],
)
def test_paths_are_relative_to_the_file_and_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, state: str, database: str
) -> None:
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    configuration = load(Path("fwx.toml"))
    assert configuration.state_dir == tmp_path / state
    assert configuration.log_database == tmp_path / database


@pytest.mark.parametrize(
    ("uid", "state_home", "expected"),
    [
        (0, "/somewhere", "/var/lib/fwx"),
        (1000, "/somewhere", "/somewhere/fwx"),
        (1000, "relative", "/home/u/.local/state/fwx"),
        (1000, None, "/home/u/.local/state/fwx"),
    ],
)
def test_without_a_file_the_state_folder_is_the_systems_or_the_users(
    monkeypatch: pytest.MonkeyPatch, uid: int, state_home: str | None, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if state_home is not None:
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
    assert load(None).state_dir == Path(expected)


def test_without_a_file_certificates_are_beside_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None).beside("www.pem") == tmp_path / "www.pem"


def test_every_key_says_what_it_expects() -> None:
    def undescribed(model: type[BaseModel]) -> list[str]:
        return [f"{model.__name__}.{key}" for key, field in keys_of(model).items() if not field.description]

    tables = [*Configuration.__mro__[1].__subclasses__(), ProxyListener, PublishListener, TransparentListener]
    assert Rule in tables
    assert [key for table in tables for key in undescribed(table)] == []
