"""The ports that this machine's programs listen on, as the kernel tells it under ``/proc``."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

_TABLES = (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6"))
# The states that the kernel shows for a TCP socket that listens, and for a UDP socket without a peer.
_WAITING = {"tcp": "0A", "udp": "07"}
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_PROC = Path("/proc")


class ListeningPort(NamedTuple):
    """One socket that waits for clients.

    :ivar transport: ``tcp`` or ``udp``. :ivar inode: the socket's number in the kernel.
    """

    transport: str
    address: IPv4Address | IPv6Address
    port: int
    inode: int

    def meets(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Tell whether binding *address* and *port* for the same transport would collide with it."""
        if port != self.port or address.version != self.address.version:
            return False
        return address == self.address or address.is_unspecified or self.address.is_unspecified


class Owner(NamedTuple):
    """A process that has a socket open."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"{self.program} (process {self.pid})"


def listening_ports() -> list[ListeningPort]:
    """Return what listens in this network namespace. :raises OSError: ``/proc`` cannot be read."""
    found: list[ListeningPort] = []
    for transport, table in _TABLES:
        path = _PROC / "self" / "net" / table
        if path.exists():  # a kernel without IPv6 has two of them
            found += _rows(transport, path.read_text())
    return found


def owners() -> dict[int, Owner]:
    """Return who has which socket open, by inode; of processes that this account may not look into, nothing."""
    found: dict[int, Owner] = {}
    for process in _PROC.iterdir():
        if process.name.isdigit():
            found.update(dict.fromkeys(_inodes(process), Owner(int(process.name), _program(process))))
    return found


def ports_of_others(pid: int) -> list[tuple[ListeningPort, Owner | None]]:
    """Return what listens beyond loopback and is not the process *pid*'s, with its owner where that can be known.

    :raises OSError: ``/proc`` cannot be read.
    """
    known = owners()
    found = ((port, known.get(port.inode)) for port in listening_ports() if not port.address.is_loopback)
    return [(port, owner) for port, owner in found if owner is None or owner.pid != pid]


def _rows(transport: str, text: str) -> Iterator[ListeningPort]:
    for line in text.splitlines()[1:]:
        words = line.split()
        if words[3] == _WAITING[transport]:
            host, _, port = words[1].partition(":")
            yield ListeningPort(transport, _address(host), int(port, 16), int(words[9]))


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address that the kernel wrote as words of 32 bits in the machine's byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _inodes(process: Path) -> Iterator[int]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # it has ended, or is none of ours
        return
    for descriptor in descriptors:
        try:
            match = _SOCKET.fullmatch(str(descriptor.readlink()))
        except OSError:
            continue
        if match is not None:
            yield int(match[1])


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
