"""Alerts of a running service: real commands, a real mail server, a flood of denials, and the end by an alert."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.commands.alerts import alerts
from fwx.commands.apply import apply
from tests.mail_server import MailServer

CLIENTS = 80
CONNECTIONS = 5

CONFIG = """
[service]
name = "fw1"

[limits]
denials_before_alert = 1
tcp_per_address = {connections}

[[rule]]
name = "nobody"
action = "deny"
protocols = ["any"]
from = ["any", "localhost"]
to = ["any", "localhost"]

[[alert]]
name = "page"
event = "Client denied too often"
again_after_minutes = 0
command = ["/bin/sh", "-c", "cat >> {pages}/messages; echo $FWX_ALERT_COUNT >> {pages}/counts; id -u > {pages}/user"]

[[alert]]
name = "mail"
event = "Client denied too often"
after_events = {clients}
mail = {{ to = ["ops@example.org"], from = "fwx@example.org", server = "127.0.0.1:{port}" }}

[[alert]]
name = "broken"
event = "Client denied too often"
additional_key = "127.0.0.*"
again_after_minutes = 0
command = ["/nowhere/page"]

[[alert]]
name = "slow"
event = "Alert action failure"
command = ["/bin/sh", "-c", "sleep 100 & echo $! $$ > {pages}/pids; wait"]
command_seconds = 60

[[alert]]
name = "last"
event = "Connection limit exceeded"
stop_service = true

[[alert]]
name = "elsewhere"
event = "Client denied too often"
server = "fw2"
stop_service = true
"""
NOTED = """
[[alert]]
name = "noted"
event = "Noted"

[[filter]]
name = "note"
use = "filter_note:Filter"
"""
# Takes its event back when it is shut down, which fails while an alert uses it.
NOTE = """
class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.noted = sdk.define_event(pIFWXFirewall, "Noted", source="note")
        return super().FilterInit(pIFWXFirewall)

    def FilterShutdown(self):
        sdk.remove_event(self.noted)
        super().FilterShutdown()
"""


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


def asked(*arguments: str) -> str:
    result = CliRunner().invoke(alerts, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def numbers(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def test_a_flood_of_denials_and_the_end(
    serve: Any, client: Any, mail_server: MailServer, eventually: Callable[..., Any]
) -> None:
    """B9.18, B9.22, B9.24, B9.27: each client is an event; commands and mails are few, and stand for all of them."""
    folder = serve.make_folder()
    pages = folder / "pages"
    pages.mkdir()
    pages.chmod(0o1777)
    text = CONFIG.format(connections=CONNECTIONS, pages=pages, clients=CLIENTS, port=mail_server.port)
    prelude = "import fwx.service; fwx.service.WORKER_SECONDS = 0.2\n"
    firewall = serve(text + NOTED, folder=folder, prelude=prelude, filters={"note": NOTE})
    proxy = firewall.address()
    for number in range(CLIENTS):
        assert client.socks_code(proxy, ("192.0.2.1", 80), f"127.0.0.{number + 10}") == 2

    (message,) = mail_server.wait_messages(1)
    assert message["Subject"] == "fwx fw1: warning: mail"
    assert f"Signals: {CLIENTS}" in message.get_content().splitlines()
    eventually(lambda: len(numbers(pages / "pids")) == 2, "the slow command to begin")
    config = ("--config", str(folder / "fwx.toml"))

    def told() -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(asked(*config, "--json"))["alerts"]}

    page = told()["page"]
    assert page["signals"] == CLIENTS
    assert page["raised"] < CLIENTS // 2, "ten at once, and ten a minute"
    eventually(
        lambda: sum(numbers(pages / "counts")) + told()["page"]["held"] == CLIENTS, "all to be paged or held back"
    )
    assert re.fullmatch(r"(127\.0\.0\.\d+ was denied 1 times .*\n)+", (pages / "messages").read_text())
    assert numbers(pages / "user") == [int(firewall.status("Uid")[1])]
    found = told()
    assert "elsewhere" not in found
    assert found["Client denied too often"]["signals"] == 0, "the tables take its place"
    assert 1 <= found["broken"]["actions"][0]["failed"] <= found["broken"]["raised"] < CLIENTS // 2
    assert found["slow"]["raised"] == 1, "the failure is reported once"
    assert firewall.stderr().count("'/nowhere/page' cannot be run: No such file or directory") == 2  # and as the alert
    eventually(lambda: firewall.descriptors() <= firewall.base_line + 2, "nothing but the slow command's to be open")

    written = (folder / "fwx.toml").read_text()
    assert found["noted"]["defined_by"] == "note"
    (folder / "fwx.toml").write_text(written.replace('name = "broken"', 'name = "other"').replace(NOTED, ""))
    applied = CliRunner().invoke(apply, [str(folder / "fwx.toml")])
    assert applied.exit_code == 0, applied.output
    found = told()
    assert found["page"]["signals"] == CLIENTS, "what stays the same keeps its counts"
    assert found["other"]["signals"] == 0
    assert found.keys().isdisjoint({"broken", "noted", "Noted"}), "the alert goes first, and then its filter's event"
    assert asked("reset", *config, "slow") == "alert 'slow' has been reset\n"

    for _ in range(CONNECTIONS + 1):
        client.connect(proxy)
    firewall.wait_stopped()
    assert "alert 'last' stops the service" in firewall.stderr()
    assert not any(Path(f"/proc/{pid}").exists() for pid in numbers(pages / "pids")[1:])
    logged = firewall.alerts()
    assert {row["event"] for row in logged} == {
        "Alert action failure", "Client denied too often", "Connection limit exceeded"
    }  # fmt: skip
    assert len(logged) < CLIENTS, "rows of a flood are few"
