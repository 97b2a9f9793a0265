"""The header of SOCKS5's UDP datagrams (RFC 1928 section 7)."""

from __future__ import annotations

from typing import Final

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import connect_target
from fwx.proxy.socks5 import packed_address, unpack_address

_RESERVED: Final = b"\x00\x00"
_SHORTEST: Final = 4


def parse_datagram(datagram: bytes) -> tuple[memoryview, SocketAddress]:
    """Return the payload of a client's *datagram*, as a view, and the target that its header names.

    :raises ValueError: it is cut off or malformed, or a fragment, which a relay that does not reassemble must drop.
    """
    if len(datagram) < _SHORTEST:
        raise ValueError(f"{len(datagram)} bytes are no SOCKS5 datagram")
    if datagram[:2] != _RESERVED:
        raise ValueError("the reserved bytes are not 00 00")
    if datagram[2]:
        raise ValueError(f"it is fragment 0x{datagram[2]:02x}")
    host, end = unpack_address(datagram, 3)
    if len(datagram) < end + 2:
        raise ValueError("the header is cut off")
    target = connect_target(host, int.from_bytes(datagram[end : end + 2], "big"))
    return memoryview(datagram)[end + 2 :], target


def datagram_header(source: SocketAddress) -> bytes:
    """Return the header of a datagram for the client that came from the literal address *source*.

    :raises ValueError: *source* is a name.
    """
    return b"\x00\x00\x00" + packed_address(source)
