"""What stays open, and what takes a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwx.change.place import state_dir_of
from fwx.change.plan import LIVE_KEYS, matched, restart_problems
from fwx.config import Configuration, ConfigurationError, parse
from fwx.config_source import source_of
from fwx.config_support import SUPPORTED_KEYS

RULE = """
[[rule]]
name = "all"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["any"]
"""


def configuration(text: str, path: str = "/etc/fwx/fwx.toml") -> Configuration:
    found, problems = parse(source_of(Path(path), text.encode()))
    assert found is not None, problems
    assert not problems
    return found


def listener(name: str, bind: str, kind: str = "proxy", more: str = "") -> str:
    return f'[[listener]]\nname = "{name}"\nkind = "{kind}"\nbind = "{bind}"\n{more}'


def both(old: str, new: str, *, makes_sockets: bool = False) -> list[str]:
    old_one, new_one = configuration(old), configuration(new)
    return [str(each) for each in restart_problems(old_one, new_one, makes_sockets=makes_sockets)]


def test_every_table_is_one_or_the_other() -> None:
    """A table that the format gets is live unless it is named; its keys that are named exist."""
    live = {"network", "domains", "listener", "protocol", "user", "directory", "schedule", "upstream", "filter", "rule"}
    known = set(SUPPORTED_KEYS) - set(LIVE_KEYS)
    assert live | {"limits"} <= known
    for name, keys in LIVE_KEYS.items():
        assert keys <= SUPPORTED_KEYS.get(name, frozenset())


RESTARTS = [
    ('[service]\nname = "one"\n', '[service]\nname = "two"\n', "/etc/fwx/fwx.toml:2: service.name: is changed"),
    ("", '[service]\nuser = "daemon"\n', "/etc/fwx/fwx.toml:2: service.user: is changed"),
    ("", '[service]\nstate_dir = "/x"\n', ":2: service.state_dir: is /x, and the service runs with /etc/fwx/state"),
    ("", '[log]\non_error = "open"\n', ":2: log.on_error: is changed"),
    ("", '[log]\nw3c = { directory = "w3c" }\n', ":2: log.w3c: is changed"),
    ("", '[log]\nsqlite = "/x.db"\n', ":2: log.sqlite: is /x.db"),
    ('[packet_filter]\nbackend = "nftables"\n', "", "packet_filter.backend: is changed"),
    (
        '[packet_filter]\nbackend = "nftables"\n',
        '[packet_filter]\nbackend = "nftables"\nexcept = ["tcp/25"]\n',
        ":3: packet_filter.except: is changed",
    ),
    (
        '[packet_filter]\nbackend = "nftables"\n',
        '[packet_filter]\nbackend = "nftables"\n' + listener("r", "127.0.0.1:9", "transparent", 'mode = "redirect"'),
        ":6: listener.bind: is a port that the packet filter has to know",
    ),
    ("", listener("t", "127.0.0.1:9", "transparent"), ":4: listener.bind: is a port that takes what is sent to others"),
    (
        listener("t", "127.0.0.1:9", "transparent"),
        listener("t", "127.0.0.1:9", "transparent", "keep_client_address = true"),
        ":5: listener.keep_client_address: needs sockets that speak for others",
    ),
]


@pytest.mark.parametrize(("old", "new", "words"), RESTARTS)
def test_what_takes_a_restart(old: str, new: str, words: str) -> None:
    (found,) = both(old, new)
    assert words in found
    assert found.endswith("; it takes a restart")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", RULE),
        ("", "[service]\nblocked_loop_seconds = 3\n"),
        ("", "[log]\nestablish = true\nintermediate_seconds = 60\n"),
        ("", '[service]\nstate_dir = "/etc/fwx/state"\n[log]\nsqlite = "/etc/fwx/state/firewall.db"\n'),
        ("", "[limits]\nhandshake_seconds = 3\n"),
        ("", listener("r", "127.0.0.1:9", "transparent", 'mode = "redirect"')),
        (listener("t", "127.0.0.1:9", "transparent"), ""),
        (listener("t", "127.0.0.1:9", "transparent"), listener("u", "127.0.0.1:9", "transparent")),
    ],
)
def test_what_does_not(old: str, new: str) -> None:
    assert both(old, new) == []


def test_sockets_for_others_where_there_is_who_makes_them() -> None:
    old = listener("t", "127.0.0.1:9", "transparent")
    new = listener("t", "127.0.0.1:9", "transparent", "keep_client_address = true")
    assert both(old, new, makes_sockets=True) == []


def test_the_embedded_default_has_other_folders(tmp_path: Path) -> None:
    text = configuration("", str(tmp_path / "fwx.toml"))
    (found,) = restart_problems(text, configuration("", str(tmp_path / "else" / "fwx.toml")), makes_sockets=False)
    assert "service.state_dir" in str(found)


def test_listeners_are_matched_by_their_sockets() -> None:
    """By name and socket first, then by socket alone; of those with any free port the name decides."""
    old = configuration(
        listener("a", "127.0.0.1:1")
        + listener("b", "127.0.0.1:2")
        + listener("c", "127.0.0.1:0")
        + listener("d", "127.0.0.1:3", "publish", 'to = "10.0.0.1:1"\ntransport = "udp"\n')
    ).listeners
    new = configuration(
        listener("b", "127.0.0.1:1")
        + listener("x", "127.0.0.1:2", "publish", 'to = "10.0.0.1:1"\n')
        + listener("c2", "127.0.0.1:0")
        + listener("d", "127.0.0.1:3", "publish", 'to = "10.0.0.1:1"\n')
    ).listeners
    found = matched(old, new)
    assert found.kept == {"b": "a", "x": "b"}
    assert (found.coming, found.going) == ((2, 3), ("c", "d"))
    same = matched(old, old)
    assert same.kept == {name: name for name in "abcd"}
    assert (same.coming, same.going) == ((), ())


def test_a_file_with_faults_still_says_where_its_service_is(tmp_path: Path) -> None:
    file = tmp_path / "fwx.toml"
    for text, folder in (
        ('[service]\nstate_dir = "here"\n', "here"),
        ('[service]\nstate_dir = "here"\ncolour = 1\n', "here"),
        ("[service]\n  state_dir = 'here'\n[[", "here"),
        ('[service]\nstate_dir = "/var/lib/fwx"\ncolour = 1\n', "/var/lib/fwx"),
        ("[[", "state"),
        ('service = { state_dir = "here" }\n', "here"),
        ("[service]\nstate_dir = 5\n", "state"),
        ("service = 5\n", "state"),
        ('# [service]\n# state_dir = "no"\n', "state"),
    ):
        file.write_text(text)
        assert state_dir_of(file) == tmp_path / folder
    with pytest.raises(ConfigurationError, match="cannot be read"):
        state_dir_of(tmp_path / "none")
