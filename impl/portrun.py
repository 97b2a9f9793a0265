"""Binding ports of the firewall: one, or a run of them without a gap (B6.14, B6.24, B6.26)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TypeVar

from fwx.impl.transport import LocalTransport
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAEADDRINUSE, winsock_error

AnyTransport = TypeVar("AnyTransport", bound=LocalTransport)

MOST_PORTS = 64
"""Ports of one run."""

ATTEMPTS = 64
"""Places where a run of ports is looked for before there is none."""

_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})


def bind_to(make: Callable[[int], AnyTransport], address: SocketAddress) -> AnyTransport:
    """Make a transport that is bound to the literal *address*, port 0 for a free one; it is the caller's.

    :raises COMError: the Winsock error: ``WSAEADDRINUSE``, ``WSAEADDRNOTAVAIL`` it is none of this machine's, ...
    """
    try:
        return _bind(make, address)
    except OSError as error:
        raise winsock_error(winsock_code(error), f"bind {address}: {error.strerror or error}") from error


def bind_run(make: Callable[[int], AnyTransport], address: SocketAddress, count: int) -> list[AnyTransport]:
    """Make *count* transports bound to *address* and the ports that follow it; with port 0 any run that is free.

    All of them or none are bound, and no other socket has one of them; they are the caller's.

    :raises COMError: ``WSAEADDRINUSE`` there is no such run; another Winsock error of a bind.
    """
    if address.port and address.port + count - 1 > 0xFFFF:
        raise winsock_error(WSAEADDRINUSE, f"{count} ports from {address} on are more than there are")
    for _ in range(1 if address.port else ATTEMPTS):
        bound: list[AnyTransport] = []
        try:
            bound.append(_bind(make, address, alone=True))
            first = SocketAddress.from_sockaddr(bound[0].getsockname())
            for port in range(first.port + 1, first.port + count):
                if port > 0xFFFF:
                    raise OSError(errno.EADDRINUSE, "there are no higher ports")
                bound.append(_bind(make, first.with_port(port), alone=True))
        except OSError as error:
            for transport in bound:
                transport.close(False)
            if error.errno not in _TAKEN or address.port:
                raise winsock_error(winsock_code(error), f"bind {address}: {error.strerror or error}") from error
            continue
        return bound
    raise winsock_error(WSAEADDRINUSE, f"no {count} ports in a row are free on {address.host}")


def _bind(make: Callable[[int], AnyTransport], address: SocketAddress, *, alone: bool = False) -> AnyTransport:
    transport = make(address.family)
    try:
        if address.family == socket.AF_INET6:
            # Winsock's default; Linux would take IPv4 on the port as well.
            transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        transport.bind(address.sockaddr, alone=alone)
    except BaseException:
        transport.close(False)
        raise
    return transport
