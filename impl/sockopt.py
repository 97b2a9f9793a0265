"""Socket options by their Winsock numbers, mapped to the kernel's."""

from __future__ import annotations

import socket
import struct
from types import MappingProxyType
from typing import Final

# Winsock's levels and names.
SOL_SOCKET: Final = 0xFFFF
IPPROTO_TCP: Final = 6
SO_REUSEADDR: Final = 0x0004
SO_KEEPALIVE: Final = 0x0008
SO_LINGER: Final = 0x0080
SO_DONTLINGER: Final = 0xFF7F
SO_SNDBUF: Final = 0x1001
SO_RCVBUF: Final = 0x1002
SO_ERROR: Final = 0x1007
SO_TYPE: Final = 0x1008
TCP_NODELAY: Final = 0x0001

_INTEGERS = MappingProxyType(
    {
        (SOL_SOCKET, SO_REUSEADDR): (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (SOL_SOCKET, SO_KEEPALIVE): (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (SOL_SOCKET, SO_SNDBUF): (socket.SOL_SOCKET, socket.SO_SNDBUF),
        (SOL_SOCKET, SO_RCVBUF): (socket.SOL_SOCKET, socket.SO_RCVBUF),
        (SOL_SOCKET, SO_ERROR): (socket.SOL_SOCKET, socket.SO_ERROR),
        (SOL_SOCKET, SO_TYPE): (socket.SOL_SOCKET, socket.SO_TYPE),
        (IPPROTO_TCP, TCP_NODELAY): (socket.IPPROTO_TCP, socket.TCP_NODELAY),
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


def _require_size(optval: bytes, size: int) -> None:
    if len(optval) != size:
        raise ValueError(f"the value has {len(optval)} bytes, not {size}")
