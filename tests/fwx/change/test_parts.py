"""What of a configuration is read and made anew when it is applied again, and what stays as it was read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx.change.parts import Parts, read_parts
from fwx.config import load
from fwx.config_problems import ConfigurationError
from fwx.impl.alert import Alerts, Category, Severity
from fwx.impl.fault import FaultReporter

PEM = (Path(__file__).parent.parent.parent / "data" / "config_tls.pem").read_text()
TEXT = """\
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:80"
tls = { certificate = "www.pem", key = "www.pem" }
[[upstream]]
name = "parent"
kind = "http"
address = "127.0.0.1:3128"
user = "me"
password_file = "parent.secret"
[[directory]]
name = "branch"
kind = "radius"
servers = ["127.0.0.1:9"]
secret_file = "radius.secret"
[[filter]]
name = "one"
use = "data-monitor"
options = { alert_on = "a" }
[[filter]]
name = "two"
use = "data-monitor"
options = { alert_on = "b" }
[[rule]]
name = "all"
action = "allow"
protocols = ["any"]
from = ["any"]
to = ["any"]
"""
STAYS = " as it was read before; a file is closed to the service now"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Parts]:
    """Reads the configuration after what ran before; its files are there."""
    for name, content in (("www.pem", PEM), ("parent.secret", "first"), ("radius.secret", "first")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    event = Alerts(time.time, ()).define("fault", Severity.ERROR, Category.OTHER, source="fwx")

    def read(before: Parts | None = None, text: str = TEXT) -> Parts:
        (tmp_path / "fwx.toml").write_text(text)
        return read_parts(load(tmp_path / "fwx.toml"), FaultReporter(event), event, before)

    return read


@pytest.fixture
def close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Closes a file to this account, which may be root."""
    closed: set[Path] = set()
    opens = Path.open

    def open_(path: Path, *how: Any, **more: Any) -> Any:
        if path in closed:
            raise PermissionError(13, "Permission denied")
        return opens(path, *how, **more)

    monkeypatch.setattr(Path, "open", open_)
    return lambda name: closed.add(tmp_path / name)


def test_the_files_are_read_again(read: Callable[..., Parts], tmp_path: Path) -> None:
    """Also where the document is the same; filters are made for tables that have changed, and for no others."""
    first = read()
    (tmp_path / "parent.secret").write_text("second")
    (tmp_path / "radius.secret").write_text("second")
    second = read(first, TEXT.replace('"b"', '"c"'))
    assert second.tls["www"] is not first.tls["www"]
    accounts = [parts.accounts["parent"] for parts in (first, second)]
    assert [account and account.password for account in accounts] == ["first", "second"]
    assert second.fingerprint != first.fingerprint
    assert (list(first.filters), list(second.filters), second.notes) == (["one", "two"], ["two"], ())
    assert read(second, TEXT.replace('"b"', '"c"')).fingerprint == second.fingerprint
    (tmp_path / "www.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"6: listener\.tls\.certificate"):
        read(second)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("www.pem", "listener 'www': its TLS stays"),
        ("parent.secret", "upstream 'parent': its password stays"),
        ("radius.secret", "the directories: what their tables name stays"),
    ],
)
def test_what_is_closed_to_the_service_stays(
    read: Callable[..., Parts], close: Callable[[str], None], file: str, what: str
) -> None:
    """It has given up root; where the table names another file, that has to be readable."""
    first = read()
    close(file)
    second = read(first)
    assert second.notes == (what + STAYS,)
    assert (second.tls["www"] is first.tls["www"]) == (file == "www.pem")
    assert (second.accounts["parent"] is first.accounts["parent"]) == (file == "parent.secret")
    assert (second.directories is first.directories) == (file == "radius.secret")
    close("other")
    with pytest.raises(ConfigurationError, match="other"):
        read(first, TEXT.replace(file, "other"))
