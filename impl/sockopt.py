"""Socket options by their Winsock numbers, mapped to the kernel's."""

from __future__ import annotations

import socket
import struct
from types import MappingProxyType
from typing import Final

from fwx.impl.argument import octets, whole

# Winsock's levels and names.
SOL_SOCKET: Final = 0xFFFF
IPPROTO_IP: Final = 0
IPPROTO_TCP: Final = 6
IPPROTO_IPV6: Final = 41
SO_ACCEPTCONN: Final = 0x0002
SO_REUSEADDR: Final = 0x0004
SO_KEEPALIVE: Final = 0x0008
SO_DONTROUTE: Final = 0x0010
SO_BROADCAST: Final = 0x0020
SO_LINGER: Final = 0x0080
SO_OOBINLINE: Final = 0x0100
SO_DONTLINGER: Final = 0xFF7F
SO_SNDBUF: Final = 0x1001
SO_RCVBUF: Final = 0x1002
SO_SNDTIMEO: Final = 0x1005
SO_RCVTIMEO: Final = 0x1006
SO_ERROR: Final = 0x1007
SO_TYPE: Final = 0x1008
TCP_NODELAY: Final = 0x0001
TCP_KEEPALIVE: Final = 0x0003
TCP_KEEPCNT: Final = 0x0010
TCP_KEEPINTVL: Final = 0x0011
IP_TOS: Final = 3
IP_TTL: Final = 4
IPV6_UNICAST_HOPS: Final = 4
IPV6_V6ONLY: Final = 27

_INTEGERS = MappingProxyType(
    {
        (SOL_SOCKET, SO_ACCEPTCONN): (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        (SOL_SOCKET, SO_REUSEADDR): (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (SOL_SOCKET, SO_DONTROUTE): (socket.SOL_SOCKET, socket.SO_DONTROUTE),
        (SOL_SOCKET, SO_BROADCAST): (socket.SOL_SOCKET, socket.SO_BROADCAST),
        (SOL_SOCKET, SO_OOBINLINE): (socket.SOL_SOCKET, socket.SO_OOBINLINE),
        (SOL_SOCKET, SO_KEEPALIVE): (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (SOL_SOCKET, SO_SNDBUF): (socket.SOL_SOCKET, socket.SO_SNDBUF),
        (SOL_SOCKET, SO_RCVBUF): (socket.SOL_SOCKET, socket.SO_RCVBUF),
        (SOL_SOCKET, SO_ERROR): (socket.SOL_SOCKET, socket.SO_ERROR),
        (SOL_SOCKET, SO_TYPE): (socket.SOL_SOCKET, socket.SO_TYPE),
        (IPPROTO_TCP, TCP_NODELAY): (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (IPPROTO_TCP, TCP_KEEPALIVE): (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        (IPPROTO_TCP, TCP_KEEPCNT): (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        (IPPROTO_TCP, TCP_KEEPINTVL): (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        (IPPROTO_IP, IP_TOS): (socket.IPPROTO_IP, socket.IP_TOS),
        (IPPROTO_IP, IP_TTL): (socket.IPPROTO_IP, socket.IP_TTL),
        (IPPROTO_IPV6, IPV6_UNICAST_HOPS): (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
        (IPPROTO_IPV6, IPV6_V6ONLY): (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    }
)
_LINGER = (socket.SOL_SOCKET, socket.SO_LINGER)


def to_kernel(level: int, optname: int, optval: bytes) -> tuple[int, int, bytes]:
    """Translate an option to set: Winsock's numbers and value to the kernel's.

    :raises KeyError: the option is not known here. :raises ValueError: the value has the wrong size.
    """
    if level == SOL_SOCKET and optname == SO_LINGER:
        # Winsock's LINGER has two 16-bit members, Linux's two ints. A time above 0 would make close() block the loop:
        # what is queued goes out in the background anyway.
        _require_size(optval, 4)
        on, seconds = struct.unpack("<HH", optval)
        return (*_LINGER, struct.pack("ii", int(bool(on and not seconds)), 0))
    if level == SOL_SOCKET and optname == SO_DONTLINGER:
        _require_size(optval, 4)
        return (*_LINGER, struct.pack("ii", 0, 0) if any(optval) else struct.pack("ii", 1, 0))
    kernel_level, kernel_option = _INTEGERS[level, optname]
    _require_size(optval, 4)
    return kernel_level, kernel_option, struct.pack("i", *struct.unpack("<i", optval))


def from_kernel(level: int, optname: int) -> tuple[int, int, int]:
    """Translate an option to read: the kernel's level, option and size. :raises KeyError: not known here."""
    if level == SOL_SOCKET and optname in (SO_LINGER, SO_DONTLINGER):
        return (*_LINGER, 8)
    return (*_INTEGERS[level, optname], 4)


def value_from_kernel(level: int, optname: int, value: bytes) -> bytes:
    """Translate a value that was read to Winsock's form."""
    if level == SOL_SOCKET and optname in (SO_LINGER, SO_DONTLINGER):
        on, seconds = struct.unpack("ii", value)
        return struct.pack("<HH", on, seconds & 0xFFFF) if optname == SO_LINGER else struct.pack("<i", int(not on))
    return struct.pack("<i", *struct.unpack("i", value))


def milliseconds_of(optval: bytes | bytearray | memoryview | None, optlen: int | None) -> int:
    """Read the value of ``SO_SNDTIMEO`` or ``SO_RCVTIMEO``: milliseconds, 0 for no limit; the socket keeps them itself.

    :raises ValueError: the value has the wrong size. :raises COMError: as for every option's value.
    """
    value = octets(optval, "optval")
    if optlen is not None:
        value = value[: whole(optlen, "optlen", most=len(value))]
    _require_size(value, 4)
    return int.from_bytes(value, "little")


def milliseconds_value(milliseconds: int) -> bytes:
    """Return *milliseconds* as the value of ``SO_SNDTIMEO`` or ``SO_RCVTIMEO``."""
    return milliseconds.to_bytes(4, "little")


def _require_size(optval: bytes, size: int) -> None:
    if len(optval) != size:
        raise ValueError(f"the value has {len(optval)} bytes, not {size}")
