"""``fwx user add``: a table that a configuration takes, and no password where others could see it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import argon2
import pytest
from click.testing import CliRunner, Result

from fwx.cli import main
from fwx.config import load


def run(*arguments: str, password: str = "secret\n") -> Result:
    return CliRunner().invoke(main, ["user", "add", *arguments], input=password)


@pytest.mark.parametrize(
    ("name", "groups"),
    [("ann", []), ("ann lee", ["staff", "night shift"]), ('a"b\\c', ['g"h']), ("zoë", [])],
)
def test_the_table_is_taken(tmp_path: Path, name: str, groups: list[str]) -> None:
    result = run(name, *(part for group in groups for part in ("--group", group)))
    assert result.exit_code == 0
    assert "secret" not in result.output
    (user,) = tomllib.loads(result.stdout)["user"]
    assert (user["name"], user.get("groups", [])) == (name, groups)
    assert argon2.PasswordHasher().verify(user["password"], "secret")
    file = tmp_path / "fwx.toml"
    file.write_text(result.stdout)
    assert load(file).users[0].groups == tuple(groups)


def test_two_hashes_of_one_password_differ() -> None:
    assert run("ann").stdout != run("ann").stdout


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore\n"])
def test_the_password_is_one_line(end: str) -> None:
    (user,) = tomllib.loads(run("ann", password=f" sec ret {end}").stdout)["user"]
    assert argon2.PasswordHasher().verify(user["password"], " sec ret ")


@pytest.mark.parametrize(
    ("name", "password", "code", "words"),
    [
        ("a:b", "secret\n", 2, "a name has a colon"),
        ("", "secret\n", 2, "a name is empty"),
        ("ë" * 128, "secret\n", 2, "a name is longer than 255 bytes"),
        ("ann", "\n", 1, "the password has to be 1 to 255 bytes long"),
        ("ann", "", 1, "the password has to be 1 to 255 bytes long"),
        ("ann", "ë" * 128, 1, "the password has to be 1 to 255 bytes long"),
    ],
)
def test_what_clients_could_not_send(name: str, password: str, code: int, words: str) -> None:
    result = run(name, password=password)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "fwx", "user", "add", "ann"], stdin=slave, stdout=subprocess.PIPE, stderr=slave,
        start_new_session=True, preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        while shown.lower().count(b"password") < 1:
            shown += os.read(master, 1000)
        os.write(master, b"secret\n")
        while shown.lower().count(b"repeat") < 1:
            shown += os.read(master, 1000)
        os.write(master, b"secret\n")
        stdout, _ = process.communicate(timeout=30)
    os.close(master)
    assert process.returncode == 0
    assert b"secret" not in shown
    (user,) = tomllib.loads(stdout.decode())["user"]
    assert argon2.PasswordHasher().verify(user["password"], "secret")
