"""The checks of ``fwx doctor`` on machines that a test describes; tests/integration has them on real ones."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fwx.config import Configuration, load
from fwx.config_model import TransparentListener
from fwx.doctor import kernel_filter, listening
from fwx.doctor.examination import examine
from fwx.doctor.finding import Finding, Verdict
from fwx.doctor.kernel_filter import check_guarded, check_nftables, check_tables
from fwx.doctor.listening import check_ports
from fwx.doctor.machine import Machine
from fwx.doctor.privileges import check_privileges
from fwx.doctor.probe import NotRootError, ProbeError, check_arrivals
from fwx.doctor.resources import check_clock, check_descriptors, check_state
from fwx.doctor.transparent import check_transparent
from fwx.packetfilter.nft import NftError
from fwx.packetfilter.ruleset import SETS
from fwx.ports import ListeningPort, Owner

NFTABLES = '[packet_filter]\nbackend = "nftables"\n'


class Nft:
    """An nftables that answers what the test says."""

    name = "an nft"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.ran: list[Any] = []

    def run(self, commands: Sequence[Any]) -> list[Any]:
        self.ran.append(commands)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        found: list[Any] = answer
        return found

    def close(self) -> None:
        """Nothing."""


class Described(Machine):
    """A machine that is as its attributes say."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.settings: dict[str, str] = {}
        self.answers: dict[str, Any] = {}
        self.root = self.capable = True
        self.limit = 1 << 20
        self.now, self.booted, self.synchronised = 1.8e9, 1000.0, True
        self.free = 1 << 40
        self.ports: list[ListeningPort] = []
        self.programs: dict[int, Owner] = {}
        self.rules: list[dict[str, Any]] = []
        self.netfilter: Any = Nft()
        self.services: set[int] = set()
        self.arrivals: Any = NotRootError("nobody tries")
        for name, value in attributes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    def is_root(self) -> bool:
        return self.root

    def has_capability(self, number: int) -> bool:
        return self.capable

    def nft(self) -> Any:
        if isinstance(self.netfilter, OSError):
            raise self.netfilter
        return self.netfilter

    def ruleset(self) -> list[dict[str, Any]]:
        return [{"metainfo": {}}, *({"rule": {"expr": rule}} for rule in self.rules)]

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        answer = self.answers.get(" ".join(arguments), [])
        if isinstance(answer, OSError):
            raise answer
        found: list[dict[str, Any]] = answer
        return found

    def try_listeners(self, listeners: Any) -> list[dict[str, Any]]:
        if isinstance(self.arrivals, ProbeError):
            raise self.arrivals
        return [self.arrivals] * len(listeners)

    def sysctl(self, name: str) -> str:
        return self.settings.get(name, "0")

    def listening(self) -> list[ListeningPort]:
        return self.ports

    def owners(self) -> dict[int, Owner]:
        return self.programs

    def is_service(self, pid: int) -> bool:
        return pid in self.services

    def command_of(self, pid: int) -> str:
        return f"command of {pid}"

    def descriptor_limit(self) -> int:
        return self.limit

    def time(self) -> float:
        return self.now

    def boot_time(self) -> float:
        return self.booted

    def clock_is_synchronised(self) -> bool:
        return self.synchronised

    def free_bytes(self, folder: Path) -> int:
        return self.free


def configured(folder: Path, text: str = "") -> Configuration:
    file = folder / "fwx.toml"
    file.write_text(text)
    return load(file)


def bad(findings: Any) -> list[Finding]:
    found = [each for each in findings if each.verdict is not Verdict.OK]
    assert all(each.why for each in found), "what is not well is explained"
    return found


def only(findings: Any) -> Finding:
    (found,) = bad(findings)
    return found


def test_a_well_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_try", lambda address, transport: 0)
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    findings = list(examine(configured(tmp_path, '[service]\nuser = "daemon"\n' + NFTABLES), Described()))
    findings += list(examine(configured(tmp_path), Described(root=False, capable=False)))
    assert not bad(each for each in findings if each.check != "privileges")
    checks = {each.check for each in findings}
    assert checks == {"privileges", "ports", "nftables", "guarded ports", "descriptors", "clock", "state folder"}


def test_a_machine_that_does_not_answer(tmp_path: Path) -> None:
    class Mute(Described):
        def descriptor_limit(self) -> int:
            raise OSError("no answer")

    found = [each for each in examine(configured(tmp_path), Mute()) if each.check == "descriptors"]
    assert (found[0].verdict, found[0].found) == (Verdict.FAIL, "it cannot be looked at: no answer")


# Privileges.


@pytest.mark.parametrize("text", [NFTABLES, '[[listener]]\nname = "l"\nkind = "transparent"\nbind = "0.0.0.0:1081"\n'])
def test_no_capability(tmp_path: Path, text: str) -> None:
    finding = only(check_privileges(configured(tmp_path, text), Described(root=False, capable=False)))
    assert finding.verdict is Verdict.FAIL
    assert "without the capability CAP_NET_ADMIN" in finding.found
    assert finding.mend == "sudo fwx serve"


@pytest.mark.parametrize(("user", "words"), [("no-such-user", "no-such-user"), ("root", "is root")])
def test_an_account_that_will_not_do(tmp_path: Path, user: str, words: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another account")
    finding = only(check_privileges(configured(tmp_path, f'[service]\nuser = "{user}"\n'), Described()))
    assert finding.verdict is Verdict.FAIL
    assert words in finding.found


# Ports.


@pytest.mark.parametrize(
    ("number", "found", "mend"),
    [
        (errno.EACCES, "is not allowed", "sudo fwx serve"),
        (errno.EADDRNOTAVAIL, "cannot be had", "ip address add 127.0.0.1 dev INTERFACE"),
        (errno.EMFILE, "EMFILE", ""),
        (errno.EADDRINUSE, "is taken", "sudo ss -ltnp 'sport = :1080'"),
    ],
)
def test_a_port_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, found: str, mend: str
) -> None:
    monkeypatch.setattr(listening, "_try", lambda address, transport: number)
    finding = only(check_ports(configured(tmp_path), Described()))
    assert (finding.verdict, finding.mend) == (Verdict.FAIL, mend)
    assert found in finding.found


def test_a_port_that_systemd_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to kill it."""
    monkeypatch.setattr(listening, "_try", lambda address, transport: errno.EADDRINUSE)
    held = ListeningPort("tcp", ip_address("127.0.0.1"), 1080, 7)
    machine = Described(ports=[held], programs={7: Owner(1, "systemd")})
    finding = only(check_ports(configured(tmp_path), machine))
    assert (finding.verdict, finding.mend) == (Verdict.WARN, "systemctl list-sockets")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [("127.0.0.1", Verdict.FAIL), ("0.0.0.0", Verdict.FAIL), ("::", Verdict.FAIL), ("127.0.0.2", None)],
)
def test_who_has_the_port(tmp_path: Path, address: str, verdict: Verdict | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f'[[listener]]\nname = "l"\nkind = "proxy"\nbind = "127.0.0.1:{port}"\n'
        machine = Described(
            ports=[ListeningPort("tcp", ip_address(address), port, 7)], programs={7: Owner(123, "squid")}
        )
        finding = only(check_ports(configured(tmp_path, text), machine))
        assert (finding.mend == "kill 123") == (verdict is not None)
        machine.services.add(123)
        assert bool(bad(check_ports(configured(tmp_path, text), machine))) == (verdict is None)


# nftables.


def test_nothing_to_write_with(tmp_path: Path) -> None:
    finding = only(check_nftables(configured(tmp_path, NFTABLES), Described(netfilter=OSError("no library, no nft"))))
    assert (finding.verdict, finding.mend) == (Verdict.FAIL, "apt install nftables")
    assert not list(check_tables(configured(tmp_path), Described(netfilter=OSError("no library"))))


def test_a_kernel_that_refuses(tmp_path: Path) -> None:
    machine = Described(netfilter=Nft(NftError("Error: Could not process rule")))
    finding = only(check_nftables(configured(tmp_path, NFTABLES), machine))
    assert finding.verdict is Verdict.FAIL
    assert "Could not process rule" in finding.found
    assert finding.mend.startswith("modprobe ")


def test_what_an_ordinary_user_cannot_see(tmp_path: Path) -> None:
    machine = Described(root=False, capable=False)
    assert only(check_nftables(configured(tmp_path, NFTABLES), machine)).mend == "sudo fwx doctor"
    assert not list(check_tables(configured(tmp_path, NFTABLES), machine))
    assert machine.netfilter.ran == []


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was left behind, one with an element of others, one without a set, one that was flushed."""
    names = ("filter", "fwx_a", "fwx_b", "fwx_c", "fwx_d")
    sets: list[Any] = [{"set": {"name": name}} for name in SETS]
    whole = [*sets, {"rule": {}}]
    strange = [*whole[1:], {"set": {"name": SETS[0], "elem": ["strange"]}}]
    tables = [{"table": {"name": name}} for name in names]
    machine = Described(netfilter=Nft(tables, whole, strange, whole[1:], sets))
    found = bad(check_tables(configured(tmp_path), machine))
    assert [each.mend for each in found] == [f"nft delete table inet {name}" for name in names[1:]]
    assert {each.verdict for each in found} == {Verdict.FAIL}
    words = ("fwx_a was left behind", "fwx_b: ", f"fwx_c: it lacks the sets {SETS[0]}", "fwx_d: it has no rules")
    assert all(each.found.startswith(start) for each, start in zip(found, words, strict=True))
    assert all("no service keeps it" in each.why for each in found[1:])
    monkeypatch.setattr(kernel_filter, "living_holder", lambda listing: 123)
    well, changed = check_tables(configured(tmp_path), Described(netfilter=Nft(tables[1:3], whole, sets)))
    assert well.found == "fwx_a is kept by process 123, with 0 openings"
    assert changed.verdict is Verdict.FAIL
    assert "its service writes it anew" in changed.why
    failing = Described(netfilter=Nft(NftError("no")))
    assert only(check_tables(configured(tmp_path), failing)).verdict is Verdict.FAIL


def test_ports_of_others_that_are_closed(tmp_path: Path) -> None:
    ports = [
        ListeningPort("tcp", ip_address(host), port, port)
        for host, port in (("0.0.0.0", 22), ("0.0.0.0", 2222), ("127.0.0.1", 25), ("::", 443))
    ]
    machine = Described(ports=ports, programs={2222: Owner(9, "sshd"), 443: Owner(10, "fwx")}, services={10})
    finding = only(check_guarded(configured(tmp_path, NFTABLES), machine))
    assert finding.verdict is Verdict.WARN
    assert finding.found == "tcp/2222 of sshd (process 9) is closed to new clients"
    assert finding.mend == "add 'tcp/2222' to 'except' in [packet_filter]"
    excepting = configured(tmp_path, NFTABLES + 'except = ["tcp/22", "tcp/2222"]\n')
    assert not bad(check_guarded(excepting, machine))
    assert not list(check_guarded(configured(tmp_path), machine))


# Transparent listeners.

TPROXY = '[[listener]]\nname = "t"\nkind = "transparent"\nbind = "{bind}"\nmode = "tproxy"\n'
REDIRECT = '[[listener]]\nname = "t"\nkind = "transparent"\nbind = "0.0.0.0:1081"\nmode = "redirect"\n'
DIVERT = [{"tproxy": {"port": 1081}}, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}, {"accept": None}]
ROUTED = {
    "-4 rule show": [{"priority": 32765, "src": "all", "fwmark": "0x1", "table": "100"}],
    "-4 route get 192.0.2.1 mark 1": [{"type": "local", "dst": "192.0.2.1", "dev": "lo"}],
}
FORWARDING = {"net.ipv4.ip_forward": "1"}


def transparent(folder: Path, text: str, **attributes: Any) -> list[Finding]:
    findings = bad(check_transparent(configured(folder, text), Described(**attributes)))
    return [each for each in findings if "IP_TRANSPARENT" not in each.found]  # true or not, of whoever runs the tests


@pytest.mark.parametrize(
    ("attributes", "found", "mend"),
    [
        ({"rules": []}, "no rule of nftables diverts to port 1081", "nft add rule inet TABLE prerouting"),
        ({"rules": [DIVERT[:1]]}, "the rule sets no mark", "add 'meta mark set 1' to the rule"),
        ({"answers": {}}, "no routing rule for mark 1", "ip -4 rule add fwmark 1 lookup 100"),
        (
            {"answers": {**ROUTED, "-4 route get 192.0.2.1 mark 1": [{"dst": "192.0.2.1", "dev": "eth0"}]}},
            "is not delivered to this machine",
            "ip -4 route add local default dev lo table 100",
        ),
        (
            {"answers": {**ROUTED, "-4 route get 192.0.2.1 mark 1": OSError("Network is unreachable")}},
            "Network is unreachable",
            "ip -4 route add local default dev lo table 100",
        ),
        ({"settings": {}}, "net.ipv4.ip_forward is off", "sysctl -w net.ipv4.ip_forward=1"),
        (
            {"settings": {**FORWARDING, "net.ipv4.conf.all.rp_filter": "1"}},
            "net.ipv4.conf.all.rp_filter strict",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
    ],
)
def test_what_tproxy_lacks(tmp_path: Path, attributes: dict[str, Any], found: str, mend: str) -> None:
    well = {"rules": [DIVERT], "answers": ROUTED, "settings": FORWARDING}
    assert transparent(tmp_path, TPROXY.format(bind="0.0.0.0:1081"), **well) == []
    (finding,) = transparent(tmp_path, TPROXY.format(bind="0.0.0.0:1081"), **{**well, **attributes})
    assert found in finding.found
    assert finding.mend.startswith(mend)


def test_ipv6_has_its_own(tmp_path: Path) -> None:
    text = TPROXY.format(bind="[::]:1081")
    rules, forwarding = transparent(tmp_path, text, rules=[DIVERT])
    assert rules.mend == "ip -6 rule add fwmark 1 lookup 100"
    assert forwarding.mend == "sysctl -w net.ipv6.conf.all.forwarding=1"


def test_redirect(tmp_path: Path) -> None:
    assert transparent(tmp_path, REDIRECT, rules=[[{"redirect": {"port": 1081}}]], settings=FORWARDING) == []
    for rules in ([], [[{"redirect": {"port": 1082}}], [{"redirect": None}]]):
        (finding,) = transparent(tmp_path, REDIRECT, rules=rules, settings=FORWARDING)
        assert finding.mend == "nft add rule inet TABLE prerouting meta l4proto tcp redirect to :1081"


@pytest.mark.parametrize(
    ("arrivals", "verdict", "found", "mend"),
    [
        (NotRootError("it takes root"), Verdict.OK, "no connection has been tried: it takes root", ""),
        (ProbeError("no room"), Verdict.WARN, "no connection could be tried: no room", ""),
        ({"error": "taken"}, Verdict.WARN, "listener 't': a connection cannot be tried: taken", ""),
        (
            {"arrived": {"a": 80, "b": 25}, "lost": {"c": "came"}},
            Verdict.OK,
            "listener 't': a connection to somebody else arrives that comes in by a (port 80), b (port 25); not by c",
            "",
        ),
        (
            {"arrived": {}, "lost": {}},
            Verdict.OK,
            "listener 't': a connection cannot be tried: no interface has an address of its family",
            "",
        ),
        (
            {"arrived": {}, "lost": {"a": "came", "b": "nothing"}},
            Verdict.FAIL,
            "listener 't': a connection to somebody else comes in, and no rule of nftables diverts it",
            "nft -a list ruleset: change what the rule for port 1081 asks of a packet",
        ),
        (
            {"arrived": {}, "lost": {"a": "came", "b": "diverted"}},
            Verdict.FAIL,
            "listener 't': a connection to somebody else is diverted, and not delivered to this machine",
            "ip -4 route add local default dev lo table 100",
        ),
        (
            {"arrived": {}, "lost": {"a": "delivered"}},
            Verdict.FAIL,
            "listener 't': a connection to somebody else is diverted and delivered, and does not reach the listener",
            "nft insert rule inet TABLE input socket transparent 1 accept",
        ),
        (
            {"arrived": {}, "lost": {"a": "nothing"}},
            Verdict.FAIL,
            "listener 't': a connection to somebody else does not come in by any interface",
            "nft -a list ruleset",
        ),
    ],
)
def test_what_a_trial_finds(tmp_path: Path, arrivals: Any, verdict: Verdict, found: str, mend: str) -> None:
    machine = Described(rules=[DIVERT], answers=ROUTED, settings=FORWARDING, arrivals=arrivals)
    (listener,) = configured(tmp_path, TPROXY.format(bind="0.0.0.0:1081")).listeners
    assert isinstance(listener, TransparentListener)
    (told,) = check_arrivals([listener], machine)
    assert (told.verdict, told.found, told.mend) == (verdict, found, mend)
    assert bool(told.why) == (verdict is not Verdict.OK)


def test_without_a_transparent_listener_nothing_is_asked(tmp_path: Path) -> None:
    assert not list(check_transparent(configured(tmp_path), Described()))


# Resources.


@pytest.mark.parametrize(
    ("limit", "verdict"), [(383, Verdict.FAIL), (384, Verdict.WARN), (3263, Verdict.WARN), (3264, Verdict.OK)]
)
def test_descriptors(tmp_path: Path, limit: int, verdict: Verdict) -> None:
    (finding,) = check_descriptors(configured(tmp_path), Described(limit=limit))
    assert finding.verdict is verdict
    assert finding.mend == ("" if verdict is Verdict.OK else "prlimit --nofile=3264:3264 fwx serve")


@pytest.mark.parametrize(
    ("attributes", "verdict"),
    [
        ({"now": 0.0}, Verdict.FAIL),
        ({"now": 5e9}, Verdict.FAIL),
        ({"booted": 1.9e9}, Verdict.FAIL),
        ({"synchronised": False}, Verdict.WARN),
        ({}, Verdict.OK),
    ],
)
def test_the_clock(tmp_path: Path, attributes: dict[str, Any], verdict: Verdict) -> None:
    (finding,) = check_clock(configured(tmp_path), Described(**attributes))
    assert finding.verdict is verdict
    assert finding.mend == ("" if verdict is Verdict.OK else "timedatectl set-ntp true")


def test_this_machines_own_answers(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.time() > machine.boot_time() > 0
    assert machine.clock_is_synchronised() in (True, False)
    assert machine.descriptor_limit() > 0
    assert machine.free_bytes(tmp_path) > 0
    assert machine.is_root() == (os.geteuid() == 0)
    assert machine.sysctl("kernel.ostype") == "Linux"
    assert machine.command_of(os.getpid())
    assert machine.command_of(1 << 30) == ""
    assert not machine.is_service(os.getpid())
    machine.close()


@pytest.mark.parametrize(
    ("mode", "free", "verdict", "mend"),
    [
        (0o700, 1 << 40, None, ""),
        (0o755, 1 << 40, Verdict.FAIL, "chmod 0700 {}"),
        (0o700, 1 << 20, Verdict.FAIL, "du -xh --max-depth=1 {}"),
        (0o700, 1 << 29, Verdict.WARN, "du -xh --max-depth=1 {}"),
    ],
)
def test_the_state_folder(tmp_path: Path, mode: int, free: int, verdict: Verdict | None, mend: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    found = bad(check_state(configured(tmp_path), Described(free=free)))
    assert [(each.verdict, each.mend) for each in found] == ([(verdict, mend.format(folder))] if verdict else [])


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert only(check_state(configured(tmp_path), Described())).mend.startswith("mv ")


def test_a_state_folder_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives a folder away")
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    finding = only(check_state(configured(tmp_path), Described(root=False)))
    assert (finding.verdict, finding.mend) == (Verdict.FAIL, f"chown -R 0 {folder}")


def test_a_state_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = only(check_state(configured(tmp_path), Described()))
    assert finding.mend == f"install -d -m 0700 -o {os.geteuid()} {tmp_path / 'state'}"
