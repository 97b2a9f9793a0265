"""The example filter that speaks TLS for a mail server, in a real service, with real clients."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import fwx
from fwx.impl.logrecord import Action

EXAMPLES = Path(fwx.__file__).parent.parent / "examples"
NAME = "mail.example"
CONFIG = """
[[listener]]
name = "mail"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[[filter]]
name = "starttls"
use = "starttls:StartTls"
everywhere = true
options = {{ certificate = "{folder}/mail.pem", key = "{folder}/mail.key" }}

[[rule]]
name = "mail"
action = "allow"
protocols = ["any"]
from = ["any", "localhost"]
to = ["localhost"]
"""


def mail_server(client: socket.socket) -> None:
    """As much SMTP as there has to be; it knows nothing of TLS, and says what it gets."""
    client.sendall(b"220 mail.example\r\n")
    with client.makefile("rb") as lines:
        for line in lines:
            match line.split()[0].upper():
                case b"EHLO":
                    client.sendall(b"250-mail.example\r\n250 SIZE\r\n")
                case b"QUIT":
                    client.sendall(b"221 bye\r\n")
                    return
                case _:
                    client.sendall(b"250 you said " + line)


@pytest.fixture
def service(serve: Any, origin: Any) -> tuple[Any, Path]:
    server = origin(mail_server)
    folder = serve.make_folder()
    authority = trustme.CA()
    leaf = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(folder / "roots.pem")
    leaf.private_key_pem.write_to_path(folder / "mail.key")
    for each in leaf.cert_chain_pems:
        each.write_to_path(folder / "mail.pem", append=True)
    paths = os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)])
    firewall = serve(CONFIG.format(port=server.port, folder=folder), folder=folder, env={"PYTHONPATH": paths})
    return firewall, folder


@pytest.mark.requires("openssl")
def test_openssl_starttls(service: tuple[Any, Path], program_path: Callable[[str], str]) -> None:
    """B4.17: TLS in the middle of a stream that a data filter has pumped before."""
    firewall, folder = service
    host, port = firewall.address("mail")
    client = subprocess.Popen(
        [
            *(program_path("openssl"), "s_client", "-starttls", "smtp", "-connect", f"{host}:{port}", "-quiet"),
            *("-CAfile", str(folder / "roots.pem"), "-verify_return_error", "-verify_hostname", NAME),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = client.communicate(b"hello there\r\nQUIT\r\n", timeout=60)
    assert client.returncode == 0, errors
    assert output.splitlines()[-2:] == [b"250 you said hello there", b"221 bye"]
    row = firewall.wait_row(Action=Action.Terminate)
    assert row["filters"] == "starttls"
    firewall.wait_base_line()


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
def test_python_in_pieces(service: tuple[Any, Path], client: Any, size: int) -> None:
    """A client whose every message comes in pieces; then what it sends in one go with STARTTLS, which must not be read
    as if it had been said under TLS.
    """
    firewall, folder = service
    plain = client.connect(firewall.address("mail"))
    assert client.exactly(plain, 18) == b"220 mail.example\r\n"
    for line, answer in (
        (b"EHLO me\r\n", b"250-mail.example\r\n250-STARTTLS\r\n250 SIZE\r\n"),
        (b"NOOP\r\n", b"250 you said NOOP\r\n"),
        (b"starttls\r\n", b"220 go ahead\r\n"),
    ):
        for start in range(0, len(line), size):
            plain.sendall(line[start : start + size])
        assert client.exactly(plain, len(answer)) == answer
    context = ssl.create_default_context(cafile=str(folder / "roots.pem"))
    with context.wrap_socket(plain, server_hostname=NAME) as secure:
        secure.sendall(b"EHLO me\r\n")
        assert client.exactly(secure, 28) == b"250-mail.example\r\n250 SIZE\r\n"
        secure.sendall(b"QUIT\r\n")
        assert client.to_end(secure) == b"221 bye\r\n"


def test_a_command_smuggled_in_before_tls(service: tuple[Any, Path], client: Any) -> None:
    """CVE-2011-0411: what stands behind STARTTLS in the clear is not executed later."""
    firewall, _ = service
    plain = client.connect(firewall.address("mail"))
    client.exactly(plain, 18)
    plain.sendall(b"STARTTLS\r\nRCPT TO: mallory\r\n")
    assert client.to_end(plain) == b"220 go ahead\r\n"
    firewall.wait_base_line()
