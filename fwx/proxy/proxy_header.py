"""The PROXY protocol, versions 1 and 2: whom a load balancer speaks for (haproxy's ``proxy-protocol.txt``)."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fwx.interfaces.address import SocketAddress

LONGEST_V1: Final = 107
"""Bytes of the longest line of version 1, its end included (section 2.1)."""
LONGEST_V2: Final = 16 + 4096
"""Bytes of a version 2 header that is still read; the protocol allows 64 KiB of further fields, nobody sends them."""

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_START: Final = b"PROXY "
_V1_ADDRESSES: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILIES: Final = {0x11: socket.AF_INET, 0x21: socket.AF_INET6}
_ADDRESS_BYTES: Final = {socket.AF_INET: 12, socket.AF_INET6: 36}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What one header says.

    :ivar version: 1 or 2. :ivar source: the client, ``None`` where the sender speaks for itself (a health check).
    :ivar destination: the address that the client had connected to. :ivar fields: the further fields (TLV) of version 2
        in their order: type and value.
    """

    version: int
    source: SocketAddress | None = None
    destination: SocketAddress | None = None
    fields: tuple[tuple[int, bytes], ...] = ()


class ProxyHeaderError(ValueError):
    """It is no PROXY header, or one that cannot be accepted; the text says why and quotes nothing of it."""


class ProxyHeaderCodec:
    """Reads one header from the beginning of a stream."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def receive(self, data: bytes) -> tuple[ProxyHeader, bytes] | None:
        """Take *data*; return the header and what came behind it, ``None`` while it is incomplete.

        What is held back never exceeds the longest header.

        :raises ProxyHeaderError: the stream does not begin with a header that can be accepted.
        """
        buffer = self._pending = self._pending + data
        if _SIGNATURE.startswith(buffer[: len(_SIGNATURE)]):
            return self._version_2(buffer)
        if _V1_START.startswith(buffer[: len(_V1_START)]):
            return self._version_1(buffer)
        raise ProxyHeaderError("it does not begin with a PROXY header")

    def _version_1(self, buffer: bytes) -> tuple[ProxyHeader, bytes] | None:
        line, end, rest = buffer[:LONGEST_V1].partition(b"\r\n")
        if not end:
            if len(buffer) >= LONGEST_V1:
                raise ProxyHeaderError(f"its PROXY line is longer than {LONGEST_V1} bytes")
            return None
        return parse_line(line), rest + buffer[LONGEST_V1:]

    def _version_2(self, buffer: bytes) -> tuple[ProxyHeader, bytes] | None:
        if len(buffer) < 16:
            return None
        length = 16 + int.from_bytes(buffer[14:16], "big")
        if length > LONGEST_V2:
            raise ProxyHeaderError(f"its PROXY header has {length} bytes, more than {LONGEST_V2}")
        if len(buffer) < length:
            return None
        return _parse_block(buffer[12], buffer[13], buffer[16:length]), buffer[length:]


def parse_line(line: bytes) -> ProxyHeader:
    """Read a line of version 1, without its end.

    :raises ProxyHeaderError: it is malformed.
    """
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(1)
    match = _V1_ADDRESSES.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("its PROXY line is malformed")
    kind, source, destination = match[1], match[2].decode(), match[3].decode()
    family = ipaddress.IPv4Address if kind == b"TCP4" else ipaddress.IPv6Address
    ports = int(match[4]), int(match[5])
    try:
        hosts = family(source), family(destination)
        return ProxyHeader(1, SocketAddress(hosts[0], ports[0]), SocketAddress(hosts[1], ports[1]))
    except ValueError:
        raise ProxyHeaderError("its PROXY line has a bad address or port") from None


def _parse_block(command: int, family: int, block: bytes) -> ProxyHeader:
    if command == _LOCAL:
        return ProxyHeader(2)
    if command != _PROXY:
        raise ProxyHeaderError(f"its PROXY header has version and command 0x{command:02x}, not 20 or 21")
    kind = _FAMILIES.get(family)
    if kind is None:
        raise ProxyHeaderError(f"its PROXY header has family 0x{family:02x}, not TCP over IPv4 (11) or IPv6 (21)")
    size = _ADDRESS_BYTES[kind]
    if len(block) < size:
        raise ProxyHeaderError("its PROXY header is too short for its addresses")
    half = (size - 4) // 2
    ports = struct.unpack("!HH", block[size - 4 : size])
    hosts = (ipaddress.ip_address(block[:half]), ipaddress.ip_address(block[half : 2 * half]))
    addresses = [SocketAddress(host, port) for host, port in zip(hosts, ports, strict=True)]
    return ProxyHeader(2, addresses[0], addresses[1], tuple(_fields(block[size:])))


def _fields(block: bytes) -> Iterator[tuple[int, bytes]]:
    while block:
        if len(block) < 3 or len(block) < 3 + int.from_bytes(block[1:3], "big"):
            raise ProxyHeaderError("a field of its PROXY header is cut off")
        end = 3 + int.from_bytes(block[1:3], "big")
        yield block[0], block[3:end]
        block = block[end:]


def proxy_header(version: int, source: SocketAddress, destination: SocketAddress) -> bytes:
    """Write a header of *version* 1 or 2 for a client at the literal *source* that had connected to *destination*.

    Two families in one header cannot be written: IPv4 then goes as an IPv4-mapped IPv6 address.

    :raises ValueError: an address is a name.
    """
    literals = [each for each in (source.address, destination.address) if each is not None]
    if len(literals) != 2:
        raise ValueError("a PROXY header names literal addresses")
    is_v4 = all(each.version == 4 for each in literals)
    if not is_v4:
        literals = [ipaddress.IPv6Address(f"::ffff:{each}") if each.version == 4 else each for each in literals]
    ports = source.port, destination.port
    if version == 1:
        kind = "TCP4" if is_v4 else "TCP6"
        return f"PROXY {kind} {literals[0]} {literals[1]} {ports[0]} {ports[1]}\r\n".encode()
    block = literals[0].packed + literals[1].packed + struct.pack("!HH", *ports)
    return _SIGNATURE + bytes((_PROXY, 0x11 if is_v4 else 0x21)) + len(block).to_bytes(2, "big") + block
