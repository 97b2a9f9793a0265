"""The header of SOCKS5's UDP datagrams (RFC 1928 section 7)."""

from __future__ import annotations

from typing import Any, Final

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import connect_target
from fwx.proxy.socks5 import packed_address, packed_name, unpack_address
from fwx.proxy.socks5_codes import IPV4, IPV6, NAME

_RESERVED: Final = b"\x00\x00"
_SHORTEST: Final = 4
# With the shortest name there could be: no header that is cut off has the length of its kind.
_HEADER_LENGTHS: Final = {IPV4: 10, IPV6: 22}
_MOST_REMEMBERED: Final = 1024


class FragmentError(ValueError):
    """The datagram is a fragment."""


def parse_datagram(datagram: bytes) -> tuple[memoryview, SocketAddress]:
    """Return the payload of a client's *datagram*, as a view, and the target that its header names.

    :raises FragmentError: it is a fragment, which a relay that does not reassemble must drop.
    :raises ValueError: it is cut off or malformed.
    """
    if len(datagram) < _SHORTEST:
        raise ValueError(f"{len(datagram)} bytes are no SOCKS5 datagram")
    if datagram[:2] != _RESERVED:
        raise ValueError("the reserved bytes are not 00 00")
    if datagram[2]:
        raise FragmentError(f"it is fragment 0x{datagram[2]:02x}")
    host, end = unpack_address(datagram, 3)
    if len(datagram) < end + 2:
        raise ValueError("the header is cut off")
    target = connect_target(host, int.from_bytes(datagram[end : end + 2], "big"))
    return memoryview(datagram)[end + 2 :], target


def datagram_header(end_point: SocketAddress) -> bytes:
    """Return the header of a datagram: for the client with the source, a literal; for a relay with the target.

    :raises ValueError: *end_point* is a name that the protocol has no room for.
    """
    packed = packed_name(end_point) if end_point.address is None else packed_address(end_point)
    return b"\x00\x00\x00" + packed


class HeaderCodec:
    """Takes headers off and makes them, and remembers those it has seen: the datagrams of a client are much alike."""

    __slots__ = ("_headers", "_targets")

    def __init__(self) -> None:
        self._targets: dict[bytes, tuple[Any, ...]] = {}
        self._headers: dict[tuple[Any, ...], bytes] = {}

    def split(self, datagram: bytes) -> tuple[bytes, tuple[Any, ...]]:
        """Return payload and end point, as :mod:`socket` writes it. :raises ValueError: as :func:`parse_datagram`."""
        if len(datagram) > _SHORTEST:
            kind = datagram[3]
            length = 7 + datagram[4] if kind == NAME else _HEADER_LENGTHS.get(kind, 0)
            target = self._targets.get(datagram[:length])
            if target is not None:
                return datagram[length:], target
        payload, parsed = parse_datagram(datagram)
        if len(self._targets) >= _MOST_REMEMBERED:
            self._targets.clear()
        target = self._targets[datagram[: len(datagram) - len(payload)]] = (parsed.host, parsed.port)
        return bytes(payload), target

    def header(self, sockaddr: tuple[Any, ...]) -> bytes:
        """Return the header that names *sockaddr*. :raises ValueError: as :func:`datagram_header`."""
        header = self._headers.get(sockaddr)
        if header is None:
            if len(self._headers) >= _MOST_REMEMBERED:
                self._headers.clear()
            header = self._headers[sockaddr] = datagram_header(SocketAddress.from_sockaddr(sockaddr))
        return header
