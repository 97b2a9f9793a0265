"""Who listens where, as the kernel tells it."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

import pytest

from fwx.ports import ListeningPort, listening_ports, owners, ports_of_others


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_of_this_process(family: int, kind: int) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, kind) as sock:
        sock.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port = sock.getsockname()[1]
        transport = "tcp" if kind == socket.SOCK_STREAM else "udp"
        (found,) = [each for each in listening_ports() if each.port == port and each.transport == transport]
        assert found.address == ip_address(host)
        owner = owners()[found.inode]
        assert owner.pid == os.getpid()
        assert str(owner).endswith(f"(process {os.getpid()})")
    assert found not in listening_ports()


def test_those_of_others() -> None:
    """Loopback is nobody's concern; what is this process's own is left out."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as inside:
        own, hidden = everywhere.getsockname()[1], inside.getsockname()[1]
        seen = {port.port for port, _ in ports_of_others(1)}
        assert own in seen
        assert hidden not in seen
        assert own not in {port.port for port, _ in ports_of_others(os.getpid())}


@pytest.mark.parametrize(
    ("address", "port", "meets"),
    [
        ("0.0.0.0", 80, True),
        ("10.0.0.1", 80, True),
        ("10.0.0.2", 80, False),
        ("10.0.0.1", 81, False),
        ("::", 80, False),
    ],
)
def test_collisions(address: str, port: int, meets: bool) -> None:
    listening = ListeningPort("tcp", ip_address("10.0.0.1"), 80, 1)
    assert listening.meets(ip_address(address), port) == meets
    assert ListeningPort("tcp", ip_address("0.0.0.0"), 80, 1).meets(ip_address("10.0.0.9"), 80)
