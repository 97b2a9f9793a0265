"""From the tables of upstreams to routes: their order, their accounts, the files of their passwords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwx.config import ConfigurationError, load
from fwx.impl.alert import Alerts, Category, Severity
from fwx.interfaces import SocketAddress
from fwx.secret_file import read_secret
from fwx.upstreams import upstreams_of

FAILURE = Alerts(lambda: 0.0, ()).define("Upstream failure", Severity.WARNING, Category.FIREWALL_SERVICE, source="fwx")
TARGET = SocketAddress("www.example.org", 443)


def table(name: str, kind: str = "socks5", *more: str) -> str:
    return "\n".join((f'[[upstream]]\nname = "{name}"\nkind = "{kind}"\naddress = "10.0.0.1:1080"', *more, ""))


def made(folder: Path, *tables: str) -> dict[str, Any]:
    (folder / "fwx.toml").write_text("".join(tables))
    return {upstream.name: upstream for upstream in upstreams_of(load(folder / "fwx.toml"), FAILURE)}


def test_chains_in_any_order(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        table("c", "http", 'via = "b"'),
        table("a"),
        table("b", "http", 'via = "a"'),
        table("d", "socks5", 'via = "b"'),
    )
    assert {name: upstream.path for name, upstream in found.items()} == {
        "a": "a",
        "b": "a, b",
        "c": "a, b, c",
        "d": "a, b, d",
    }
    greeting, request = (hop.connect(TARGET).start() for hop in found["b"].hops)
    assert greeting == b"\x05\x01\x00"
    assert request.startswith(b"CONNECT www.example.org:443 HTTP/1.1\r\n")


@pytest.mark.parametrize("content", ["secret word", "secret word\n", "secret word\r\n"])
def test_the_password_of_a_file(tmp_path: Path, content: str) -> None:
    """B8.6: its text without the end of the line, from a file beside the configuration."""
    secret = tmp_path / "parent.secret"
    secret.write_bytes(content.encode())
    secret.chmod(0o600)
    upstream = made(tmp_path, table("a", "socks5", 'user = "u"', 'password_file = "parent.secret"'))["a"]
    client = upstream.hops[0].connect(TARGET)
    assert client.start() == b"\x05\x02\x00\x02"
    assert client.receive(b"\x05\x02") == b"\x01\x01u\x0bsecret word"


def test_the_password_of_the_configuration(tmp_path: Path) -> None:
    upstream = made(tmp_path, table("a", "http", 'user = "u"', 'password = "p"'))["a"]
    assert b"\r\nProxy-Authorization: Basic dTpw\r\n" in upstream.hops[0].connect(TARGET).start()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "cannot be opened: No such file or directory"),
        (b"x", 0o640, "has mode 0640, which lets other users in; expected 0600"),
        (b"x", 0o604, "has mode 0604, which lets other users in; expected 0600"),
        (b"x", 0o622, "has mode 0622, which lets other users in; expected 0600"),
        (b"", 0o600, "is empty; expected a password"),
        (b" \n\n", 0o600, "is empty; expected a password"),
        (b"one\ntwo\n", 0o600, "has more than one line, or characters that no password has"),
        (b"a\0b", 0o600, "has more than one line, or characters that no password has"),
        (b"\xff", 0o400, "is not UTF-8 text"),
    ],
)
def test_files_that_are_no_secret(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    secret = tmp_path / "parent.secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    with pytest.raises(ValueError, match=words):
        read_secret(secret)


def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be opened: Is a directory"):
        read_secret(tmp_path)


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    """What a protocol has no room for, and files; the passwords are not told."""
    with pytest.raises(ConfigurationError) as failure:
        made(
            tmp_path,
            table("a", "socks5", 'user = "u"', f'password = "{"x" * 256}"'),
            table("b", "http", 'user = "u:v"', 'password = "secret"'),
            table("c", "http", 'user = "u"', 'password_file = "missing"'),
            table("d"),
        )
    assert [(problem.line, problem.key) for problem in failure.value.problems] == [
        (5, "upstream.user"),
        (11, "upstream.user"),
        (18, "upstream.password_file"),
    ]
    assert "secret" not in str(failure.value)
    assert "xxx" not in str(failure.value)
