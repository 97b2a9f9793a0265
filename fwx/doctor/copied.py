"""A copy of this machine's diversion in namespaces of its own, in which connections to nobody are made for trial.

``fwx doctor`` runs it as a program of its own, because it leaves the network of whoever runs it. Rules of nftables,
routing rules, the tables that they name, settings and the interfaces with their addresses are copied; each interface
gets a client behind it. Nothing of the machine itself is touched, and with the process all of it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from fwx.interfaces import SocketAddress
from fwx.transparent.kernel import ANCILLARY_BYTES, ask_destinations, destination_of, make_transparent, redirected_from

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_CLONE_NEWNET = 0x40000000
_SECONDS = 1.0
_PROGRAM_SECONDS = 10.0
SOMEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that belong to nobody (RFC 5737, RFC 3849)."""
# A table of counters: what came, what was diverted (marked, or its destination rewritten), what was delivered here.
_COUNTERS = """
table inet fwx_doctor {{
    counter came {{ }}
    counter diverted {{ }}
    counter delivered {{ }}
    chain first {{ type filter hook prerouting priority -1000; {target} counter name came; }}
    chain last {{
        type filter hook prerouting priority 1000;
        {target} meta mark != 0 counter name diverted;
        ct original {original} ct status dnat counter name diverted;
    }}
    chain input {{ type filter hook input priority -1000; meta iifname != "lo" {transport} counter name delivered; }}
}}
"""


class CopyError(Exception):
    """The machine cannot be copied; says what could not be done."""


def leave_network() -> None:
    """Give the calling thread, and what it starts, a network of its own. :raises CopyError: it may not have one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        number = ctypes.get_errno()
        raise CopyError(f"no network namespace can be made: {os.strerror(number)}")


def run(*command: str, data: bytes = b"") -> bytes:
    """Run a program of the system's. :raises CopyError: it is not there, or fails."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        raise CopyError(f"there is no program {command[0]}")
    try:
        with tempfile.TemporaryFile() as file:  # ip restores from what it can wind back
            file.write(data)
            file.seek(0)
            ended = subprocess.run(  # noqa: S603  a program of the system's, by its full path
                [program, *command[1:]], stdin=file, capture_output=True, check=False, timeout=_PROGRAM_SECONDS
            )
    except subprocess.TimeoutExpired as error:
        raise CopyError(f"{' '.join(command)}: {error}") from error
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise CopyError(f"{' '.join(command)}: {said}")
    return ended.stdout


def neighbour(interface: str) -> str | None:
    """Return another host's address in the network of *interface* (``10.1.0.1/24``), ``None`` where there is none."""
    own = ipaddress.ip_interface(interface)
    for number in (int(own.ip) + 1, int(own.ip) - 1):
        with contextlib.suppress(ValueError):
            host = type(own.ip)(number)
            ends = () if own.network.prefixlen >= own.max_prefixlen - 1 else (own.network[0], own.network[-1])
            if host in own.network and host not in ends:
                return str(host)
    return None


class Link(NamedTuple):
    """An interface of the copy and what is behind it: the client's interface, and the client's address."""

    name: str
    far: str
    version: int
    client: str


class Copy:
    """The copied machine, whose network is this thread's, and its clients on a thread of their own."""

    def __init__(self, machine: dict[str, Any]) -> None:
        """Copy *machine*, which :func:`fwx.doctor.probe.describe` has described. :raises CopyError: impossible."""
        self._clients = ThreadPoolExecutor(1)
        leave_network()
        client = self._clients.submit(self._settle_clients).result()
        run("ip", "link", "set", "lo", "up")
        self._links: list[Link] = []
        for index, interface in enumerate(machine["interfaces"]):
            self._connect(f"c{index}", interface, client)
        for name, value in machine["settings"].items():
            with contextlib.suppress(OSError):  # an interface that has not been copied
                Path("/proc/sys", *name.split(".")).write_text(value)
        for family, saved in machine["rules"].items():
            run("ip", f"-{family}", "rule", "flush")
            run("ip", f"-{family}", "rule", "restore", data=b64decode(saved))
        for family, routes in machine["routes"].items():
            for saved in routes:
                run("ip", f"-{family}", "route", "restore", data=b64decode(saved))
        run("nft", "-f", "-", data=machine["ruleset"].encode())

    def close(self) -> None:
        self._clients.shutdown()

    def _settle_clients(self) -> int:
        """Give the clients' thread its network; return the thread's number."""
        leave_network()
        run("ip", "link", "set", "lo", "up")
        return threading.get_native_id()

    def _connect(self, far: str, interface: dict[str, Any], client: int) -> None:
        """Make one interface, and a client behind it."""
        name = interface["name"]
        run("ip", "link", "add", name, "type", "veth", "peer", "name", far)
        run("ip", "link", "set", far, "netns", str(client))
        run("ip", "link", "set", name, "up")
        self._clients.submit(run, "ip", "link", "set", far, "up").result()
        for version, flags in ((4, ()), (6, ("nodad",))):
            for address in interface["addresses"]:
                own = ipaddress.ip_interface(address)
                host = neighbour(address)
                if own.version != version or host is None:
                    continue
                run("ip", "address", "add", address, "dev", name, *flags)
                width = f"/{own.network.prefixlen}"
                add = (f"-{version}", "route", "add", "default", "via", str(own.ip), "dev", far)
                self._clients.submit(run, "ip", "address", "add", host + width, "dev", far, *flags).result()
                self._clients.submit(run, "ip", *add, "metric", str(10 + len(self._links))).result()
                # Somebody else is somewhere: to whom there is no route, a rule may not divert packets.
                run(
                    "ip", f"-{version}", "route", "add", "default", "dev", name, "metric", str(60000 + len(self._links))
                )
                self._links.append(Link(name, far, version, host))
                break

    def links(self, version: int) -> list[Link]:
        """Return the interfaces with addresses of an IP version."""
        return [link for link in self._links if link.version == version]

    def client_socket(self, family: int, kind: int) -> socket.socket:
        """Make a socket of the clients'."""
        return self._clients.submit(socket.socket, family, kind).result()


class Trial:
    """One listener, in the copy, and what happens when clients send to :data:`SOMEWHERE`."""

    def __init__(self, copy: Copy, listener: dict[str, Any]) -> None:
        self._copy = copy
        self._mode = listener["mode"]
        self._ports = listener["try"]
        bind = SocketAddress(listener["host"], listener["port"])
        self._family = bind.family
        self._version = 6 if bind.family == socket.AF_INET6 else 4
        self._kind = socket.SOCK_DGRAM if listener["transport"] == "udp" else socket.SOCK_STREAM
        self._transport = listener["transport"]
        self._sock = socket.socket(self._family, self._kind)
        try:
            if bind.family == socket.AF_INET6:
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if self._mode == "tproxy":
                make_transparent(self._sock, self._family)
            if self._kind == socket.SOCK_DGRAM:
                ask_destinations(self._sock, self._family)
            self._sock.bind(bind.sockaddr)
            if self._kind == socket.SOCK_STREAM:
                self._sock.listen()
        except OSError as error:
            self._sock.close()
            raise CopyError(f"{bind}: {error.strerror}") from error
        self._sock.setblocking(False)

    def close(self) -> None:
        self._sock.close()

    def run(self) -> dict[str, Any]:
        """Try by each interface; return what arrived by which, and how far the others got."""
        found: dict[str, Any] = {"arrived": {}, "lost": {}}
        for link in self._copy.links(self._version):
            with self._counters() as counted:
                port = self._try(link)
            if port:
                found["arrived"][link.name] = port
            else:
                found["lost"][link.name] = counted()
        return found

    @contextlib.contextmanager
    def _counters(self) -> Iterator[Callable[[], str]]:
        """Count what happens meanwhile; gives what tells how far it got."""
        ip = "ip6" if self._version == 6 else "ip"
        target = f"{ip} daddr {SOMEWHERE[self._version]} meta l4proto {self._transport}"
        run("nft", "-f", "-", data=_COUNTERS.format(
            target=target, transport=f"meta l4proto {self._transport}",
            original=f"{ip} daddr {SOMEWHERE[self._version]}",
        ).encode())  # fmt: skip
        got = ""

        def how_far() -> str:
            return got

        try:
            yield how_far
            listing = json.loads(run("nft", "-j", "list", "table", "inet", "fwx_doctor"))["nftables"]
            counts = {each["counter"]["name"]: each["counter"]["packets"] for each in listing if "counter" in each}
            got = next((name for name in ("delivered", "diverted", "came") if counts[name]), "nothing")
        finally:
            run("nft", "delete", "table", "inet", "fwx_doctor")

    def _try(self, link: Link) -> int:
        """Send to each port that is to be tried, by one interface; return the one that arrived first, 0 for none."""
        with contextlib.ExitStack() as opened:
            clients = [(opened.enter_context(self._client(link.far)), port) for port in self._ports]
            end = time.monotonic() + _SECONDS
            step = _SECONDS / 4
            while (left := end - time.monotonic()) > 0:
                for client, port in clients:
                    self._send(client, port)
                ready, _, _ = select.select([self._sock], [], [], min(left, step))
                if ready and (port := self._arrived(link)):
                    return port
        return 0

    def _client(self, far: str) -> socket.socket:
        client = self._copy.client_socket(self._family, self._kind)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, far.encode())
        client.setblocking(False)
        return client

    def _send(self, client: socket.socket, port: int) -> None:
        target = (SOMEWHERE[self._version], port)
        with contextlib.suppress(OSError):  # under way, refused, ...: what arrives is looked at
            if self._kind == socket.SOCK_DGRAM:
                client.sendto(b"fwx doctor", target)
            else:
                client.connect(target)

    def _arrived(self, link: Link) -> int:
        """Return the port that what has arrived by *link* was sent to, if it was sent to somebody else; else 0."""
        if self._kind == socket.SOCK_DGRAM:
            _, ancillary, _, source = self._sock.recvmsg(100, ANCILLARY_BYTES)
            target = destination_of(ancillary)
        else:
            client, source = self._sock.accept()
            with client:
                target = _target(client, self._mode)
        if target is None or target.host != SOMEWHERE[self._version] or source[0] != link.client:
            return 0  # also what is left of the trial by another interface
        return target.port


class _Readable:
    def __init__(self, sock: socket.socket) -> None:
        self.getsockopt = sock.getsockopt


def _target(client: socket.socket, mode: str) -> SocketAddress | None:
    if mode == "tproxy":
        return SocketAddress.from_sockaddr(client.getsockname())
    try:
        return redirected_from(_Readable(client), client.family)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOPROTOOPT):
            raise
        return None


def main() -> int:
    """Read a description of a machine and its listeners, write what came of each listener's trial."""
    asked = json.load(sys.stdin)
    answers: list[dict[str, Any]] = []
    try:
        copy = Copy(asked)
    except (CopyError, OSError) as error:
        json.dump({"error": str(error)}, sys.stdout)
        return 0
    with contextlib.closing(copy):
        for listener in asked["listeners"]:
            try:
                with contextlib.closing(Trial(copy, listener)) as trial:
                    answers.append(trial.run())
            except (CopyError, OSError) as error:
                answers.append({"error": str(error)})
    json.dump({"listeners": answers}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
