"""Secondary connections through a running service: FTP by real clients, with a rule for the control port alone."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fwx
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED, FWX_E_POLICY_RULES_DENIED
from tests.integration.ftp_server import FILE, FtpServer

TOP = Path(fwx.__file__).parent.parent
CONFIG = """
[[protocol]]
name = "control"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[filter]]
name = "ftp-ports"
use = "ftp_ports:FtpPorts"

[[rule]]
name = "ftp"
action = "allow"
protocols = ["control"]
from = ["localhost"]
to = ["localhost"]
filters = ["ftp-ports"]
"""


@pytest.fixture
def server() -> Iterator[FtpServer]:
    server = FtpServer()
    yield server
    server.close()


@pytest.fixture
def firewall(serve: Any, server: FtpServer) -> Any:
    path = os.pathsep.join([str(TOP), str(TOP / "examples")])
    return serve(CONFIG.format(port=server.address[1]), env={"PYTHONPATH": path})


def run(*command: str, code: int = 0) -> bytes:
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ended.returncode == code, (command, ended.returncode, ended.stderr)
    return ended.stdout


def asks(firewall: Any, port: int) -> int:
    """What a SOCKS5 client is told that asks for *port*."""
    with socket.create_connection(firewall.address()) as client:
        client.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + port.to_bytes(2, "big"))
        reply = b""
        while len(reply) < 4:
            reply += client.recv(4 - len(reply))
        return reply[3]


@pytest.fixture
def curl(firewall: Any, server: FtpServer, program_path: Callable[[str], str]) -> Callable[..., bytes]:
    def transfer(*options: str, scheme: str = "socks5", **more: Any) -> bytes:
        host, port = firewall.address()
        url = f"ftp://127.0.0.1:{server.address[1]}/file"
        return run(program_path("curl"), "-sS", "--proxy", f"{scheme}://{host}:{port}", *options, url, **more)

    return transfer


@pytest.mark.requires("curl")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("extended", [False, True])
def test_passive(curl: Any, firewall: Any, server: FtpServer, extended: bool) -> None:
    """B6.2, B6.5, B6.6: the port that the server names is open once, and no other ever."""
    server.extended = extended
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert asks(firewall, other.getsockname()[1]) == 2
        assert curl() == FILE
        (port,) = server.passive
        assert asks(firewall, port) == 2
        assert asks(firewall, other.getsockname()[1]) == 2
    rows = firewall.wait_rows(2, Action=int(Action.Terminate))
    data = next(row for row in rows if row["DestinationPort"] == port)
    assert (data["rule"], data["ApplicationProtocol"], data["bytesrecvd"]) == ("ftp", "control", len(FILE))
    assert {row["resultcode"] for row in firewall.rows(Action=int(Action.Denied))} == {int(FWX_E_POLICY_RULES_DENIED)}
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_active(curl: Any, firewall: Any, server: FtpServer, tmp_path: Path) -> None:
    """B6.12, B6.15, B6.32: the server connects to the firewall, and the firewall to the client."""
    assert curl("--ftp-port", "127.0.0.1", "--disable-eprt") == FILE
    file = tmp_path / "file"
    file.write_bytes(FILE)
    curl("--ftp-port", "127.0.0.1", "--disable-eprt", "--upload-file", str(file))
    assert server.uploads == [FILE]
    told = [command for command in server.commands if command.startswith("PORT")]
    ports = [peer[1] for peer in server.peers]
    assert [int(each.split(",")[4]) * 256 + int(each.split(",")[5]) for each in told] == ports
    for port in ports:
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0
    arrivals = firewall.wait_rows(6, Action=int(Action.Terminate))
    data = [row for row in arrivals if row["DestinationPort"] in ports and row["bytessent"] + row["bytesrecvd"]]
    assert sorted(row["bytessent"] + row["bytesrecvd"] for row in data) == [len(FILE)] * 2
    assert {row["rule"] for row in data} == {"ftp"}
    firewall.wait_base_line()


@pytest.mark.requires("lftp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
def test_passive_by_http(firewall: Any, server: FtpServer, program_path: Callable[[str], str], tmp_path: Path) -> None:
    """The way in does not matter: lftp asks for the control and the data connection by CONNECT."""
    host, port = firewall.address()
    script = (
        f"set ftp:proxy http://{host}:{port}; set ftp:use-hftp no; set net:max-retries 1; set net:timeout 20; "
        f"open -u ann,secret 127.0.0.1:{server.address[1]}; get file -o {tmp_path / 'got'}; quit"
    )
    run(program_path("lftp"), "--norc", "-c", script)
    assert (tmp_path / "got").read_bytes() == FILE
    assert len(server.passive) == 1


def test_a_client_that_names_another_computer(firewall: Any, server: FtpServer) -> None:
    """B6.13: the port of a third party is not bound, and the server hears nothing of it."""
    firewall.traceback_expected = True  # the filter's: it does not catch what BindForClient raises
    with socket.create_connection(firewall.address()) as client:
        client.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + server.address[1].to_bytes(2, "big"))
        told = b""
        while b"220 ready\r\n" not in told:
            told += client.recv(1000)
        client.sendall(b"PORT 127,0,0,9,4,1\r\n")
        with contextlib.suppress(ConnectionResetError):
            while client.recv(1000):
                continue
    assert server.commands == []
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert FWX_E_ADDRESS_NOT_ALLOWED.name in row["reason"]
