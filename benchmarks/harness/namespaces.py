"""Three network namespaces, a gateway in the middle, whose clients' packets are diverted as examples/gateway has it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.process import find, run_to_end
from harness.relays import CHECKOUT

SERVER = "10.99.0.2"
_EXAMPLE = CHECKOUT / "examples" / "gateway"
_CLONE_NEWNET = 0x40000000


def missing() -> str:
    """Return why there can be no namespaces here; nothing where there can."""
    if os.geteuid() != 0:
        return "it takes root, to make network namespaces"
    absent = [program for program in ("ip", "nft") if find(program) is None]
    return f"there is no program {absent[0]}" if absent else ""


class Namespaces:
    """A client's, a firewall's and a server's, by name."""

    def __init__(self, stack: ExitStack) -> None:
        """Make them; *stack* takes them away."""
        name = f"fwx-bench-{os.getpid()}"
        self.client, self.firewall, self.server = (f"{name}-{part}" for part in "cfs")
        for each in (self.client, self.firewall, self.server):
            _run("ip", "netns", "add", each)
            stack.callback(_run, "ip", "netns", "del", each)
            _run("ip", "-n", each, "link", "set", "lo", "up")
        self._link_both()

    def _link_both(self) -> None:
        self._link(self.client, "inside0", "10.1.0.1", "10.1.0.2")
        self._link(self.server, "outside0", "10.99.0.1", SERVER)

    def divert(self) -> None:
        """Have what clients send to others diverted."""
        with self.inside(self.firewall):
            _run("nft", "-f", str(_EXAMPLE / "gateway.nft"))
            _run("sh", str(_EXAMPLE / "routes.sh"))

    def only_forward(self) -> None:
        """Have a new firewall that forwards like a router, and does nothing else.

        The sockets with clients' addresses that a relay has left in the old one's kernel would take packets of
        connections that come after it.
        """
        for near in (self.client, self.server):
            _run("ip", "-n", near, "link", "del", "out0")  # the other end goes with it
        _run("ip", "netns", "del", self.firewall)
        _run("ip", "netns", "add", self.firewall)
        _run("ip", "-n", self.firewall, "link", "set", "lo", "up")
        self._link_both()
        with self.inside(self.firewall):
            _run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Be in the namespace *name*, with all that is started meanwhile."""
        with Path("/proc/self/ns/net").open() as home, Path(f"/run/netns/{name}").open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def _link(self, name: str, link: str, near: str, far: str) -> None:
        _run("ip", "link", "add", link, "netns", self.firewall, "type", "veth", "peer", "out0", "netns", name)
        for inside, device, address in ((self.firewall, link, near), (name, "out0", far)):
            _run("ip", "-n", inside, "address", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", inside, "link", "set", device, "up")
        _run("ip", "-n", name, "route", "add", "default", "via", near)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(program: str, *arguments: str) -> None:
    run_to_end([find(program) or program, *arguments])
