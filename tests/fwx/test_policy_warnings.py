"""Files without rules: what is said of the policy that holds then."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwx.change.parts import read_parts
from fwx.commands.check import check
from fwx.config import parse
from fwx.config_source import source_of
from fwx.impl.alert import Alerts, Category, Severity
from fwx.impl.fault import FaultReporter

NETWORKS = """
[[network]]
name = "internal"
ranges = ["10.1.0.0/16"]
[[network_rule]]
name = "out"
from = ["internal"]
to = ["external"]
relation = "nat"
"""
RULE = """
[[{kind}]]
name = "all"
action = "deny"
protocols = ["any"]
from = ["any"]
to = ["localhost"]
"""
EMBEDDED = (
    "{}: rule: {}there is no [[rule]], so the embedded policy holds: programs on this machine may connect to everything"
)
UNUSED = (
    "{}:5: network_rule: {}is not used: the embedded policy asks no network rules; expected a [[rule]] or "
    "[[system_rule]]"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", (EMBEDDED,)),
        (NETWORKS, (EMBEDDED, UNUSED)),
        (NETWORKS + RULE.format(kind="system_rule"), (EMBEDDED,)),
        (NETWORKS + RULE.format(kind="rule"), ()),
    ],
)
def test_check_and_a_change_say_it(text: str, told: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "fwx.toml"
    file.write_text(text)
    result = CliRunner().invoke(check, [str(file)])
    assert (result.exit_code, result.stderr.splitlines()) == (0, [each.format(file, "warning: ") for each in told])
    configuration, problems = parse(source_of(file, text.encode()))
    assert configuration is not None
    assert not problems
    event = Alerts(time.time, ()).define("fault", Severity.ERROR, Category.OTHER, source="fwx")
    parts = read_parts(configuration, FaultReporter(event), event)
    assert parts.notes == tuple(each.format(file, "") for each in told)
