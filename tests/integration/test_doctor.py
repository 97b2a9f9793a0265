"""``fwx doctor`` where a test has planted a fault: each is found, explained, and mended by what it says."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fwx.packetfilter.confinement import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
from fwx.packetfilter.plan import Plan
from fwx.packetfilter.ruleset import make_table

_PR_CAPBSET_DROP = 24
CONFIG = """
[service]
user = "daemon"

[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:{port}"
{more}
"""
NFTABLES = '[packet_filter]\nbackend = "nftables"\n'
TPROXY = """
[[listener]]
name = "everything"
kind = "transparent"
bind = "0.0.0.0:1081"
mode = "tproxy"
"""


class Doctor:
    """Runs ``fwx doctor`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.returncode = 0
        self.text = ""

    def command(self, *options: str, port: int = 0, more: str = "") -> list[str]:
        (self.folder / "fwx.toml").write_text(CONFIG.format(port=port, more=more))
        return [sys.executable, "-m", "fwx", "doctor", "--config", str(self.folder / "fwx.toml"), *options]

    def findings(
        self,
        *,
        port: int = 0,
        more: str = "",
        prefix: tuple[str, ...] = (),
        before: Callable[[], None] | None = None,
        clock: bool = False,
    ) -> list[dict[str, str]]:
        """What it finds that is not well; of the machine's own clock only where a test has set it."""
        command = [*prefix, *self.command("--json", port=port, more=more)]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder.parent, preexec_fn=before,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        )  # fmt: skip
        assert not ended.stderr, ended.stderr
        self.returncode = ended.returncode
        found = [json.loads(line) for line in ended.stdout.splitlines()]
        assert all(each["why"] for each in found if each["verdict"] != "ok"), "each is explained"
        return [each for each in found if each["verdict"] != "ok" and (clock or each["check"] != "clock")]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, capture_output=True)


def test_a_port_in_use(doctor: Doctor) -> None:
    """Planted: another program has the listener's port."""
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        (found,) = doctor.findings(port=port)
        assert doctor.returncode == 1
        assert (found["check"], found["verdict"], found["mend"]) == ("ports", "fail", f"kill {other.pid}")
        assert f"(process {other.pid})" in found["found"]
        run(found["mend"])
        other.wait()
    assert doctor.findings(port=port) == []
    assert doctor.returncode == 0


def drop(capability: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def test_no_capability(doctor: Doctor) -> None:
    """Planted: the packet filter is asked for, and this process may not set it up."""
    before = partial(drop, CAP_NET_ADMIN) if os.geteuid() == 0 else None
    found = {each["check"]: each for each in doctor.findings(more=NFTABLES, before=before)}
    assert doctor.returncode == 1
    assert found["privileges"]["verdict"] == "fail"
    assert "without the capability CAP_NET_ADMIN" in found["privileges"]["found"]
    assert found["privileges"]["mend"] == "sudo fwx serve"


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1,
    reason="every port is for everybody here",
)
def test_a_port_for_root(doctor: Doctor) -> None:
    """Planted: a port below 1024, and no capability to bind it."""
    before = partial(drop, CAP_NET_BIND_SERVICE) if os.geteuid() == 0 else None
    (found,) = doctor.findings(port=1, before=before)
    assert (found["check"], found["verdict"], found["mend"]) == ("ports", "fail", "sudo fwx serve")
    assert "the capability CAP_NET_BIND_SERVICE, or a .socket unit of systemd" in found["why"]
    assert doctor.returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a time namespace")
def test_a_clock_that_is_wrong(doctor: Doctor) -> None:
    """Planted: by the clock the machine was started in the future, as where the clock has gone back."""
    prefix = ("unshare", "--time", "--boottime", "3000000000", "--fork")
    (found,) = doctor.findings(prefix=prefix, clock=True)
    assert (found["check"], found["verdict"]) == ("clock", "fail")
    assert found["why"] == "it is before the machine was started"
    assert found["mend"] == "timedatectl set-ntp true"
    assert doctor.returncode == 1


def lower_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def test_a_low_limit_of_descriptors(doctor: Doctor) -> None:
    """Planted: fewer descriptors than one client may use."""
    (found,) = doctor.findings(before=lower_limit)
    assert (found["check"], found["verdict"], found["found"]) == ("descriptors", "fail", "200 at most")
    assert found["mend"] == "prlimit --nofile=3264:3264 fwx serve"
    assert doctor.returncode == 1


def test_a_state_folder_that_others_may_read(doctor: Doctor) -> None:
    """Planted: the folder of the log is open to everybody."""
    doctor.state.chmod(0o755)
    (found,) = doctor.findings()
    assert (found["check"], found["verdict"], found["mend"]) == ("state folder", "fail", f"chmod 0700 {doctor.state}")
    assert doctor.returncode == 1
    run(found["mend"])
    assert doctor.findings() == []


@pytest.mark.requires("ip", "nft")
def test_a_table_that_was_left_behind(doctor: Doctor, namespace: str, program_path: Callable[[str], str]) -> None:
    """Planted: the table of a service that was killed."""
    prefix = (program_path("ip"), "netns", "exec", namespace)
    commands = json.dumps({"nftables": make_table(Plan("fwx_old", ((1, 65535),), ()), None, (), 60)})
    subprocess.run([*prefix, program_path("nft"), "-j", "-f", "-"], input=commands, text=True, check=True)
    (found,) = doctor.findings(prefix=prefix)
    assert (found["check"], found["verdict"]) == ("tables", "fail")
    assert found["found"].startswith("fwx_old was left behind")
    assert found["mend"] == "nft delete table inet fwx_old"
    run(" ".join((*prefix, found["mend"])))
    assert doctor.findings(prefix=prefix, more=NFTABLES) == []


@pytest.mark.requires("ip", "nft")
@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ("flush table inet fwx_old", "it has no rules"),
        ("flush table inet fwx_old; delete set inet fwx_old port4", "it lacks the sets port4"),
        ("add table inet fwx_old_too", "it lacks the sets "),
    ],
)
def test_a_table_that_others_have_changed(
    doctor: Doctor, namespace: str, program_path: Callable[[str], str], planted: str, words: str
) -> None:
    """Planted: a table without its rules, without a set, of somebody else under a name of ours."""
    prefix = (program_path("ip"), "netns", "exec", namespace)
    name = planted.split(";")[0].split()[-1]
    if planted.startswith("flush"):
        commands = json.dumps({"nftables": make_table(Plan(name, ((1, 65535),), ()), None, (), 60)})
        subprocess.run([*prefix, program_path("nft"), "-j", "-f", "-"], input=commands, text=True, check=True)
    subprocess.run([*prefix, program_path("nft"), planted], check=True)
    (found,) = doctor.findings(prefix=prefix)
    assert (found["check"], found["verdict"]) == ("tables", "fail")
    assert found["found"].startswith(f"{name}: {words}")
    run(" ".join((*prefix, found["mend"])))
    assert doctor.findings(prefix=prefix) == []


@pytest.mark.requires("ip", "nft")
def test_a_service_that_runs(doctor: Doctor, serve: Any, namespace: str, program_path: Callable[[str], str]) -> None:
    """Its port and its table are as they should be; a program beside it is closed to new clients."""
    prefix = (program_path("ip"), "netns", "exec", namespace)
    serve('[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "127.0.0.1:1080"\n' + NFTABLES, prefix=prefix)
    assert doctor.findings(prefix=prefix, port=1080, more=NFTABLES) == []
    code = "import socket; s = socket.create_server(('0.0.0.0', 5432)); print('there', flush=True); input()"
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (found,) = doctor.findings(prefix=prefix, port=1080, more=NFTABLES)
        assert (
            found["found"] == f"tcp/5432 of {Path(sys.executable).name} (process {other.pid}) is closed to new clients"
        )
        assert found["mend"] == "add 'tcp/5432' to 'except' in [packet_filter]"
        assert doctor.returncode == 0
        other.kill()


@pytest.mark.requires("ip", "nft")
def test_the_way_to_a_transparent_listener(doctor: Doctor, namespace: str, program_path: Callable[[str], str]) -> None:
    """From nothing to a gateway by the commands of the findings, each of which takes one finding away."""
    prefix = (program_path("ip"), "netns", "exec", namespace)

    def inside(command: str) -> None:
        run(" ".join((*prefix, command)))

    inside("sysctl -w net.ipv4.ip_forward=1")
    for name in ("all", "default"):
        inside(f"sysctl -w net.ipv4.conf.{name}.rp_filter=0")
    inside("nft add table inet gateway")
    inside("nft 'add chain inet gateway prerouting { type filter hook prerouting priority mangle; }'")
    steps = []
    while found := doctor.findings(prefix=prefix, more=TPROXY):
        assert len(found) == 1, found
        assert doctor.returncode == 1
        steps.append(found[0]["mend"])
        assert len(steps) < 5, steps
        inside(steps[-1].replace("TABLE", "gateway"))
    assert [step.split()[:4] for step in steps] == [
        ["nft", "add", "rule", "inet"],
        ["ip", "-4", "rule", "add"],
        ["ip", "-4", "route", "add"],
    ]
    inside("sysctl -w net.ipv4.ip_forward=0")
    inside("sysctl -w net.ipv4.conf.all.rp_filter=1")
    forwarding, reverse = doctor.findings(prefix=prefix, more=TPROXY)
    assert (forwarding["mend"], reverse["mend"]) == (
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.ipv4.conf.all.rp_filter=2",
    )


def test_what_people_read(doctor: Doctor) -> None:
    """One line for each finding; what is not well has why, and how to mend it, underneath."""
    doctor.state.chmod(0o777)
    ended = subprocess.run(doctor.command(), capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("fail  state folder"))
    assert lines[at].endswith(f"{doctor.state} has mode 0777")
    assert lines[at + 1].startswith("      why:  other users")
    assert lines[at + 2] == f"      mend: chmod 0700 {doctor.state}"
    assert any(line.startswith("ok    ports ") for line in lines)


def test_a_configuration_with_a_fault(doctor: Doctor) -> None:
    command = doctor.command(more="[nothing]\n")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "nothing" in ended.stderr
