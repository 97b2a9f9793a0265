"""Look-ups by the machine's resolver from a DNS server that the test runs, with dig as the control."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytestmark = [
    pytest.mark.requires("dnsmasq", "dig"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for port 53 and a mount namespace"),
]

ZONE = (
    "--local=/example.test/",
    "--local=/2.0.192.in-addr.arpa/",
    "--local=/8.b.d.0.1.0.0.2.ip6.arpa/",
    "--host-record=four.example.test,192.0.2.4",
    "--host-record=six.example.test,2001:db8::6",
    "--host-record=both.example.test,192.0.2.46,2001:db8::46",
    "--cname=alias.example.test,both.example.test",
    "--txt-record=text.example.test,nothing else",
)
SCRIPT = Path(__file__).with_name("look_up_script.py")
NOT_FOUND, NO_DATA, AGAIN = (f"HRESULT_FROM_WIN32(WSA{name})" for name in ("HOST_NOT_FOUND", "NO_DATA", "TRY_AGAIN"))


def a_loopback_address() -> str:
    """An address of 127.0.0.0/8 whose port 53 is free: resolv.conf takes no port."""
    random = Random()
    while True:
        address = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 53))
            except OSError:
                continue
        return address


class NameServer:
    """dnsmasq, which knows one zone and says what it was asked."""

    def __init__(self, program: str, folder: Path) -> None:
        self.address = a_loopback_address()
        self._log = folder / "dnsmasq.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "--keep-in-foreground", "--log-facility=-", "--log-queries", "--conf-file=/dev/null",
                 "--pid-file=", "--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces", "--port=53",
                 f"--listen-address={self.address}", *ZONE],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip

    def await_start(self) -> None:
        deadline = time.monotonic() + 20
        while "started, version" not in self._log.read_text():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"dnsmasq does not start: {self._log.read_text()}"
            os.sched_yield()

    def queries(self) -> list[tuple[str, str]]:
        """Type and name of each query so far."""
        return re.findall(r"query\[(\w+)\] (\S+) from", self._log.read_text())


@pytest.fixture
def server(program_path: Callable[[str], str], tmp_path: Path) -> Iterator[NameServer]:
    server = NameServer(program_path("dnsmasq"), tmp_path)
    try:
        server.await_start()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


@pytest.fixture
def dig(program_path: Callable[[str], str]) -> Callable[..., tuple[str, set[str]]]:
    """Ask by dig: the status, and the data of the answer."""

    def ask(server: NameServer, *question: str) -> tuple[str, set[str]]:
        arguments = [program_path("dig"), f"@{server.address}", "+tries=1", "+noall", "+comments", "+answer", *question]
        text = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout
        status = re.search(r"status: (\w+)", text)
        assert status is not None, text
        return status[1], {line.split()[-1] for line in text.splitlines() if line and not line.startswith(";")}

    return ask


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Run a scenario of the script where the name service is that of the test."""

    def run_script(name_server: str, *arguments: str) -> Any:
        files = {
            "resolv.conf": f"nameserver {name_server}\nsearch .\noptions timeout:1 attempts:1\n",
            "nsswitch.conf": "hosts: files dns\n",
            "hosts": "127.0.0.1 localhost\n192.0.2.99 inscribed.example.test listed\n",
        }
        mounts = []
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            mounts.append(f"mount --bind {shlex.quote(str(tmp_path / name))} /etc/{name}")
        command = [sys.executable, "-W", "error", str(SCRIPT), request.param, *arguments]
        shell = f"{' && '.join(mounts)} && exec {shlex.join(command)}"
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-c", shell], capture_output=True, text=True, check=False, timeout=100
        )
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        return json.loads(result.stdout)

    return run_script


def host(name: str, *addresses: str, aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "aliases": list(aliases), "addresses": sorted(addresses)}


BOTH = host("both.example.test", "192.0.2.46", "2001:db8::46")
EXPECTED: dict[str, Any] = {
    "four.example.test": host("four.example.test", "192.0.2.4"),
    "six.example.test": host("six.example.test", "2001:db8::6"),
    "both.example.test": BOTH,
    "alias.example.test": {**BOTH, "aliases": ["alias.example.test"]},
    "192.0.2.4": host("four.example.test", "192.0.2.4"),
    "2001:db8::46": host("both.example.test", "2001:db8::46"),
    "nobody.example.test": NOT_FOUND,
    "192.0.2.200": NOT_FOUND,
    "text.example.test": NO_DATA,
}


def test_answers_of_a_dns_server(server: NameServer, run: Callable[..., Any], dig: Any) -> None:
    """First WSATRY_AGAIN and then the answer, for names and addresses of both families, there or not; dig agrees."""
    found = run(server.address, "answers", *EXPECTED)
    for question, expected in EXPECTED.items():
        outcome = found["answers"][question]
        assert outcome == {"first": AGAIN, "last": expected, "session": expected}, question
    assert [action for action, _ in found["records"]] == [
        "GHBA" if question[0].isdigit() else "GHBN" for question in EXPECTED
    ]
    for question, expected in EXPECTED.items():
        if question[0].isdigit():
            status, data = dig(server, "-x", question)
            assert data == ({f"{expected['name']}."} if isinstance(expected, dict) else set())
        else:
            status, data = dig(server, question, "A")
            data |= dig(server, question, "AAAA")[1]
            addresses = {each for each in data if each[0].isdigit()}
            wanted = expected["addresses"] if isinstance(expected, dict) else ()
            assert set(map(ip_address, addresses)) == set(map(ip_address, wanted))
        assert (status == "NXDOMAIN") == (expected == NOT_FOUND), question


def test_the_hosts_file_is_answered_at_once(server: NameServer, run: Callable[..., Any]) -> None:
    questions = ("listed", "inscribed.example.test", "192.0.2.99", "localhost")
    found = run(server.address, "answers", *questions)["answers"]
    inscribed = host("inscribed.example.test", "192.0.2.99", aliases=("listed",))
    local = host("localhost", "127.0.0.1")
    expected = (inscribed, inscribed, inscribed, local)
    for question, answer in zip(questions, expected, strict=True):
        assert found[question] == {"first": answer, "last": answer, "session": answer}
    assert server.queries() == []


def test_what_is_asked_many_times_is_looked_up_once(server: NameServer, run: Callable[..., Any]) -> None:
    """By filters of the firewall and of sessions, and by connections; at once and soon after."""
    found = run(server.address, "many", "both.example.test", "192.0.2.4")
    four = host("four.example.test", "192.0.2.4")
    expected = [BOTH, four] * 8 + [["192.0.2.46:80", "[2001:db8::46]:80"]] * 4
    assert found == {"at_once": expected, "again": expected}
    assert sorted(server.queries()) == [
        ("A", "both.example.test"),
        ("AAAA", "both.example.test"),
        ("PTR", "4.2.0.192.in-addr.arpa"),
    ]


def test_a_server_that_refuses_is_asked_again(server: NameServer, run: Callable[..., Any], dig: Any) -> None:
    """The failure may pass, so it is not remembered."""
    assert dig(server, "elsewhere.invalid", "A") == ("REFUSED", set())
    before = len(server.queries())
    # With the final dot, so that the list of domains to search adds no queries.
    assert run(server.address, "failing", "elsewhere.invalid.", "nobody.example.test.") == [
        [AGAIN, AGAIN],
        [NOT_FOUND, NOT_FOUND],
    ]
    asked = server.queries()[before:]
    assert asked.count(("A", "nobody.example.test")) == 1
    assert asked.count(("A", "elsewhere.invalid")) == 2


def test_a_silent_server_stops_nobody(run: Callable[..., Any]) -> None:
    """B5.14: the loop turns all the time; on another thread the call blocks, until the resolver gives up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((a_loopback_address(), 53))
        mute.setblocking(False)
        found = run(mute.getsockname()[0], "silent", "slow.example.test", "other.example.test")
        asked = set()
        try:
            while True:
                asked.add(mute.recv(512)[12:].partition(b"\0")[0])
        except BlockingIOError:
            pass
    assert asked == {b"\x04slow\x07example\x04test", b"\x05other\x07example\x04test"}
    assert (found["first"], found["told"], found["blocked"]) == (AGAIN, AGAIN, AGAIN)
    assert found["seconds"] > 0.9, "the resolver waited for its server"
    assert found["turns"] > 100
