"""``fwx sessions`` and a running service: what is listed, what a kill ends, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fwx.commands.sessions import sessions
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED

RULES = """
[[network]]
name = "staff"
ranges = ["127.0.0.10"]

[[rule]]
name = "staff"
action = "allow"
protocols = ["any"]
from = ["staff"]
to = ["localhost"]

[[rule]]
name = "others"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_listed_and_killed(serve: Any, origin: Any, client: Any) -> None:
    """B10.7: a session's client, type and number, which ends its connections; the log says who has ended them."""
    server = origin()
    firewall = serve(RULES)
    config = ["--config", str(firewall.folder / "fwx.toml")]

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(sessions, [*arguments])
        assert result.exit_code in (0, 1), result.output
        return result

    staff = client.socks(firewall.address(), server.address, "127.0.0.10")
    other = client.socks(firewall.address(), server.address, "127.0.0.1")
    for opened in (staff, other):
        opened.sendall(b"hello")
        assert client.exactly(opened, 5) == b"hello"
    target = "{}:{}".format(*server.address)
    listed = run(*config, "--json", "--seconds", "0.01")
    assert listed.exit_code == 0, (listed.output, listed.exception)
    found = json.loads(listed.stdout)
    assert [(each["client"], each["kind"], each["sent"], each["received"]) for each in found] == [
        ("127.0.0.10", "Firewall client", 5, 5),
        ("127.0.0.1", "Firewall client", 5, 5),
    ]
    (connection,) = found[0]["connections"]
    assert (connection["rule"], connection["target"], connection["interface"]) == ("staff", target, "proxy")
    assert (connection["sent_per_second"], connection["received_per_second"]) == (0, 0)
    words = run(*config, "--seconds", "0", "--from", "127.0.0.1", "--to", target).stdout
    assert words.splitlines()[1].startswith("  connection 2  TCP 127.0.0.1:")
    assert words.splitlines()[1].split("  ")[2:4] == [f"TCP {connection_client(other)} to {target}", "rule 'others'"]

    would = run("kill", *config, "--rule", "staff", "--dry-run")
    assert would.stdout.startswith("would end connection 1  TCP 127.0.0.10:")
    ended = run("kill", *config, "--session", str(found[0]["session"]), "--json")
    assert [each["connection"] for each in json.loads(ended.stdout)] == [1]
    with pytest.raises(ConnectionResetError):
        staff.recv(1)
    row = firewall.wait_row(rule="staff")
    assert (row["Action"], row["resultcode"]) == (Action.Terminate, int(HRESULT_FROM_WIN32(WSAECONNABORTED)))
    assert row["reason"] == f"ended by an operator: fwx sessions kill --session {found[0]['session']}"
    other.sendall(b"still there")
    assert client.exactly(other, 11) == b"still there"

    again = run("kill", *config, "--rule", "staff")
    assert (again.exit_code, again.output) == (1, "Error: nothing that fits is open\n")
    unknown = run("kill", *config, "--rule", "staf")
    assert unknown.exit_code == 1
    assert "the service has no rule 'staf'" in unknown.output


def connection_client(sock: Any) -> str:
    return "{}:{}".format(*sock.getsockname())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["kill"], "say which: --user, --rule, --filter, --from, --to, --session or --connection"),
        (["--user", "alice", "kill", "--rule", "r"], "options that choose go behind 'kill'"),
        (["--config", "fwx.toml", "kill", "--rule", "r"], "options that choose go behind 'kill'"),
        (["--to", "192.0.2.1:99999"], "Invalid value for '--to'"),
        (["kill", "--connection", "0"], "Invalid value for '--connection'"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(sessions, arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_no_service(tmp_path: Any) -> None:
    (tmp_path / "fwx.toml").touch()
    result = CliRunner().invoke(sessions, ["kill", "--config", str(tmp_path / "fwx.toml"), "--user", "alice"])
    assert result.exit_code == 1
    assert "no service runs with the state folder" in result.output
