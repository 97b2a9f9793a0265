"""Which of its own addresses the firewall is reached at; the kernel's routes say it."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from fwx.impl.transport import Network

logger = logging.getLogger("fwx.ownaddress")

# Nothing is sent there. Addresses for documentation (RFC 5737, RFC 3849) take the way that leads to the world.
_WORLD: dict[int, SocketAddress] = {
    socket.AF_INET: SocketAddress("192.0.2.1", 9),
    socket.AF_INET6: SocketAddress("2001:db8::1", 9),
}
_ANY_PORT = 9


def unspecified(family: int) -> SocketAddress:
    """Return the unspecified address of *family*, port 0."""
    return SocketAddress("::" if family == socket.AF_INET6 else "0.0.0.0")  # noqa: S104


def address_towards(network: Network, peer: SocketAddress) -> SocketAddress | None:
    """Return the own address, port 0, that packets for the literal *peer* leave from; ``None`` without a way there.

    A datagram socket is connected, which sends nothing.
    """
    try:
        probe = network.datagram(peer.family)
    except OSError as error:
        logger.debug("no socket to find the way to %s: %s", peer, error)
        return None
    try:
        probe.connect(peer.with_port(_ANY_PORT).sockaddr)
        return SocketAddress.from_sockaddr(probe.getsockname()).with_port(0)
    except OSError as error:
        logger.debug("no way to %s: %s", peer, error)
        return None
    finally:
        probe.close(False)


def address_towards_the_world(network: Network, family: int) -> SocketAddress | None:
    """Return the own address of *family*, port 0, that the default route leaves from; ``None`` without one."""
    return address_towards(network, _WORLD[family])
