"""``fwx doctor`` tries a connection to somebody else in a copy of the machine: what rules look like is not enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.namespaces import Gateway, gateway_of

pytestmark = pytest.mark.requires("ip", "nft")

LISTENER = """
[[listener]]
name = "{name}"
kind = "transparent"
mode = "{mode}"
transport = "{transport}"
bind = "{bind}:15001"
"""
TPROXY4 = LISTENER.format(name="tcp4", mode="tproxy", transport="tcp", bind="0.0.0.0")
RULES = """
table inet gateway {{
    chain prerouting {{
        type filter hook prerouting priority mangle; policy accept;
        meta nfproto ipv4 {condition} meta l4proto tcp tproxy ip to :15001 meta mark set 1 accept
    }}
    {more}
}}
"""


class Doctor:
    """Runs the doctor in the firewall's namespace."""

    def __init__(self, three: Gateway, folder: Path, example: Path) -> None:
        self.three = three
        self.example = example
        self._folder = folder
        (folder / "state").mkdir(mode=0o700)

    def inside(self, *command: str, text: str | None = None) -> None:
        subprocess.run([*self.three.prefix(self.three.firewall), *command], check=True, input=text, text=True)

    def rules(self, condition: str = "", more: str = "") -> None:
        self.inside("nft", "-f", "-", text=RULES.format(condition=condition, more=more))

    def said(self, config: str) -> list[dict[str, str]]:
        """What it says of connections that it has tried."""
        file = self._folder / "fwx.toml"
        file.write_text('[service]\nuser = "daemon"\n' + config)
        ended = subprocess.run(
            [*self.three.prefix(self.three.firewall), sys.executable, "-m", "fwx", "doctor", "--json",
             "--config", str(file)],
            capture_output=True, text=True, check=False, timeout=60, cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        )  # fmt: skip
        assert not ended.stderr, ended.stderr
        found = [json.loads(each) for each in ended.stdout.splitlines()]
        return [each for each in found if " a connection " in each["found"] or " a datagram " in each["found"]]


@pytest.fixture
def doctor(namespace: str, program_path: Callable[[str], str], tmp_path: Path, source_tree: Path) -> Iterator[Doctor]:
    """A gateway whose routes are right, and no rules."""
    with gateway_of(namespace, program_path("ip")) as three:
        made = Doctor(three, tmp_path, source_tree / "examples" / "gateway")
        made.inside("sh", str(made.example / "routes.sh"))
        yield made


def test_the_example(doctor: Doctor) -> None:
    """Each listener gets what comes in by the inside interface, and nothing that comes in by the other."""
    doctor.inside("nft", "-f", str(doctor.example / "gateway.nft"))
    found = doctor.said((doctor.example / "fwx.toml").read_text().partition('[service]\nname = "gateway"\n')[2])
    words = "to somebody else arrives that comes in by inside0"
    assert [(each["verdict"], each["found"]) for each in found] == [
        ("ok", f"listener 'tcp4': a connection {words} (port 80); not by outside0"),
        ("ok", f"listener 'tcp6': a connection {words} (port 80); not by outside0"),
        ("ok", f"listener 'udp4': a datagram {words} (port 53); not by outside0"),
        ("ok", f"listener 'udp6': a datagram {words} (port 53); not by outside0"),
    ]


def test_the_example_by_redirection(doctor: Doctor) -> None:
    doctor.inside("nft", "-f", str(doctor.example / "redirect.nft"))
    text = (doctor.example / "redirect.toml").read_text()
    found = doctor.said(text.partition('[service]\nname = "gateway"\n')[2])
    assert [each["verdict"] for each in found] == ["ok", "ok"]
    assert all("arrives that comes in by inside0 (port 80); not by outside0" in each["found"] for each in found)


DROPPING = "chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }"
MARKING = "chain other { type filter hook prerouting priority -140; meta l4proto tcp meta mark set 2; }"


@pytest.mark.parametrize(
    ("condition", "more", "found", "mend"),
    [
        ('iifname "eth7"', "", "comes in, and no rule of nftables diverts it", "nft -a list ruleset"),
        ("ip saddr 10.77.0.0/16", "", "comes in, and no rule of nftables diverts it", "nft -a list ruleset"),
        ("", MARKING, "is diverted, and not delivered to this machine", "ip -4 route add local default dev lo"),
        ("", DROPPING, "is diverted and delivered, and does not reach the listener",
         "nft insert rule inet TABLE input socket transparent 1 accept"),
    ],
)  # fmt: skip
def test_what_is_there_and_does_not_work(doctor: Doctor, condition: str, more: str, found: str, mend: str) -> None:
    """Rule, mark, routing rule and route are there; only the attempt shows that nothing arrives."""
    doctor.rules(condition, more)
    (said,) = doctor.said(TPROXY4)
    assert (said["verdict"], said["found"]) == ("fail", f"listener 'tcp4': a connection to somebody else {found}")
    assert said["mend"].startswith(mend)
    if "TABLE" in mend:
        doctor.inside(*mend.replace("TABLE", "gateway").split())
        (said,) = doctor.said(TPROXY4)
        assert said["verdict"] == "ok"


def test_ports_that_the_rules_name_are_tried(doctor: Doctor) -> None:
    doctor.rules("tcp dport { 8080, 9000-9010 }")
    (said,) = doctor.said(TPROXY4)
    assert said["verdict"] == "ok"
    assert "inside0 (port 8080)" in said["found"]


def test_another_transport(doctor: Doctor) -> None:
    """A rule for TCP diverts no UDP."""
    doctor.rules()
    (said,) = doctor.said(LISTENER.format(name="udp4", mode="tproxy", transport="udp", bind="0.0.0.0"))
    assert (said["verdict"], said["found"]) == (
        "fail", "listener 'udp4': a datagram to somebody else comes in, and no rule of nftables diverts it",
    )  # fmt: skip


def test_a_running_service_is_not_disturbed(doctor: Doctor, serve: Any) -> None:
    """Its port is held, the trial has one of its own in the copy; nothing of the trial reaches the service's log."""
    doctor.inside("nft", "-f", str(doctor.example / "gateway.nft"))
    firewall = serve(TPROXY4, prefix=doctor.three.prefix(doctor.three.firewall))
    before = doctor.three.run(doctor.three.firewall, "nft", "list", "ruleset")
    (said,) = doctor.said(TPROXY4)
    assert said["verdict"] == "ok"
    assert doctor.three.run(doctor.three.firewall, "nft", "list", "ruleset") == before
    assert firewall.rows() == []
