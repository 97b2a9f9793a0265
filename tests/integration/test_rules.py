"""What the rules of a running service allow, and what stays in its log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED

NAMES = """
import socket
real = socket.getaddrinfo
ADDRESSES = {names}
socket.getaddrinfo = lambda host, *args, **options: real(ADDRESSES.get(host, host), *args, **options)
"""
OTHERS = NAMES.format(names={"www.good.test": "127.0.0.1", "www.bad.test": "127.0.0.1"})

# The clients of a test come from 127.0.0.x; its servers are on 127.0.0.1 and 127.0.0.2.
RULES = """
[[network]]
name = "staff"
ranges = ["127.0.0.10-127.0.0.19"]

[[network]]
name = "guests"
ranges = ["127.0.0.20-127.0.0.29"]

[[network]]
name = "second server"
ranges = ["127.0.0.2"]

[[domains]]
name = "bad names"
names = ["*.bad.test"]

[[protocol]]
name = "echo"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[rule]]
name = "no bad names"
action = "deny"
protocols = ["any"]
from = ["staff", "guests"]
to = ["bad names"]

[[rule]]
name = "staff"
action = "allow"
protocols = ["any"]
from = ["staff"]
to = ["localhost"]

[[rule]]
name = "nothing second for guests"
action = "deny"
protocols = ["any"]
from = ["guests"]
to = ["second server"]

[[rule]]
name = "guests echo"
action = "allow"
protocols = ["echo"]
from = ["guests"]
to = ["localhost"]
log = false

[[rule]]
name = "never seen"
action = "allow"
protocols = ["any"]
from = ["any"]
to = ["any"]
"""


def test_first_match_then_deny(serve: Any, origin: Any, client: Any) -> None:
    """By source, destination, protocol and name; the record names the rule, a denial is 2 in SOCKS5 and 403 in HTTP."""
    echo, other, second = origin(), origin(), origin(host="127.0.0.2")
    firewall = serve(RULES.format(port=echo.port), prelude=OTHERS)
    cases = [
        ("127.0.0.10", echo.address, 0, "staff"),
        ("127.0.0.19", other.address, 0, "staff"),
        ("127.0.0.10", second.address, 0, "staff"),
        ("127.0.0.10", ("www.good.test", other.port), 0, "staff"),
        ("127.0.0.10", ("www.bad.test", other.port), 2, "no bad names"),
        ("127.0.0.10", ("WWW.BAD.TEST.", other.port), 2, "no bad names"),
        ("127.0.0.10", ("bad.test.good.test", 1), 4, "Default rule"),
        ("127.0.0.20", other.address, 2, "Default rule"),
        ("127.0.0.20", second.address, 2, "nothing second for guests"),
        ("127.0.0.9", echo.address, 2, "Default rule"),
        ("127.0.0.1", echo.address, 2, "Default rule"),
    ]  # fmt: skip
    for source, target, code, _ in cases:
        assert client.socks_code(firewall.address(), target, source) == code, (source, target)
    rows = firewall.wait_rows(len(cases))
    for (source, target, code, rule), row in zip(cases, sorted(rows, key=lambda row: row["connectionid"]), strict=True):
        assert (row["SourceIP"], row["DestinationPort"]) == (source, target[1])
        if code == 2:
            assert (row["Action"], row["resultcode"]) == (Action.Denied, int(FWX_E_POLICY_RULES_DENIED))
            assert row["rule"] == rule
            assert target[0].lower() in row["reason"].lower()
        elif code == 0:
            assert (row["Action"], row["resultcode"], row["rule"]) == (Action.Terminate, 0, rule)
    assert client.http_status(firewall.address(), echo.address) == 403
    firewall.wait_rows(len(cases) + 1)
    # A rule that does not log: the connection works, and leaves no record.
    assert client.socks_code(firewall.address(), echo.address, "127.0.0.29") == 0
    firewall.wait_base_line()
    assert client.socks_code(firewall.address(), echo.address, "127.0.0.11") == 0
    firewall.wait_rows(len(cases) + 2)


def rule(sources: str, targets: str, more: str = "") -> str:
    return f'{more}\n[[rule]]\nname = "only"\naction = "allow"\nprotocols = ["any"]\nfrom = {sources}\nto = {targets}\n'


NAMED = '[[domains]]\nname = "named"\nnames = ["localhost"]\n'


SPELLINGS = ("127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1")


@pytest.mark.parametrize(
    ("config", "hosts", "code", "words"),
    [
        (rule('["any"]', '["any", "localhost"]'), SPELLINGS, 2, "no rule allows"),
        (rule('["localhost"]', '["any"]'), SPELLINGS, 2, "no rule allows"),
        (rule('["localhost"]', '["external"]'), SPELLINGS, 2, "no rule allows"),
        (rule('["localhost"]', '["named"]', NAMED), ["localhost"], 2, "resolved to an address of the firewall itself"),
        (rule('["localhost"]', '["named", "localhost"]', NAMED), SPELLINGS, 0, ""),
        (rule('["localhost"]', '["localhost"]'), SPELLINGS, 0, ""),
    ],
)
def test_localhost_must_be_named(
    serve: Any, origin: Any, client: Any, config: str, hosts: list[str], code: int, words: str
) -> None:
    """DESIGN 6: the firewall's own addresses are in neither `any` nor `external`, however they are spelled."""
    firewall, server = serve(config), origin()
    for host in hosts:
        assert client.socks_code(firewall.address(), (host, server.port)) == code, host
    for row in firewall.wait_rows(len(hosts)):
        assert words in row["reason"]


TWO_LISTENERS = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "{bind}:0"

[[listener]]
name = "second"
kind = "proxy"
bind = "127.0.0.2:0"
"""


@pytest.mark.parametrize(
    ("bind", "hosts"),
    [
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.9", "0.0.0.0", "localhost", "::ffff:127.0.0.1"]),
        ("[::1]", ["::1", "::", "ip6-loopback.test"]),
        ("[::]", ["::1", "::"]),
    ],
)
def test_own_listeners_are_never_a_target(serve: Any, client: Any, bind: str, hosts: list[str]) -> None:
    """A proxy that connects to itself would do so for ever."""
    names = NAMES.format(names={"ip6-loopback.test": "::1"})
    firewall = serve(TWO_LISTENERS.format(bind=bind), prelude=names)
    host, port = firewall.address()
    proxy = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
    targets = [*((name, port) for name in hosts), firewall.address("second")]
    for target in targets:
        assert client.socks_code(proxy, target) == 2, target
        assert client.http_status(proxy, target) == 403, target
    for row in firewall.wait_rows(2 * len(targets)):
        assert "is a listener of this service" in row["reason"]
        assert row["Action"] == Action.Denied
    firewall.wait_base_line()


@pytest.fixture
def neighbour(namespace: str, program_path: Callable[[str], str]) -> Iterator[str]:
    """A second namespace with 10.99.0.2, next to ``namespace`` with 10.99.0.1; no way from either to anywhere else."""
    ip, name = program_path("ip"), f"{namespace}-n"

    def run(*arguments: str) -> None:
        subprocess.run([ip, *arguments], check=True)

    run("netns", "add", name)
    try:
        run("link", "add", "fwx0", "netns", namespace, "type", "veth", "peer", "fwx1", "netns", name)
        for inside, link, address in ((namespace, "fwx0", "10.99.0.1"), (name, "fwx1", "10.99.0.2")):
            run("-n", inside, "link", "set", "lo", "up")
            run("-n", inside, "address", "add", f"{address}/24", "dev", link)
            run("-n", inside, "link", "set", link, "up")
        yield name
    finally:
        run("netns", "del", name)


REMOTE = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "0.0.0.0:1080"

[[listener]]
name = "www"
kind = "publish"
bind = "0.0.0.0:8000"
to = "10.99.0.2:8000"

[[domains]]
name = "good names"
names = ["good.test"]

[[rule]]
name = "good names"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["good names"]

[[rule]]
name = "any"
action = "allow"
protocols = ["any"]
from = ["any"]
to = ["any"]
"""


@pytest.mark.requires("ip", "curl")
def test_a_network_beside_localhost(
    serve: Any, namespace: str, neighbour: str, program_path: Callable[[str], str], background: Any, eventually: Any
) -> None:
    """A service between this machine and another one: who counts as `any`, a name that is allowed, a published server.

    The published server has the port that the service listens on at all addresses, and still is no listener of it.
    """
    folder = serve.make_folder()
    (folder / "page").write_text("page")
    ip, curl = program_path("ip"), (program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "20")
    here, there = (ip, "netns", "exec", namespace), (ip, "netns", "exec", neighbour)
    output = folder / "http.txt"
    with output.open("wb") as file:
        background(*there, sys.executable, "-u", "-m", "http.server", "8000", cwd=folder, stdout=file, stderr=file)
    eventually(lambda: b"Serving HTTP" in output.read_bytes(), "http.server")
    names = NAMES.format(names={"good.test": "10.99.0.2", "evil.test": "10.99.0.2"})
    firewall = serve(REMOTE, prefix=here, prelude=names)

    def fetch(where: tuple[str, ...], proxy: str, url: str) -> str:
        asked = subprocess.run(
            [*where, *curl, *(("-x", f"socks5h://{proxy}") if proxy else ()), url],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return asked.stdout if asked.returncode == 0 else asked.stderr

    cases = [
        (there, "10.99.0.1:1080", "http://10.99.0.2:8000/page", "any"),
        (there, "10.99.0.1:1080", "http://10.99.0.1:8000/page", "Default rule"),
        (there, "10.99.0.1:1080", "http://127.0.0.1:8000/page", "Default rule"),
        (there, "", "http://10.99.0.1:8000/page", "any"),
        (here, "127.0.0.1:1080", "http://10.99.0.2:8000/page", "Default rule"),
        (here, "127.0.0.1:1080", "http://good.test:8000/page", "good names"),
        (here, "127.0.0.1:1080", "http://evil.test:8000/page", "Default rule"),
    ]
    for where, proxy, url, name in cases:
        got = fetch(where, proxy, url)
        assert (got == "page") == (name != "Default rule"), (where, url, got)
    rows = firewall.wait_rows(len(cases))
    assert [row["rule"] for row in rows] == [case[-1] for case in cases]
    assert {row["SourceNetwork"] for row in rows if row["SourceIP"] == "10.99.0.2"} == {"external"}
