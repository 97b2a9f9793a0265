"""Sockets in network namespaces, and three namespaces that make a gateway of the one in the middle."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWNET = 0x40000000


def socket_in(name: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Make a socket in the namespace *name*, in which it stays."""
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{name}").open() as file:
            if libc.setns(file.fileno(), _CLONE_NEWNET):
                made.append(OSError(ctypes.get_errno(), "setns"))
                return
        made.append(socket.socket(family, kind))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class Gateway(NamedTuple):
    """The names of three namespaces. The client's way to everybody else is the firewall, and so is the server's.

    The interface towards the client is called ``inside0``, as in ``examples/gateway``.
    """

    client: str
    firewall: str
    server: str
    ip: str

    def prefix(self, name: str) -> tuple[str, ...]:
        """What a command has to begin with to run in the namespace *name*."""
        return (self.ip, "netns", "exec", name)

    def run(self, name: str, *command: str) -> str:
        """Run a command in the namespace *name*; return what it says."""
        return subprocess.run([*self.prefix(name), *command], check=True, capture_output=True, text=True).stdout


CLIENT4, CLIENT6 = "10.1.0.2", "fd00:1::2"
OTHER4 = "10.1.0.3"
INSIDE4, INSIDE6 = "10.1.0.1", "fd00:1::1"
OUTSIDE4, OUTSIDE6 = "10.99.0.1", "2001:db8:99::1"
SERVER4, SERVER6 = "10.99.0.2", "2001:db8:99::2"


@contextmanager
def gateway_of(firewall: str, ip: str) -> Iterator[Gateway]:
    """Make a client's namespace and a server's around that of the *firewall*, which is there."""
    three = Gateway(f"{firewall}-c", firewall, f"{firewall}-s", ip)

    def run(*arguments: str) -> None:
        subprocess.run([ip, *arguments], check=True)

    sides = (
        (three.client, "inside0", (INSIDE4, INSIDE6), ((CLIENT4, OTHER4), (CLIENT6,))),
        (three.server, "outside0", (OUTSIDE4, OUTSIDE6), ((SERVER4,), (SERVER6,))),
    )
    with contextlib.ExitStack() as made:
        for name, link, near, far in sides:
            run("netns", "add", name)
            made.callback(run, "netns", "del", name)
            run("-n", name, "link", "set", "lo", "up")
            run("link", "add", link, "netns", firewall, "type", "veth", "peer", "out0", "netns", name)
            for inside, device, hosts in ((firewall, link, ((near[0],), (near[1],))), (name, "out0", far)):
                for width, family in zip(("/24", "/64"), hosts, strict=True):
                    for host in family:
                        nodad = ("nodad",) if ":" in host else ()
                        run("-n", inside, "address", "add", host + width, "dev", device, *nodad)
                run("-n", inside, "link", "set", device, "up")
            for family, host in zip(("-4", "-6"), near, strict=True):
                run("-n", name, family, "route", "add", "default", "via", host)
        yield three
