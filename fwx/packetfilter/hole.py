"""What the kernel is asked to let in, and in which of the table's sets it stands."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

Address = IPv4Address | IPv6Address

PROTOCOLS = {6: "tcp", 17: "udp"}


class Hole(NamedTuple):
    """Packets of *protocol* to *local* and *port*; from *remote* and *remote_port* alone where there is one.

    An unspecified *local* stands for every address of its family.
    """

    protocol: int
    local: Address
    port: int
    remote: Address | None = None
    remote_port: int = 0

    def __str__(self) -> str:
        source = "" if self.remote is None else f" from {self.remote} port {self.remote_port}"
        return f"{PROTOCOLS.get(self.protocol, self.protocol)} to {self.local} port {self.port}{source}"


def check_hole(hole: Hole) -> Hole:
    """Return *hole*. :raises ValueError: it is wider than one socket's, or no hole."""
    if hole.protocol not in PROTOCOLS:
        raise ValueError(f"protocol {hole.protocol} is neither TCP nor UDP")
    if not 1 <= hole.port <= 0xFFFF:
        raise ValueError(f"port {hole.port} is not from 1 to 65535")
    if hole.remote is None:
        if hole.remote_port:
            raise ValueError("a remote port without its address")
    elif hole.remote.version != hole.local.version or hole.remote.is_unspecified:
        raise ValueError(f"the remote address {hole.remote} does not suit {hole.local}")
    elif not 1 <= hole.remote_port <= 0xFFFF:
        raise ValueError(f"remote port {hole.remote_port} is not from 1 to 65535")
    return hole
