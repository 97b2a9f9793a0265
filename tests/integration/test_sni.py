"""Servers on one port, told apart by the host name in the ClientHello; HAProxy in the service's place as control."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED, HRESULT_FROM_WIN32, WSAECONNABORTED, WSAETIMEDOUT
from tests.integration.tlsparts import NAME, Address, Certificates, Controls, Conversation, secure, served

LISTENER = """
[[listener]]
name = "sni"
kind = "publish"
bind = "127.0.0.1:0"
sni = {{ {names} }}
{keys}
"""
SNI = pytest.mark.path(entry="publish-sni", exit="direct", transport="tcp")
FRONTS = [
    pytest.param("uvloop", marks=SNI),
    pytest.param("asyncio", marks=SNI),
    pytest.param("haproxy", marks=pytest.mark.requires("haproxy")),
]
NAMES = (NAME, "api.example.org", "a.b.wild.example", "any.example.org", "other.example")
LIMITS = "\n[limits]\nhandshake_seconds = 0.5\n"


@pytest.fixture
def servers(origin: Any, certificates: Certificates) -> dict[str, int]:
    """TLS servers that say who they are, by the name that leads there; ``default`` is one more."""
    file = certificates.issue("many", *NAMES)

    def saying(who: str) -> Callable[[ssl.SSLSocket], None]:
        def say(peer: ssl.SSLSocket) -> None:
            peer.recv(1 << 16)
            peer.sendall(who.encode())
            peer.unwrap()

        return say

    context = certificates.server_context(file)
    return {
        who: origin(served(context, saying(who))).port for who in (NAME, "*.example.org", "*.wild.example", "default")
    }


@pytest.fixture
def publish(serve: Any, servers: dict[str, int], controls: Controls) -> Callable[..., tuple[Address, Any]]:
    def start(front: str, *, default: bool = True, more: str = "") -> tuple[Address, Any]:
        if front == "haproxy":
            rules = "".join(
                f"  use_backend s{number} if {{ req.ssl_sni -i {who.replace('*', '-m end ')} }}\n"
                for number, who in enumerate(servers)
                if who != "default"
            )
            backs = "".join(f"backend s{number}\n  server s 127.0.0.1:{port}\n" for number, port in
                            enumerate(servers.values()))  # fmt: skip
            inspect = "  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }\n"
            text = f"frontend f\n  bind 127.0.0.1:{{port}}\n{inspect}{rules}  default_backend s3\n{backs}"
            return controls.haproxy(text), None
        names = ", ".join(f'"{who}" = "127.0.0.1:{port}"' for who, port in servers.items() if who != "default")
        keys = f'to = "127.0.0.1:{servers["default"]}"' if default else ""
        firewall = serve(LISTENER.format(names=names, keys=keys) + more, loop=front)
        return firewall.address("sni"), firewall

    return start


def asked(plain: socket.socket, certificates: Certificates, name: str | None) -> bytes:
    """Who answers a client that asks for *name*."""
    context = certificates.context(check_hostname=name is not None)
    with secure(plain, context, name) as tls:
        tls.sendall(b"who are you?")
        return b"".join(iter(lambda: tls.recv(100), b""))


@pytest.mark.parametrize("front", FRONTS)
def test_who_is_reached(publish: Any, client: Any, certificates: Certificates, front: str) -> None:
    """Exact before wildcard, in any case, below a wildcard at any depth, and the default for the rest."""
    address, firewall = publish(front)
    expected = {
        NAME: NAME,
        "api.example.org": "*.example.org",
        "any.example.org": "*.example.org",
        "a.b.wild.example": "*.wild.example",
        "other.example": "default",
        None: "default",
    }
    for name, who in expected.items():
        assert asked(client.connect(address), certificates, name) == who.encode()
    spelled = Conversation(client.connect(address), certificates.context(check_hostname=False), "WwW.eXample.ORG")
    spelled.shake()
    spelled.send(b"?")
    assert spelled.to_end() == NAME.encode()
    spelled.end(fin=True)
    if firewall is not None:
        rows = firewall.wait_rows(7, Action=int(Action.Terminate))
        assert {row["resultcode"] for row in rows} == {0}
        firewall.wait_base_line()


@SNI
@pytest.mark.requires("curl", "openssl", "gnutls-cli")
def test_real_clients(publish: Any, certificates: Certificates, program_path: Any) -> None:
    """Their hellos differ: GnuTLS's order of extensions, OpenSSL's padding, an earlier session's ticket."""
    (_, port), _ = publish("uvloop", default=False)
    ca = str(certificates.ca)
    curl = ("-q", "-s", "--http0.9", "--cacert", ca, "--resolve", f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}")
    gnutls = ("--logfile=/dev/null", f"--x509cafile={ca}", f"--sni-hostname={NAME}", f"--verify-hostname={NAME}")
    commands = {
        "curl": curl,
        "openssl": ("s_client", "-quiet", "-CAfile", ca, "-servername", NAME, "-connect", f"127.0.0.1:{port}"),
        "gnutls-cli": (*gnutls, "-p", str(port), "127.0.0.1"),
    }
    for program, arguments in commands.items():
        result = subprocess.run(
            [program_path(program), *arguments], input=b"?\n", capture_output=True, timeout=30, check=False,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert NAME.encode() in result.stdout, (program, result)


@pytest.mark.parametrize("front", FRONTS)
def test_byte_after_byte(publish: Any, client: Any, certificates: Certificates, front: str) -> None:
    address, _ = publish(front)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake(chunk=1)
    ours.send(b"?")
    assert ours.to_end() == NAME.encode()


@SNI
def test_every_byte_is_passed_on(serve: Any, origin: Any, client: Any, certificates: Certificates) -> None:
    """A hello in many records, and what comes behind it in the same segment, arrive as they were sent."""
    got: list[bytes] = []

    def keep(peer: socket.socket) -> None:
        while data := peer.recv(1 << 16):
            got.append(data)
        peer.sendall(b"done")

    firewall = serve(LISTENER.format(names=f'"{NAME}" = "127.0.0.1:{origin(keep).port}"', keys=""))
    hello = Conversation(client.connect(firewall.address("sni")), certificates.context()).hello()
    records = b"".join(
        hello[:3] + len(piece).to_bytes(2, "big") + piece
        for piece in (hello[5:][place : place + 40] for place in range(0, len(hello) - 5, 40))
    )
    ours = client.connect(firewall.address("sni"))
    ours.sendall(records + b"\x17\x03\x03\x00\x05early" + bytes(100_000))
    ours.shutdown(socket.SHUT_WR)
    assert client.to_end(ours) == b"done"
    assert b"".join(got) == records + b"\x17\x03\x03\x00\x05early" + bytes(100_000)
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["bytessent"] == len(records) + 10 + 100_000


@SNI
def test_the_rules_judge_the_server(publish: Any, servers: dict[str, int], client: Any, certificates: Any) -> None:
    """One name leads to a port that is allowed, the other to one that is not."""
    rule = (
        '[[protocol]]\nname = "one"\n'
        f'ports = [{{ transport = "tcp", direction = "outbound", first = {servers[NAME]} }}]\n'
        '[[rule]]\nname = "r"\naction = "allow"\nprotocols = ["one"]\nfrom = ["localhost"]\nto = ["localhost"]\n'
    )
    address, firewall = publish("uvloop", more=rule)
    assert asked(client.connect(address), certificates, NAME) == NAME.encode()
    with pytest.raises(ConnectionResetError):
        asked(client.connect(address), certificates, "api.example.org")
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["resultcode"], row["DestinationPort"]) == (int(FWX_E_POLICY_RULES_DENIED), servers["*.example.org"])


@pytest.mark.parametrize("name", ["unknown.example", None])
def test_who_is_not_served_gets_an_alert(publish: Any, client: Any, certificates: Any, name: str | None) -> None:
    address, firewall = publish("uvloop", default=False)
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        asked(client.connect(address), certificates, name)
    row = firewall.wait_row()
    asks = "for the host name 'unknown.example', which is not served (sni)" if name else "for no host name (SNI)"
    assert row["reason"].startswith(f"the client asks {asks}")
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(WSAECONNABORTED)))
    firewall.wait_base_line()


WRONG = {
    "HTTP": (b"GET / HTTP/1.1\r\n", "the client does not speak TLS: first byte 0x47, as HTTP has it"),
    "SOCKS": (b"\x05", "the client does not speak TLS: first byte 0x05, as SOCKS has it"),
    "zeros": (bytes(100_000), "the client does not speak TLS: first byte 0x00"),
    "garbage": (b"\x16\x03\x01\x00\x20" + b"\xaa" * 32, "the client's ClientHello is malformed"),
    "oversized": (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380), "has 16777215 bytes, more than 16384"),
    "crumbs": (
        b"".join(b"\x16\x03\x01\x00\x01" + bytes([each]) for each in b"\x01\x00\x20" + bytes(90)),
        "over more than 64 records",
    ),
}


@pytest.fixture(scope="module")
def guarded(serve_for_module: Any) -> Any:
    return serve_for_module(LISTENER.format(names='"a.example" = "127.0.0.1:1"', keys="") + LIMITS)


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input(guarded: Any, client: Any, what: str) -> None:
    data, reason = WRONG[what]
    before = len(guarded.rows())
    ours = client.connect(guarded.address("sni"))
    try:
        ours.sendall(data)
        assert client.to_end(ours) == b""
    except ConnectionError:
        pass
    row = guarded.wait_rows(before + 1)[-1]
    assert reason in row["reason"]
    guarded.wait_base_line()


@pytest.mark.parametrize("then", ["waits", "ends", "resets"])
@pytest.mark.parametrize("length", [0, 3, 50])
def test_an_unfinished_hello(guarded: Any, client: Any, certificates: Certificates, length: int, then: str) -> None:
    before = len(guarded.rows())
    ours = client.connect(guarded.address("sni"))
    ours.sendall(Conversation(ours, certificates.context()).hello()[:length])
    if then == "resets":
        client.reset(ours)
    elif then == "ends":
        ours.shutdown(socket.SHUT_WR)
    row = guarded.wait_rows(before + 1)[-1]
    reasons = {
        "waits": "the ClientHello was not complete before the deadline (handshake_seconds)",
        "ends": "the client ended before its ClientHello was complete",
        "resets": "the client went away before its ClientHello was complete: Connection reset by peer",
    }
    assert row["reason"] == reasons[then]
    assert (row["resultcode"] == int(HRESULT_FROM_WIN32(WSAETIMEDOUT))) == (then == "waits")
    guarded.wait_base_line()


def test_who_speaks_no_tls_goes_to_the_default(serve: Any, origin: Any, client: Any) -> None:
    keys = f'to = "127.0.0.1:{origin().port}"'
    firewall = serve(LISTENER.format(names='"a.example" = "127.0.0.1:1"', keys=keys))
    ours = client.connect(firewall.address("sni"))
    ours.sendall(b"plain text")
    assert client.exactly(ours, 10) == b"plain text"


def test_sigterm_while_a_hello_is_awaited(serve: Any, client: Any) -> None:
    firewall = serve(LISTENER.format(names='"a.example" = "127.0.0.1:1"', keys=""))
    ours = client.connect(firewall.address("sni"))
    ours.sendall(b"\x16\x03")
    firewall.tell()
    firewall.wait_stopped(seconds=5)
