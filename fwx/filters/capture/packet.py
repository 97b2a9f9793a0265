"""Packets of IP and TCP around bytes that have none (RFC 791, RFC 8200, RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

MOST_IN_PACKET = 0xF000
"""Bytes of a packet's payload; with the headers it fits what IPv4 can measure."""
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_TCP = 6
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_SEGMENT = struct.Struct("!HHIIBBHHH")
_WINDOW_SCALE = b"\x03\x03\x0e\x01"  # so large that no reader takes the window for full
_WINDOW = 0xFFFF


@dataclass(frozen=True, slots=True)
class Segment:
    """What one packet says. *number* and *acknowledged* are TCP's, modulo 2**32."""

    from_client: bool
    flags: int
    number: int
    acknowledged: int
    data: bytes = b""


class Ends:
    """The two ends of a connection, each an address and a port: makes packets between them."""

    __slots__ = ("_addresses", "_is_ipv4", "_ports")

    def __init__(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        """An IPv4 address beside an IPv6 one is written in its mapped form.

        :raises ValueError: one is no address.
        """
        addresses = [ip_address(host) for host, _ in (client, server)]
        self._is_ipv4 = all(isinstance(address, IPv4Address) for address in addresses)
        if not self._is_ipv4:
            addresses = [_mapped(address) for address in addresses]
        self._addresses = tuple(address.packed for address in addresses)
        self._ports = client[1], server[1]

    def packet(self, segment: Segment) -> bytes:
        """Return the packet of *segment*, from its IP header on, with right checksums."""
        source, target = self._addresses if segment.from_client else self._addresses[::-1]
        ports = self._ports if segment.from_client else self._ports[::-1]
        options = _WINDOW_SCALE if segment.flags & SYN else b""
        size = _SEGMENT.size + len(options) + len(segment.data)
        words = (_SEGMENT.size + len(options)) << 2
        head = [*ports, segment.number, segment.acknowledged, words, segment.flags, _WINDOW, 0, 0]
        pseudo = source + target + struct.pack("!II", size, _TCP)
        head[7] = checksum(pseudo + _SEGMENT.pack(*head) + options + segment.data)
        return self._ip_header(source, target, size) + _SEGMENT.pack(*head) + options + segment.data

    def _ip_header(self, source: bytes, target: bytes, size: int) -> bytes:
        if not self._is_ipv4:
            return _IPV6.pack(6 << 28, size, _TCP, 64, source, target)
        fields = [0x45, 0, _IPV4.size + size, 0, 0x4000, 64, _TCP, 0, source, target]
        fields[7] = checksum(_IPV4.pack(*fields))
        return _IPV4.pack(*fields)


def checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071. The sum of words is the number that they are, modulo 65535."""
    total = int.from_bytes(data + b"\x00" if len(data) & 1 else data, "big") % 0xFFFF
    return (0xFFFF - total) % 0xFFFF


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(b"\x00" * 10 + b"\xff\xff" + address.packed)
