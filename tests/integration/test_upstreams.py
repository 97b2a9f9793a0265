"""Through real upstreams: Dante, microsocks, tinyproxy, squid, ``ssh -D``, other services of our own; and chains."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAECONNREFUSED,
    WSAEHOSTUNREACH,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)
from tests.integration.proxies import PASSWORD, USER, Proxies

LOOPS = ("uvloop", "asyncio")
BODY = random.Random(5).randbytes(4 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()
# A service that looks no name up: whoever asks is told on standard error, and gets nothing.
NO_LOOK_UPS = """
import socket, sys
real = socket.getaddrinfo
def look_up(host, *args, **options):
    print("LOOKED UP", host, file=sys.stderr, flush=True)
    raise socket.gaierror(socket.EAI_NONAME, "no such name")
socket.getaddrinfo = look_up
"""
IMPATIENT = "import fwx.service; fwx.service.CONNECT_SECONDS = 0.5\n"
RULE = """
[[rule]]
name = "chained"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["any", "localhost"]
upstream = "{upstream}"
"""
STRAIGHT = RULE.replace('upstream = "{upstream}"\n', "")
DENIES_BAD = (
    '[[domains]]\nname = "bad"\nnames = ["bad.test"]\n'
    + STRAIGHT.replace('"chained"', '"no"').replace('"allow"', '"deny"').replace('["any", "localhost"]', '["bad"]')
    + STRAIGHT
)


def web(client: socket.socket) -> None:
    """Answer one HTTP request with the body."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)


def greeter(client: socket.socket) -> None:
    """Speak first, then echo."""
    client.sendall(b"220 ready\r\n")
    while data := client.recv(65536):
        client.sendall(data)


@pytest.fixture
def proxies(serve: Any, eventually: Any, program_path: Callable[[str], str]) -> Iterator[Proxies]:
    proxies = Proxies(program_path, serve.make_folder, eventually)
    yield proxies
    proxies.close()


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run curl with nothing but the arguments."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *arguments]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)

    return run


def table(name: str, kind: str, address: tuple[str, int], *more: str) -> str:
    host, port = address
    lines = [f'name = "{name}"', f'kind = "{kind}"', f'address = "{host}:{port}"', *more]
    return "[[upstream]]\n" + "\n".join(lines) + "\n"


KINDS = {"dante": "socks5", "microsocks": "socks5", "ssh": "socks5", "tinyproxy": "http", "squid": "http"}
requires = {kind: pytest.mark.requires(*programs) for kind, *programs in (
    ("dante", "danted"), ("microsocks", "microsocks"), ("tinyproxy", "tinyproxy"), ("ssh", "ssh", "sshd", "ssh-keygen"),
    ("squid", "squid"),
)}  # fmt: skip
ACCOUNTS = [
    pytest.param(kind, account, id=f"{kind}{'-account' * account}", marks=requires[kind])
    for kind, account in (
        ("dante", False), ("dante", True), ("microsocks", False), ("microsocks", True), ("tinyproxy", False),
        ("tinyproxy", True), ("ssh", False), ("squid", False), ("squid", True),
    )
]  # fmt: skip


class Chained:
    """A service whose rule names one upstream, and that upstream."""

    def __init__(self, serve: Any, proxies: Proxies, kind: str, account: bool, **options: Any) -> None:
        self.upstream = proxies.start(kind, account=account)
        folder: Path = serve.make_folder()
        secret = folder / "parent.secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        more = [f'user = "{USER}"', 'password_file = "parent.secret"'] if account else []
        self.firewall = serve(
            table("parent", KINDS[kind], self.upstream, *more) + RULE.format(upstream="parent"),
            folder=folder,
            **options,
        )
        self.proxy = self.firewall.address()


# ---- it works ------------------------------------------------------------------------------------------------------


@pytest.mark.requires("curl", "danted", "squid")
@pytest.mark.parametrize(("kind", "scheme"), [("dante", ("-x", "socks5h")), ("squid", ("-p", "-x", "http"))])
def test_the_control(proxies: Proxies, origin: Any, curl: Any, kind: str, scheme: tuple[str, ...]) -> None:
    """What the tests below ask for works with curl and the upstream alone, with the account and without."""
    port = origin(web).port
    *options, name = scheme
    for account in (False, True):
        host, upstream = proxies.start(kind, account=account)
        credentials = ("-U", f"{USER}:{PASSWORD}") if account else ()
        got = curl(*credentials, *options, f"{name}://{host}:{upstream}", f"http://localhost:{port}/")
        assert (got.returncode, hashlib.sha256(got.stdout).hexdigest()) == (0, DIGEST), got.stderr


@pytest.mark.path(entry="socks5", exit="socks5", transport="tcp")
@pytest.mark.path(entry="socks5", exit="http-connect", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="socks5", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="http-connect", transport="tcp")
@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("kind", "account"), ACCOUNTS)
def test_curl(serve: Any, proxies: Proxies, origin: Any, curl: Any, kind: str, account: bool, loop: str) -> None:
    """Both of our entries; the name goes to the upstream and is not looked up here (B8.1, B8.6)."""
    chained = Chained(serve, proxies, kind, account, loop=loop, prelude=NO_LOOK_UPS)
    port = origin(web).port
    host, proxy = chained.proxy
    for number, scheme in enumerate((("-x", f"socks5h://{host}:{proxy}"), ("-p", "-x", f"http://{host}:{proxy}")), 1):
        got = curl(*scheme, f"http://localhost:{port}/")
        assert (got.returncode, hashlib.sha256(got.stdout).hexdigest()) == (0, DIGEST), got.stderr
        row = chained.firewall.wait_row(connectionid=number)
        assert (row["DestinationName"], row["DestinationIP"], row["DestinationPort"]) == ("localhost", "", port)
        assert (row["DestinationProxy"], row["rule"], row["Action"]) == ("parent", "chained", Action.Terminate)
        assert row["bytesrecvd"] > len(BODY)
    assert "LOOKED UP" not in chained.firewall.stderr()
    chained.firewall.wait_base_line()


@pytest.mark.parametrize(("kind", "account"), ACCOUNTS)
@pytest.mark.parametrize("filtered", [False, True])
def test_the_server_speaks_first(
    serve: Any, proxies: Proxies, origin: Any, client: Any, kind: str, account: bool, filtered: bool
) -> None:
    """Nothing is lost between the upstream's reply and the data, with a filter and without; IPv4 by number."""
    chained = Chained(serve, proxies, kind, account, filters={"watch": ""} if filtered else None)
    server = origin(greeter)
    for _ in range(5):
        with client.socks(chained.proxy, server.address) as opened:
            assert client.exactly(opened, 11) == b"220 ready\r\n"
            opened.sendall(BODY[:100_000])
            assert client.exactly(opened, 100_000) == BODY[:100_000]
    for row in chained.firewall.wait_rows(5):
        assert (row["DestinationIP"], row["bytessent"], row["bytesrecvd"]) == ("127.0.0.1", 100_000, 100_011)
    chained.firewall.wait_base_line()


@pytest.mark.requires("danted")
@pytest.mark.parametrize("filtered", [False, True])
def test_half_close(serve: Any, proxies: Proxies, origin: Any, client: Any, filtered: bool) -> None:
    chained = Chained(serve, proxies, "dante", False, filters={"watch": ""} if filtered else None)
    with client.socks(chained.proxy, origin("answer_at_end").address) as opened:
        opened.sendall(BODY)
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == b"%d bytes" % len(BODY)


# ---- chains --------------------------------------------------------------------------------------------------------


@pytest.mark.path(entry="socks5", exit="chain", transport="tcp")
@pytest.mark.requires("danted", "tinyproxy", "microsocks")
@pytest.mark.parametrize("loop", LOOPS)
def test_three_upstreams_in_a_row(serve: Any, proxies: Proxies, origin: Any, client: Any, loop: str) -> None:
    """One handshake inside the other, of both protocols; the record names them all."""
    tables = [
        table("third", "socks5", proxies.start("microsocks"), 'via = "second"'),
        table("first", "socks5", proxies.start("dante")),
        table("second", "http", proxies.start("tinyproxy"), 'via = "first"'),
    ]
    firewall = serve("".join(tables) + RULE.format(upstream="third"), loop=loop, prelude=NO_LOOK_UPS)
    with client.socks(firewall.address(), ("localhost", origin(greeter).port)) as opened:
        opened.sendall(b"hello")
        assert client.exactly(opened, 16) == b"220 ready\r\nhello"
    assert firewall.wait_row()["DestinationProxy"] == "first, second, third"
    firewall.wait_base_line()


@pytest.mark.path(entry="socks5", exit="socks5", transport="tcp")
@pytest.mark.path(entry="socks5", exit="http-connect", transport="tcp")
@pytest.mark.path(entry="socks5", exit="chain", transport="tcp")
@pytest.mark.parametrize("kinds", [("socks5",), ("http",), ("socks5", "http"), ("http", "socks5")], ids="-".join)
def test_other_services_of_our_own(serve: Any, origin: Any, client: Any, kinds: tuple[str, ...]) -> None:
    """B8.2: each is a client of the next one, which judges and logs for itself; only the last one looks up."""
    server = origin(greeter)
    services = [serve(STRAIGHT)]
    for kind in kinds:
        upstream = table("parent", kind, services[0].address()) + RULE.format(upstream="parent")
        services.insert(0, serve(upstream, prelude=NO_LOOK_UPS))
    with client.socks(services[0].address(), ("localhost", server.port)) as opened:
        opened.sendall(b"hello")
        assert client.exactly(opened, 16) == b"220 ready\r\nhello"
    for service in services:
        row = service.wait_row()
        assert (row["DestinationName"], row["bytessent"], row["bytesrecvd"]) == ("localhost", 5, 16)
        assert row["DestinationProxy"] == ("" if service is services[-1] else "parent")
        service.wait_base_line()


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_what_another_service_of_our_own_refuses(
    serve: Any, client: Any, kind: str, closed_port: tuple[str, int]
) -> None:
    """The client hears of the far end what it would have heard without the one between."""
    far = serve(DENIES_BAD)
    near = serve(table("parent", kind, far.address()) + RULE.format(upstream="parent"), prelude=NO_LOOK_UPS)
    for number, (target, reply, code) in enumerate(
        (
            (closed_port, 5, WSAECONNREFUSED),
            (("bad.test", 80), 2, WSAEACCES),
            (("nobody.invalid", 80), 4, WSAHOST_NOT_FOUND if kind == "http" else WSAEHOSTUNREACH),
        ),
        1,
    ):
        assert client.socks_code(near.address(), target) == reply
        row = near.wait_row(connectionid=number)
        assert (row["resultcode"], row["Action"]) == (int(HRESULT_FROM_WIN32(code)), Action.Failed)
    assert near.alerts() == []


# ---- it does not ---------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[tuple[str, int]]:
    """An address that refuses connections for as long as the test runs."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()


REFUSALS = [
    pytest.param("dante", 5, WSAECONNREFUSED, marks=requires["dante"]),
    pytest.param("microsocks", 5, WSAECONNREFUSED, marks=requires["microsocks"]),
    # tinyproxy says 500 of every connection that it cannot make
    pytest.param("tinyproxy", 4, WSAEHOSTUNREACH, marks=requires["tinyproxy"]),
    pytest.param("squid", 4, WSAEHOSTUNREACH, marks=requires["squid"]),
]


@pytest.mark.parametrize(("kind", "reply", "code"), REFUSALS)
def test_a_target_that_refuses(
    serve: Any, proxies: Proxies, client: Any, closed_port: tuple[str, int], kind: str, reply: int, code: int
) -> None:
    """One record with the reason; no alert, which any client could raise."""
    chained = Chained(serve, proxies, kind, False)
    assert client.socks_code(chained.proxy, closed_port) == reply
    row = chained.firewall.wait_row()
    assert (row["resultcode"], row["DestinationProxy"]) == (int(HRESULT_FROM_WIN32(code)), "parent")
    start = f"connecting to 127.0.0.1:{closed_port[1]} failed: upstream 'parent' (127.0.0.1:{chained.upstream[1]}): "
    assert row["reason"].startswith(start)
    assert chained.firewall.alerts() == []
    chained.firewall.wait_base_line()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=requires[kind]) for kind in ("dante", "microsocks", "tinyproxy", "squid")]
)
@pytest.mark.parametrize("wrong", ["password", "no account"])
def test_a_refused_account(serve: Any, proxies: Proxies, client: Any, eventually: Any, kind: str, wrong: str) -> None:
    """The client is denied; record and alert name the upstream, and the password is nowhere."""
    upstream = proxies.start(kind, account=True)
    secret = "wrong-secret-word"
    more = [f'user = "{USER}"', f'password = "{secret}"'] if wrong == "password" else []
    firewall = serve(table("parent", KINDS[kind], upstream, *more) + RULE.format(upstream="parent"))
    proxy = firewall.address()
    assert client.socks_code(proxy, ("localhost", 80)) == 2
    assert client.http_status(proxy, ("localhost", 80)) == 403
    words = "password" if wrong == "password" else "wants a user name and password"
    for row in firewall.wait_rows(2):
        assert row["resultcode"] == int(HRESULT_FROM_WIN32(WSAEACCES))
        assert f"upstream 'parent' (127.0.0.1:{upstream[1]}): it " in row["reason"]
        assert words in row["reason"]
    alert = eventually(firewall.alerts, "an alert")[0]
    assert (alert["event"], alert["key"]) == ("Upstream failure", "parent")
    assert words in alert["message"]
    firewall.stop()
    everything = firewall.stderr().encode() + (firewall.state / "firewall.db").read_bytes()
    assert secret.encode() not in everything


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_an_upstream_that_is_not_there(
    serve: Any, client: Any, eventually: Any, closed_port: tuple[str, int], kind: str
) -> None:
    """No host unreachable means "your target refuses": the client cannot know that there is an upstream."""
    firewall = serve(table("parent", kind, closed_port) + RULE.format(upstream="parent"))
    assert client.socks_code(firewall.address(), ("localhost", 80)) == 4
    assert firewall.wait_row()["reason"].endswith(": it cannot be reached: WSAECONNREFUSED")
    assert eventually(firewall.alerts, "an alert")[0]["event"] == "Upstream failure"


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_an_upstream_that_says_nothing(serve: Any, client: Any, origin: Any, kind: str) -> None:
    """One deadline, for connecting and for every handshake."""

    def mute(opened: socket.socket) -> None:
        while opened.recv(65536):
            pass

    firewall = serve(table("parent", kind, origin(mute).address) + RULE.format(upstream="parent"), prelude=IMPATIENT)
    assert client.socks_code(firewall.address(), ("localhost", 80)) == 6
    row = firewall.wait_row()
    assert row["resultcode"] == int(HRESULT_FROM_WIN32(WSAETIMEDOUT))
    assert 500 <= row["connectiontime"] < 5000
    firewall.wait_base_line()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_password_that_others_may_read(serve: Any, mode: int) -> None:
    """The service does not start, and says what to mend, with the line."""
    folder = serve.make_folder()
    (folder / "parent.secret").write_text(PASSWORD)
    (folder / "parent.secret").chmod(mode)
    config = table("parent", "socks5", ("127.0.0.1", 1), f'user = "{USER}"', 'password_file = "parent.secret"')
    _, status, said = serve.refused(config, folder)
    assert status != 0
    assert f"fwx.toml:6: upstream.password_file: {folder}/parent.secret has mode {mode:04o}" in said
    assert PASSWORD not in said


def test_a_loop_is_refused(serve: Any) -> None:
    config = table("a", "socks5", ("127.0.0.1", 1), 'via = "b"') + table("b", "http", ("127.0.0.1", 2), 'via = "a"')
    _, status, said = serve.refused(config)
    assert status != 0
    assert "fwx.toml:5: upstream.via: leads back to 'a': a via b via a" in said


# ---- straight ------------------------------------------------------------------------------------------------------

RACE = """
import socket
real = socket.getaddrinfo
def look_up(host, port, *args, **options):
    hosts = ["127.0.0.3", "127.0.0.1"] if host == "race.test" else [host]
    return [entry for each in hosts for entry in real(each, port, *args, **options)]
socket.getaddrinfo = look_up
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_silent_address_does_not_hold_up_the_others(
    serve: Any, client: Any, origin: Any, eventually: Any, loop: str
) -> None:
    """RFC 8305: the first address of the name swallows everything; the second one answers."""
    server = origin("echo")
    firewall = serve(prelude=RACE, loop=loop)
    waiting: list[socket.socket] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.3", server.port))
        silent.listen(0)

        def is_full() -> bool:
            waiting.append(socket.socket())
            waiting[-1].settimeout(0.2)
            try:
                waiting[-1].connect(silent.getsockname())
            except TimeoutError:
                return True
            return False

        eventually(is_full, "the backlog to be full")
        with client.socks(firewall.address(), ("race.test", server.port)) as opened:
            opened.sendall(b"x")
            assert client.exactly(opened, 1) == b"x"
        row = firewall.wait_row()
        assert (row["DestinationIP"], row["resultcode"]) == ("127.0.0.1", 0)
        for each in waiting:
            each.close()
    firewall.wait_base_line()
