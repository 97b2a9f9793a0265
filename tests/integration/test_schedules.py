"""A running service when a schedule ends: connections go, others stay; what is live can be asked about meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.commands.explain import explain
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_CONNECTION_CLOSED

# Noon of a Monday, and the evening once the file is there; local time is UTC.
CLOCK = """
import os, time
from fwx.impl.schedule import Calendar
Calendar.__init__.__defaults__ = ((), lambda: 1793642400 if os.path.exists("evening") else 1793620800, time.gmtime)
"""
RULES = """
[[network]]
name = "staff"
ranges = ["127.0.0.10"]

[[schedule]]
name = "work"
days = "mon-fri"
hours = "08:00-18:00"

[[rule]]
name = "staff"
action = "allow"
protocols = ["any"]
from = ["staff"]
to = ["localhost"]

[[rule]]
name = "never"
action = "deny"
shadow = true
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]

[[rule]]
name = "by day"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
schedule = "work"
"""


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_a_schedule_ends(serve: Any, origin: Any, client: Any) -> None:
    """B7.19: connections that are no longer allowed are ended, the log says so, and the others go on."""
    server = origin()
    firewall = serve(RULES, prelude=CLOCK)
    config = ["--config", str(firewall.folder / "fwx.toml")]
    by_day = client.socks(firewall.address(), server.address, "127.0.0.1")
    staff = client.socks(firewall.address(), server.address, "127.0.0.10")
    for opened in (by_day, staff):
        opened.sendall(b"day")
        assert client.exactly(opened, 3) == b"day"

    def explained(number: int) -> Any:
        result = CliRunner().invoke(explain, [*config, "--connection", str(number), "--json"])
        assert result.exit_code == 0, result.output
        (told,) = json.loads(result.stdout)
        return told

    told = explained(1)
    assert (told["began"]["rule"], told["decision"]["rule"], told["decision"]["shadows"]) == (
        "by day",
        "by day",
        ["never"],
    )
    assert [(rule["rule"], rule["element"]) for rule in told["rules"]] == [
        ("staff", "from"),
        ("never", None),
        ("by day", None),
    ]
    assert explained(2)["decision"]["rule"] == "staff"
    (firewall.folder / "evening").touch()
    with pytest.raises(ConnectionResetError):
        by_day.recv(1)
    row = firewall.wait_row(rule="by day")
    assert (row["Action"], row["resultcode"]) == (Action.Terminate, int(FWX_E_POLICY_CONNECTION_CLOSED))
    assert row["reason"].startswith("no longer allowed: no rule allows ")
    assert row["reason"].endswith("; shadow rule 'never' would deny it")
    assert client.socks_code(firewall.address(), server.address, "127.0.0.1") == 2
    staff.sendall(b"night")
    assert client.exactly(staff, 5) == b"night"
    result = CliRunner().invoke(explain, [*config, "--connection", "1"])
    assert result.exit_code == 1
    assert "there is no live connection 1" in result.output
