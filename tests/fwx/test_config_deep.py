from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fwx.config import load
from fwx.config_deep import deep_problems

PEM = (Path(__file__).parent.parent / "data" / "config_tls.pem").read_text()
CERTIFICATE, _, KEY = PEM.partition("-----BEGIN PRIVATE KEY-----")
KEY = "-----BEGIN PRIVATE KEY-----" + KEY
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$RdescudvJCsgt3ub+b4dWRWJTmaaJObG"
ME = pwd.getpwuid(os.getuid()).pw_name

TEXT = f"""\
[service]
state_dir = "state"
user = "{ME}"
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:80"
[listener.tls]
certificate = "www.pem"
key = "www.key"
ca = "www.pem"
[[upstream]]
name = "parent"
kind = "http"
address = "127.0.0.1:3128"
user = "me"
password_file = "parent.secret"
[[user]]
name = "alice"
password = "{HASH}"
[log]
sqlite = "log/firewall.db"
w3c = {{ directory = "w3c" }}
json = {{ directory = "json" }}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with TEXT and all that it names, every file as it should be."""
    (tmp_path / "fwx.toml").write_text(TEXT)
    for name, content in (("www.pem", CERTIFICATE), ("www.key", KEY), ("parent.secret", "secret\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path


def faults(folder: Path) -> list[str]:
    found = deep_problems(load(folder / "fwx.toml"))
    return [f"{problem.line}: {problem.key}: {problem.message}".replace(f"{folder}/", "") for problem in found]


def replace(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)


def test_what_is_as_it_should_be(folder: Path) -> None:
    assert faults(folder) == []


def test_nothing_is_made(folder: Path) -> None:
    (folder / "state").rmdir()
    assert faults(folder) == []
    assert not (folder / "state").exists()


def test_the_embedded_default_needs_no_file(tmp_path: Path) -> None:
    (tmp_path / "fwx.toml").write_text("")
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("www.pem", "10: listener.tls.certificate: www.pem cannot be opened: No such file or directory"),
        ("www.key", "11: listener.tls.key: www.key cannot be opened: No such file or directory"),
        ("parent.secret", "18: upstream.password_file: parent.secret cannot be opened: No such file or directory"),
    ],
)
def test_a_file_that_is_missing(folder: Path, name: str, fault: str) -> None:
    (folder / name).unlink()
    assert fault in faults(folder)


def test_a_key_that_is_none(folder: Path) -> None:
    replace(folder, "www.key", "nothing")
    (fault,) = faults(folder)
    assert fault.startswith(
        "10: listener.tls.certificate: www.pem and www.key are no certificate with its key in PEM: "
    )


def test_an_authority_that_is_none(folder: Path) -> None:
    replace(folder, "ca.pem", "nothing")
    replace(folder, "fwx.toml", TEXT.replace('ca = "www.pem"', 'ca = "ca.pem"'))
    (fault,) = faults(folder)
    assert fault.startswith("12: listener.tls.ca: ca.pem holds no certificates in PEM that can be read: ")


def test_an_authority_of_a_server_that_is_none(folder: Path) -> None:
    replace(folder, "fwx.toml", TEXT.replace('to = "127.0.0.1:80"', 'to = "127.0.0.1:80"\nto_tls = { ca = "ca.pem" }'))
    (fault,) = faults(folder)
    assert fault.startswith("9: listener.to_tls.ca: ca.pem holds no certificates in PEM that can be read: ")
    replace(folder, "ca.pem", CERTIFICATE)
    assert faults(folder) == []


def test_a_password_file_that_is_empty(folder: Path) -> None:
    replace(folder, "parent.secret", "\n")
    assert faults(folder) == ["18: upstream.password_file: parent.secret is empty; expected a password"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("www.key", "11: listener.tls.key: www.key has mode 0640, which lets other users in; expected 0600"),
        (
            "parent.secret",
            "18: upstream.password_file: parent.secret has mode 0640, which lets other users in; expected 0600",
        ),
    ],
)
def test_a_secret_that_others_may_read(folder: Path, name: str, fault: str) -> None:
    (folder / name).chmod(0o640)
    assert faults(folder) == [fault]


def test_a_state_folder_that_others_may_enter(folder: Path) -> None:
    (folder / "state").chmod(0o755)
    assert faults(folder) == ["2: service.state_dir: state has mode 0755, which lets other users in; expected 0700"]


def test_a_state_folder_that_is_a_file(folder: Path) -> None:
    (folder / "state").rmdir()
    replace(folder, "state", "")
    assert faults(folder)[0] == "2: service.state_dir: state is a file; expected a directory"


def test_a_folder_that_this_user_may_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "state")  # root may write everywhere
    assert faults(folder) == [
        "2: service.state_dir: state cannot be written by this user",
        "23: log.sqlite: state cannot be written by this user",
        "24: log.w3c.directory: state cannot be written by this user",
        "25: log.json.directory: state cannot be written by this user",
    ]


def test_a_log_that_is_a_directory(folder: Path) -> None:
    (folder / "state" / "log" / "firewall.db").mkdir(parents=True)
    assert faults(folder) == ["23: log.sqlite: state/log/firewall.db is a directory; expected a file"]


def test_a_database_that_does_not_answer(folder: Path) -> None:
    (folder / "fwx.toml").write_text(TEXT + 'sql = "postgresql+psycopg://fwx:secret@/fwx?host=/nonexistent"\n')
    (fault,) = faults(folder)
    assert fault.startswith("26: log.sql: postgresql+psycopg://fwx:***@/fwx?host=%2Fnonexistent: connection is bad")
    assert "secret" not in fault


def test_a_database_that_nobody_can_speak_to(folder: Path) -> None:
    (folder / "fwx.toml").write_text(TEXT + 'sql = "nonsense://x"\n')
    (fault,) = faults(folder)
    assert fault.startswith("26: log.sql: SQLAlchemy does not know this URL")


def test_a_user_that_is_not_there(folder: Path) -> None:
    replace(folder, "fwx.toml", TEXT.replace(f'user = "{ME}"', 'user = "no-such-user"'))
    fault = "3: service.user: there is no user 'no-such-user' on this system; expected an existing one"
    assert faults(folder) == [fault]


def test_a_password_hash_that_is_cut_short(folder: Path) -> None:
    replace(folder, "fwx.toml", TEXT.replace(HASH, HASH[:40]))
    fault = "21: user.password: is no complete Argon2id hash; expected what 'fwx user add' prints"
    assert faults(folder) == [fault]
