"""The address class that stands for every ``SOCKADDR`` of the interfaces."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """Parse an address literal, remembering the most recent ones.

    :raises ValueError: *text* is no IPv4 or IPv6 address.
    """
    return ip_address(text)


def plain_prefix(text: str) -> tuple[int, int] | None:
    """Return the first and the last address of an IPv4 prefix such as ``10.1.0.0/16``; ``None`` where it is no such.

    There may be thousands of them, which are not left to the slow classes of :mod:`ipaddress`.
    """
    address, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit()) or len(length) > 2 or int(length) > 32:
        return None
    try:
        first = int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")
    except (OSError, ValueError):
        return None
    size = 1 << 32 - int(length)
    return None if first % size else (first, first + size - 1)


class SocketAddress:
    """An immutable IPv4, IPv6 or named end point with its port.

    ``host`` is the text that was given: a literal address or a DNS name. ``address`` is the parsed literal, or
    ``None`` for a name. Two addresses are equal when host, port and scope are equal.
    """

    # No properties: each connection asks for them some twenty times.
    __slots__ = {
        "host": "The address or name, as it was given.",
        "port": "The port, 0 to 65535, in host byte order.",
        "scope_id": "The interface that a link-local IPv6 address belongs to; 0 for none.",
    }

    host: str
    port: int
    scope_id: int

    def __init__(self, host: str | IPv4Address | IPv6Address, port: int = 0, scope_id: int = 0) -> None:
        """Make an address of *host* (a literal or a name), *port* (0 to 65535) and IPv6 *scope_id*.

        :raises ValueError: the port is out of range or the host is empty.
        """
        text = host if type(host) is str else str(host)
        if not text:
            raise ValueError("an address needs a host")
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"port {port} is outside 0 to 65535")
        _set_host(self, text)
        _set_port(self, port)
        _set_scope_id(self, scope_id)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"SocketAddress is immutable, cannot set {name}")

    @classmethod
    def from_sockaddr(cls, sockaddr: tuple[Any, ...]) -> SocketAddress:
        """Make an address of what :mod:`socket` returns for AF_INET and AF_INET6."""
        return _interned(sockaddr)

    @classmethod
    def of_stream(cls, sockaddr: tuple[Any, ...]) -> SocketAddress:
        """Make an address as :meth:`from_sockaddr` does, of what will hardly come again: an end of one connection."""
        # What the kernel says is in range.
        made = object.__new__(cls)
        if len(sockaddr) == 2:
            _set_host(made, sockaddr[0])
            _set_scope_id(made, 0)
        else:
            _set_host(made, sockaddr[0].partition("%")[0])
            _set_scope_id(made, sockaddr[3])
        _set_port(made, sockaddr[1])
        return made

    @classmethod
    def parse(cls, text: str) -> SocketAddress:
        """Parse ``host:port`` or ``[v6]:port``.

        :raises ValueError: there is no port or it is not a number in range.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address as [address]:port")
        if not colon or not host or not (port.isascii() and port.isdigit()):
            raise ValueError(f"{text!r} is not host:port")
        return cls(host, int(port))

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The literal address, or ``None`` when the host is a name."""
        try:
            return parse_ip(self.host)
        except ValueError:
            return None

    @property
    def family(self) -> int:
        """``AF_INET``, ``AF_INET6``, or ``AF_UNSPEC`` for a name."""
        address = self.address
        if address is None:
            return socket.AF_UNSPEC
        return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6

    @property
    def length(self) -> int:
        """Bytes of the ``sockaddr`` structure: 16 for IPv4, 28 for IPv6, 2 plus the encoded name plus 2 for a name."""
        match self.family:
            case socket.AF_INET:
                return 16
            case socket.AF_INET6:
                return 28
            case _:
                return 4 + len(self.host.encode())

    @property
    def sockaddr(self) -> tuple[Any, ...]:
        """What the calls of :mod:`socket` take."""
        if ":" in self.host:
            return (self.host, self.port, 0, self.scope_id)
        return (self.host, self.port)

    def with_port(self, port: int) -> SocketAddress:
        """Return the same host with another port.

        :raises ValueError: *port* is outside 0 to 65535.
        """
        return SocketAddress(self.host, port, self.scope_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SocketAddress):
            return NotImplemented
        return (self.host, self.port, self.scope_id) == (other.host, other.port, other.scope_id)

    def __hash__(self) -> int:
        return hash((self.host, self.port, self.scope_id))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"SocketAddress({str(self)!r})"


# The slots themselves: they set what __setattr__ refuses to, and faster than by name.
_set_host, _set_port, _set_scope_id = (vars(SocketAddress)[name].__set__ for name in ("host", "port", "scope_id"))


@lru_cache(maxsize=4096)
def _interned(sockaddr: tuple[Any, ...]) -> SocketAddress:
    """Make the address of *sockaddr*, or return the one made before: datagrams come from the same few."""
    return SocketAddress.of_stream(sockaddr)
