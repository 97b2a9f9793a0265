"""A client of SOCKS BIND, on plain blocking sockets: asks, reads the two replies, sends and receives."""

from __future__ import annotations

import contextlib
import socket
import struct

Address = tuple[str, int]

ANYBODY: Address = ("0.0.0.0", 0)


class Refused(Exception):
    """The proxy's reply is a failure; *number* says which reply, *code* what it says."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__(f"reply {number}: {code:#x}")
        self.number = number
        self.code = code


class BindClient:
    """One request to bind. It raises :class:`Refused` where the proxy refuses."""

    def __init__(
        self, proxy: Address | socket.socket, protocol: str = "socks5", account: tuple[str, str] | None = None
    ) -> None:
        """:param proxy: where it is, or a connection to it. :param protocol: ``socks4``, ``socks4a`` or ``socks5``."""
        self.sock = proxy if isinstance(proxy, socket.socket) else socket.create_connection(proxy, timeout=60)
        self._protocol = protocol
        self._account = account
        self._replies = 0

    def __enter__(self) -> BindClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def bind(self, peer: Address = ANYBODY, early: bytes = b"") -> Address:
        """Ask to be connected to by *peer*; return where. *early* is sent behind the request at once."""
        if self._protocol == "socks5":
            self._greet()
            self.sock.sendall(b"\x05\x02\x00" + _packed(peer) + early)
        else:
            self.sock.sendall(_socks4(peer, self._protocol == "socks4a") + early)
        return self.reply()

    def reply(self) -> Address:
        """Read one reply; the second one says who has come."""
        self._replies += 1
        if self._protocol == "socks5":
            version, code, reserved, kind = self._exactly(4)
            assert (version, reserved) == (5, 0)
            host = self._exactly({1: 4, 4: 16}[kind])
            port = int.from_bytes(self._exactly(2), "big")
            failed = code != 0
        else:
            null, code, port = struct.unpack("!BBH", self._exactly(4))
            host = self._exactly(4)
            assert null == 0
            failed = code != 0x5A
        if failed:
            raise Refused(self._replies, code)
        return socket.inet_ntop(socket.AF_INET if len(host) == 4 else socket.AF_INET6, host), port

    def receive(self, count: int) -> bytes:
        return self._exactly(count)

    def at_end(self) -> bool:
        """Wait for the end."""
        return self.sock.recv(1) == b""

    def _greet(self) -> None:
        if self._account is None:
            self.sock.sendall(b"\x05\x01\x00")
            assert self._exactly(2) == b"\x05\x00"
            return
        user, password = (each.encode() for each in self._account)
        self.sock.sendall(b"\x05\x01\x02")
        assert self._exactly(2) == b"\x05\x02"
        self.sock.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        assert self._exactly(2) == b"\x01\x00"

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionError(f"the proxy closed after {data!r}, {count} bytes were expected")
            data += part
        return data


def _packed(address: Address) -> bytes:
    host, port = address
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        with contextlib.suppress(OSError):
            return kind + socket.inet_pton(family, host) + port.to_bytes(2, "big")
    return b"\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


def _socks4(address: Address, by_name: bool) -> bytes:
    host, port = address
    literal = b"\0\0\0\x01" if by_name else socket.inet_aton(host)
    return b"\x04\x02" + port.to_bytes(2, "big") + literal + b"me\0" + (host.encode() + b"\0") * by_name


def come(to: Address, source: str | None = None) -> socket.socket:
    """Connect to *to* as somebody outside, from the address *source*."""
    return socket.create_connection(to, timeout=60, source_address=None if source is None else (source, 0))
