"""``fwx check --deep``: commands that can be run, and mail servers that take part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwx.config import load
from fwx.config_deep import deep_problems
from tests.mail_server import MailServer

ALERT = '[[alert]]\nname = "{name}"\nevent = "Log failure"\n'
MAIL = 'mail = {{ to = ["a@b.org"], from = "a@b.org", server = "127.0.0.1:{port}", seconds = 5{more} }}\n'


def faults(folder: Path, text: str) -> list[str]:
    (folder / "fwx.toml").write_text(text)
    found = deep_problems(load(folder / "fwx.toml"))
    return [f"{problem.line}: {problem.key}: {problem.message}".replace(f"{folder}/", "") for problem in found]


@pytest.fixture
def server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("/bin/sh", ""),
        ("sh", ""),
        (
            "no-such-program-of-fwx",
            "no program 'no-such-program-of-fwx' is in PATH; expected one that can be run, or its",
        ),
        ("/nowhere/page", "/nowhere/page does not exist; expected a program, by its whole path"),
        ("/etc/passwd", "/etc/passwd cannot be run by this user; expected a program"),
        ("/etc", "/etc cannot be run by this user; expected a program"),
        ("bin/sh", ""),
    ],
)
def test_commands(tmp_path: Path, program: str, told: str) -> None:
    found = faults(tmp_path, ALERT.format(name="a") + f'command = ["{program}", "x"]\n')
    assert [each[: len(told) + 18] for each in found] == ([f"4: alert.command: {told}"] if told else [])


def test_a_mail_server_is_greeted_and_gets_nothing(tmp_path: Path, server: MailServer) -> None:
    assert faults(tmp_path, ALERT.format(name="a") + MAIL.format(port=server.port, more="")) == []
    assert (server.greeted, server.messages) == (1, [])


def test_mail_servers_that_do_not_take_part(tmp_path: Path, server: MailServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = taken.getsockname()[1]
        found = faults(
            tmp_path,
            ALERT.format(name="a") + MAIL.format(port=nobody, more="")
            + ALERT.format(name="b") + MAIL.format(port=server.port, more=", start_tls = true")
            + ALERT.format(name="c")
            + MAIL.format(port=server.port, more=', start_tls = true, user = "u", password_file = "none"'),
        )  # fmt: skip
    assert found == [
        "12: alert.mail.password_file: none cannot be opened: No such file or directory",
        f"4: alert.mail.server: mail server 127.0.0.1:{nobody}: [Errno 111] Connection refused",
        f"8: alert.mail.server: mail server 127.0.0.1:{server.port}: STARTTLS extension not supported by server.",
    ]
