"""Real clients of the proxy port: curl, ncat, socat, lftp, squid, ssh with ProxyCommand, wget.

With SOCKS they go through Dante too, with HTTP through squid or tinyproxy, as control.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_NOT_AUTHENTICATED, FWX_E_POLICY_RULES_DENIED
from tests.integration.proxies import PASSWORD, USER, Proxies

PAGE = b"the page of the origin\n"
ACCOUNT = f"{USER}:{PASSWORD}"
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
USERS = f"""
[[user]]
name = "{USER}"
groups = ["staff"]
password = "{HASH}"
"""
LISTENER = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
authenticate = "{demand}"
"""
RULE = """
[[rule]]
name = "staff alone"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
groups = ["staff"]
"""
Address = tuple[str, int]


def page(client: Any) -> None:
    """Answer one HTTP request with the page."""
    head = b""
    while b"\r\n\r\n" not in head and (data := client.recv(65536)):
        head += data
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


@pytest.fixture
def proxies(serve: Any, eventually: Any, program_path: Callable[[str], str]) -> Iterator[Proxies]:
    proxies = Proxies(program_path, serve.make_folder, eventually)
    yield proxies
    proxies.close()


@pytest.fixture
def proxy(serve: Any, proxies: Proxies) -> Callable[[str, str], Address]:
    """Start a proxy of a kind, ``fwx`` or ``dante``, that authenticates nobody or everybody."""

    def start(kind: str, demand: str) -> Address:
        if kind != "fwx":
            return proxies.start(kind, account=demand == "required")
        address: Address = serve(LISTENER.format(demand=demand) + USERS * (demand != "off")).address()
        return address

    return start


@pytest.fixture
def run(program_path: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a client with nothing of the environment but the path."""

    def run(program: str, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [program_path(program), *(("-q", "-sS", "--noproxy", "", "-m", "30") if program == "curl" else ())]
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        return subprocess.run(
            [*command, *arguments], input=data, capture_output=True, check=False, timeout=40, env=environment
        )

    return run


KINDS = [
    pytest.param("fwx", marks=pytest.mark.requires("curl", "ncat")),
    pytest.param("dante", marks=pytest.mark.requires("curl", "ncat", "danted", "ssh", "sshd", "ssh-keygen")),
]
# How curl is told, whether the proxy wants an account, and curl's exit status: 0, or 97 for a refusal by the proxy.
CURL = {
    "SOCKS4": (("--socks4", "{proxy}"), "off", 0),
    "SOCKS4 with a user id": (("--socks4", "{proxy}", "--proxy-user", "ann:"), "off", 0),
    "SOCKS4a": (("--socks4a", "{proxy}"), "off", 0),
    "SOCKS5": (("--socks5", "{proxy}"), "off", 0),
    "SOCKS5 by name": (("--socks5-hostname", "{proxy}"), "off", 0),
    "SOCKS5 with a password": (("--socks5", "{proxy}", "--proxy-user", ACCOUNT), "required", 0),
    "SOCKS5 by name with a password": (("--socks5-hostname", "{proxy}", "--proxy-user", ACCOUNT), "required", 0),
    "SOCKS5 with a wrong password": (("--socks5", "{proxy}", "--proxy-user", f"{USER}:wrong"), "required", 97),
    "SOCKS5 with an unknown user": (("--socks5", "{proxy}", "--proxy-user", "nobody-here:x"), "required", 97),
    "SOCKS5 without the password": (("--socks5", "{proxy}"), "required", 97),
    "SOCKS4 where a password is needed": (("--socks4", "{proxy}"), "required", 97),
}


@pytest.mark.path(entry="socks4", exit="direct", transport="tcp")
@pytest.mark.path(entry="socks4a", exit="direct", transport="tcp")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("arguments", "demand", "status"), CURL.values(), ids=CURL)
def test_curl_over_socks(
    proxy: Any, run: Any, origin: Any, kind: str, arguments: tuple[str, ...], demand: str, status: int
) -> None:
    server = origin(page)
    if kind == "dante" and "--socks4a" in arguments:
        kind = "ssh"  # Dante has no SOCKS4a
    told = [part.format(proxy="{}:{}".format(*proxy(kind, demand))) for part in arguments]
    result = run("curl", *told, f"http://localhost:{server.port}/", "-4")
    assert (result.returncode, result.stdout) == (status, b"" if status else PAGE), result.stderr


NCAT = {
    "SOCKS4": (("--proxy-type", "socks4"), "off"),
    "SOCKS5": (("--proxy-type", "socks5"), "off"),
    "SOCKS5 with a password": (("--proxy-type", "socks5", "--proxy-auth", ACCOUNT), "required"),
}


@pytest.mark.path(entry="socks4", exit="direct", transport="tcp")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("arguments", "demand"), NCAT.values(), ids=NCAT)
def test_ncat_over_socks(proxy: Any, run: Any, origin: Any, kind: str, arguments: tuple[str, ...], demand: str) -> None:
    server = origin("answer_at_end")
    address = "{}:{}".format(*proxy(kind, demand))
    result = run("ncat", "--proxy", address, *arguments, server.host, str(server.port), data=b"x" * 50_000)
    assert (result.returncode, result.stdout) == (0, b"50000 bytes"), result.stderr


HTTP = {
    "plain": (("-x", "http://{proxy}"), "off", 0, b"200"),
    "CONNECT": (("-p", "-x", "http://{proxy}"), "off", 0, b"200"),
    "plain with a password": (("-x", "http://{proxy}", "--proxy-user", ACCOUNT), "required", 0, b"200"),
    "plain with a password, Basic": (
        ("-x", "http://{proxy}", "--proxy-basic", "--proxy-user", ACCOUNT), "required", 0, b"200",
    ),
    "plain, whatever is asked for": (
        ("-x", "http://{proxy}", "--proxy-anyauth", "--proxy-user", ACCOUNT), "required", 0, b"200",
    ),
    "CONNECT with a password": (("-p", "-x", "http://{proxy}", "--proxy-user", ACCOUNT), "required", 0, b"200"),
    "CONNECT, whatever is asked for": (
        ("-p", "-x", "http://{proxy}", "--proxy-anyauth", "--proxy-user", ACCOUNT), "required", 0, b"200",
    ),
    "plain with a wrong password": (("-x", "http://{proxy}", "--proxy-user", "a:b"), "required", 0, b"407"),
    "plain without a password": (("-x", "http://{proxy}"), "required", 0, b"407"),
    "CONNECT with a wrong password": (("-p", "-x", "http://{proxy}", "--proxy-user", "a:b"), "required", 56, b"000"),
    "CONNECT without a password": (("-p", "-x", "http://{proxy}"), "required", 56, b"000"),
}  # fmt: skip


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("curl")
@pytest.mark.parametrize(("arguments", "demand", "status", "code"), HTTP.values(), ids=HTTP)
def test_curl_over_http(
    proxy: Any, run: Any, origin: Any, arguments: tuple[str, ...], demand: str, status: int, code: bytes
) -> None:
    """Plain HTTP is forwarded, CONNECT connects; 407 says what is wanted."""
    server = origin(page)
    told = [part.format(proxy="{}:{}".format(*proxy("fwx", demand))) for part in arguments]
    result = run("curl", *told, f"http://localhost:{server.port}/", "-w", "%{http_code}")
    assert result.returncode == status, result.stderr
    assert result.stdout.endswith(code)
    assert (PAGE in result.stdout) == (code == b"200")


@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("ncat")
@pytest.mark.parametrize("demand", ["off", "required"])
def test_ncat_over_http(proxy: Any, run: Any, origin: Any, demand: str) -> None:
    server = origin("answer_at_end")
    address = "{}:{}".format(*proxy("fwx", demand))
    account = ("--proxy-auth", ACCOUNT) if demand == "required" else ()
    result = run(
        "ncat", "--proxy", address, "--proxy-type", "http", *account, server.host, str(server.port), data=b"x" * 50_000
    )
    assert (result.returncode, result.stdout) == (0, b"50000 bytes"), result.stderr


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
@pytest.mark.requires("wget")
@pytest.mark.parametrize("demand", ["off", "required"])
def test_wget(proxy: Any, run: Any, origin: Any, demand: str) -> None:
    server = origin(page)
    address = "{}:{}".format(*proxy("fwx", demand))
    account = [f"--proxy-user={USER}", f"--proxy-password={PASSWORD}"] if demand == "required" else []
    told = [
        "--no-config",
        "-q",
        "-O",
        "-",
        "-t",
        "1",
        "-e",
        "use_proxy=yes",
        "-e",
        f"http_proxy=http://{address}",
        *account,
    ]
    result = run("wget", *told, f"http://127.0.0.1:{server.port}/")
    assert (result.returncode, result.stdout) == (0, PAGE), result.stderr


# How socat is told, whether the proxy wants an account, and the control.
SOCAT = {
    "SOCKS4": ("SOCKS4:{host}:{target}:{to},socksport={port},socksuser=ann", "off", "dante"),
    "SOCKS4A": ("SOCKS4A:{host}:localhost:{to},socksport={port}", "off", "ssh"),
    "PROXY": ("PROXY:{host}:{target}:{to},proxyport={port}", "off", "squid"),
    "PROXY by name": ("PROXY:{host}:localhost:{to},proxyport={port},resolve=0", "off", "squid"),
    "PROXY with a password": (f"PROXY:{{host}}:{{target}}:{{to}},proxyport={{port}},proxyauth={ACCOUNT}", "required",
                              "squid"),
}  # fmt: skip


@pytest.mark.path(entry="socks4", exit="direct", transport="tcp")
@pytest.mark.path(entry="socks4a", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("socat", "danted", "ssh", "sshd", "ssh-keygen", "squid")
@pytest.mark.parametrize("through", ["fwx", "control"])
@pytest.mark.parametrize(("address", "demand", "control"), SOCAT.values(), ids=SOCAT)
def test_socat(proxy: Any, run: Any, origin: Any, through: str, address: str, demand: str, control: str) -> None:
    """A question and its answer; the end of the input is not passed on, which HTTP proxies do not."""
    server = origin(page)
    host, port = proxy("fwx" if through == "fwx" else control, demand)
    told = address.format(host=host, port=port, target=server.host, to=server.port)
    result = run("socat", "-,ignoreeof", told, data=b"GET / HTTP/1.0\r\n\r\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(PAGE)


@pytest.mark.requires("socat", "danted", "ssh", "sshd", "ssh-keygen")
@pytest.mark.parametrize(
    ("kind", "name"), [*(("fwx", name) for name in SOCAT), ("dante", "SOCKS4"), ("ssh", "SOCKS4A")]
)
def test_socat_half_closes(proxy: Any, run: Any, origin: Any, kind: str, name: str) -> None:
    """The answer to the end of the input comes back; no HTTP proxy that is at hand does that, but this one."""
    address, demand, _ = SOCAT[name]
    server = origin("answer_at_end")
    host, port = proxy(kind, demand)
    told = address.format(host=host, port=port, target=server.host, to=server.port)
    result = run("socat", "-t20", "-", told, data=b"x" * 50_000)
    assert (result.returncode, result.stdout) == (0, b"50000 bytes"), result.stderr


@pytest.mark.requires("socat")
@pytest.mark.parametrize("kind", ["PROXY", "SOCKS4"])
def test_socat_where_a_password_is_needed(proxy: Any, run: Any, origin: Any, kind: str) -> None:
    server = origin("answer_at_end")
    host, port = proxy("fwx", "required")
    option = {"PROXY": "proxyport", "SOCKS4": "socksport"}[kind]
    result = run("socat", "-", f"{kind}:{host}:{server.host}:{server.port},{option}={port}", data=b"x")
    assert (result.returncode, result.stdout) == (1, b"")
    assert server.connections == 0


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
@pytest.mark.requires("lftp", "tinyproxy")
@pytest.mark.parametrize("demand", ["off", "required"])
@pytest.mark.parametrize("kind", ["fwx", "tinyproxy"])
def test_lftp(proxy: Any, run: Any, origin: Any, kind: str, demand: str) -> None:
    """Two files, one after the other; lftp has no SOCKS."""
    server = origin(page)
    account = f"{ACCOUNT}@" if demand == "required" else ""
    settings = f"set net:max-retries 1; set http:proxy http://{account}{{}}:{{}}".format(*proxy(kind, demand))
    url = f"http://localhost:{server.port}"
    result = run("lftp", "--norc", "-c", f"{settings}; cat {url}/one; cat {url}/two")
    assert (result.returncode, result.stdout) == (0, PAGE * 2), result.stderr


@pytest.mark.requires("lftp")
def test_lftp_without_the_password(proxy: Any, run: Any, origin: Any) -> None:
    server = origin(page)
    settings = "set net:max-retries 1; set http:proxy http://{}:{}".format(*proxy("fwx", "required"))
    result = run("lftp", "--norc", "-c", f"{settings}; cat http://localhost:{server.port}/one")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"407" in result.stderr
    assert server.connections == 0


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("squid", "curl", "tinyproxy")
@pytest.mark.parametrize("demand", ["off", "required"])
@pytest.mark.parametrize("kind", ["fwx", "tinyproxy"])
def test_squid(proxies: Proxies, proxy: Any, run: Any, origin: Any, kind: str, demand: str) -> None:
    """``cache_peer``: many clients' requests on squid's own connections, to two servers, and tunnels."""
    servers = [origin(page), origin(page)]
    front = proxies.start_squid_behind(proxy(kind, demand), ACCOUNT if demand == "required" else "")
    told = ("-x", "http://{}:{}".format(*front))
    for number in range(6):
        got = run("curl", *told, f"http://localhost:{servers[number % 2].port}/{number}")
        assert (got.returncode, got.stdout) == (0, PAGE), got.stderr
    for server in servers:
        got = run("curl", "-p", *told, f"http://127.0.0.1:{server.port}/")
        assert (got.returncode, got.stdout) == (0, PAGE), got.stderr


@pytest.mark.path(entry="socks4", exit="direct", transport="tcp")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("ssh", "sshd", "ssh-keygen", "ncat")
@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
def test_ssh_with_a_proxy_command(
    proxies: Proxies, proxy: Any, program_path: Callable[[str], str], serve: Any, kind: str
) -> None:
    """A real server behind the firewall, reached as ``ProxyCommand`` is documented to be used."""
    folder: Path = serve.make_folder()
    port = proxies.start_sshd(folder)
    address = "{}:{}".format(*proxy("fwx", "off"))
    ncat = f"{program_path('ncat')} --proxy {address} --proxy-type {kind} %h %p"
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", f"ProxyCommand={ncat}")
    blob = random.Random(6).randbytes(300_000)
    command = [program_path("ssh"), "-F", "/dev/null", "-q", "-i", str(folder / "key"), "-p", str(port)]
    result = subprocess.run(
        [*command, *(part for option in options for part in ("-o", option)), "root@127.0.0.1", "cat"],
        input=blob, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == blob


@pytest.mark.requires("curl")
def test_rules_about_users(serve: Any, run: Any, origin: Any) -> None:
    """B10.2, B9.16: who is known is allowed and logged; who is not is asked where the protocol can ask."""
    server = origin(page)
    firewall = serve(LISTENER.format(demand="optional") + USERS + RULE)
    proxy = "{}:{}".format(*firewall.address())
    url = f"http://127.0.0.1:{server.port}/"
    allowed = [
        ("-x", f"http://{proxy}", "--proxy-user", ACCOUNT),
        ("-p", "-x", f"http://{proxy}", "--proxy-user", ACCOUNT),
        ("-x", f"socks5h://{proxy}", "--proxy-user", ACCOUNT),
    ]
    for arguments in allowed:
        assert run("curl", *arguments, url).stdout == PAGE
    rows = firewall.wait_rows(3, Action=int(Action.Terminate))
    assert {(row["ClientUserName"], row["rule"]) for row in rows} == {(USER, "staff alone")}
    assert len({row["sessionid"] for row in rows}) == 1
    assert run("curl", "-x", f"http://{proxy}", url, "-w", "%{http_code}").stdout.endswith(b"407")
    assert run("curl", "-p", "-x", f"http://{proxy}", url, "-w", "%{http_connect}").stdout == b"407"
    assert run("curl", "-x", f"socks5h://{proxy}", url).returncode == 97
    assert run("curl", "-x", f"socks4://ann@{proxy}", url).returncode == 97
    denied = firewall.wait_rows(4, resultcode=int(FWX_E_POLICY_RULES_DENIED))
    assert [row["ClientUserName"] for row in denied] == ["", "", "", "ann (?)"]
    assert all(row["reason"].endswith("without a user; rule 'staff alone' is about users") for row in denied)
    assert {row["sessionid"] for row in denied}.isdisjoint(row["sessionid"] for row in rows)


@pytest.mark.requires("curl")
def test_wrong_passwords_are_logged_and_limited(serve: Any, run: Any, origin: Any) -> None:
    """Each has a record with the name that was claimed and the reason; the eleventh is not even looked at."""
    server = origin(page)
    firewall = serve(LISTENER.format(demand="required") + USERS)
    proxy = "{}:{}".format(*firewall.address())
    url = f"http://127.0.0.1:{server.port}/"
    for number in range(10):
        scheme = ("socks5h", "http")[number % 2]
        run("curl", "-x", f"{scheme}://{proxy}", "--proxy-user", f"{USER if number < 5 else 'nobody'}:wrong", url)
    rows = firewall.wait_rows(10)
    assert {(row["Action"], row["resultcode"]) for row in rows} == {(Action.Denied, int(FWX_E_NOT_AUTHENTICATED))}
    assert [row["ClientUserName"] for row in rows] == [f"{USER} (?)"] * 5 + ["nobody (?)"] * 5
    assert {row["reason"] for row in rows} == {"the user or the password is wrong"}
    for arguments in (("-x", f"socks5h://{proxy}"), ("-x", f"http://{proxy}")):
        assert run("curl", *arguments, "--proxy-user", ACCOUNT, url).stdout != PAGE
    late = firewall.wait_rows(12)[10:]
    assert {row["reason"] for row in late} == {"10 wrong passwords came from this address within 60 s"}
    assert run("curl", "--interface", "127.0.0.2", "-x", f"http://{proxy}", "--proxy-user", ACCOUNT, url).stdout == PAGE
    assert PASSWORD not in firewall.stderr()
    assert server.connections == 1
    firewall.wait_base_line()
