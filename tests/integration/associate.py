"""A client of SOCKS5's UDP ASSOCIATE, as RFC 1928 has it: no tool of Debian speaks it. Dante is the control."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

Address = tuple[str, int]


def packed(end_point: Address) -> bytes:
    """Address type, address and port as SOCKS5 writes them."""
    host, port = end_point
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        with contextlib.suppress(OSError):
            return kind + socket.inet_pton(family, host) + port.to_bytes(2, "big")
    return b"\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


def unpacked(data: bytes) -> tuple[Address, bytes]:
    """What :func:`packed` has made, and what follows it."""
    family, length = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[data[0]]
    host, rest = socket.inet_ntop(family, data[1 : 1 + length]), data[1 + length :]
    return (host, int.from_bytes(rest[:2], "big")), rest[2:]


class Refused(Exception):
    """The proxy does not associate. ``args[0]`` is its reply code, or ``None`` when it has closed."""


class Associated:
    """One association: the control connection and the socket that datagrams go by."""

    def __init__(
        self, proxy: Address, account: tuple[str, str] | None = None, *, claims: str = "nothing", prelude: bytes = b""
    ) -> None:
        """*claims* is what the request says of where datagrams come from: ``nothing``, ``itself``, or an address.

        *prelude* comes before SOCKS: a PROXY header.
        """
        family = socket.AF_INET6 if ":" in proxy[0] else socket.AF_INET
        self.control = socket.create_connection(proxy, 10)
        self.datagrams = socket.socket(family, socket.SOCK_DGRAM)
        self.datagrams.settimeout(60)
        self.datagrams.bind((self.control.getsockname()[0], 0))
        try:
            self._greet(account, prelude)
            self.relay = self._ask(family, claims)
        except BaseException:
            self.close()
            raise

    def _greet(self, account: tuple[str, str] | None, prelude: bytes) -> None:
        method = b"\x00" if account is None else b"\x02"
        self.control.sendall(prelude + b"\x05\x01" + method)
        assert self._exactly(2) == b"\x05" + method
        if account is not None:
            user, password = (part.encode() for part in account)
            self.control.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
            assert self._exactly(2) == b"\x01\x00"

    def _ask(self, family: int, claims: str) -> Address:
        own = self.datagrams.getsockname()[:2]
        nothing = ("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
        claimed = {"nothing": nothing, "itself": own}.get(claims, (claims, own[1]))
        self.control.sendall(b"\x05\x03\x00" + packed(claimed))
        head = self._exactly(4)
        bound, _ = unpacked(head[3:] + self._exactly({1: 6, 4: 18}[head[3]]))
        if head[1]:
            raise Refused(head[1])
        return bound

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.control.recv(count - len(data))
            if not part:
                raise Refused(None)
            data += part
        return data

    @property
    def name(self) -> Address:
        """Where it sends from."""
        host, port = self.datagrams.getsockname()[:2]
        return host, port

    def say(self, data: bytes, target: Address, fragment: int = 0) -> None:
        self.datagrams.sendto(bytes((0, 0, fragment)) + packed(target) + data, self.relay)

    def hear(self, seconds: float = 10) -> tuple[bytes, Address]:
        """The next datagram for the client, and where it came from."""
        self.datagrams.settimeout(seconds)
        datagram, sender = self.datagrams.recvfrom(0x10000)
        assert sender[:2] == self.relay
        assert datagram[:3] == b"\0\0\0"
        source, data = unpacked(datagram[3:])
        return data, source

    def ask(self, data: bytes, target: Address) -> tuple[bytes, Address]:
        self.say(data, target)
        return self.hear()

    def has_ended(self, seconds: float = 10) -> bool:
        """Wait for the end of the control connection."""
        self.control.settimeout(seconds)
        try:
            return self.control.recv(1) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Reset the control connection."""
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.control.close()

    def close(self) -> None:
        self.control.close()
        self.datagrams.close()


@contextlib.contextmanager
def associations() -> Iterator[Callable[..., Associated]]:
    """Make associations that are closed in the end."""
    made: list[Associated] = []

    def associate(*arguments: Any, **options: Any) -> Associated:
        made.append(Associated(*arguments, **options))
        return made[-1]

    yield associate
    for each in made:
        each.close()


class Upper:
    """A UDP server that answers each datagram in capitals, when asked to by :meth:`answer`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(60)
        self.socket.bind((host, 0))
        address = self.socket.getsockname()
        self.address: Address = (address[0], address[1])

    def answer(self) -> tuple[bytes, Address]:
        """Answer one datagram; return it, and who has sent it."""
        data, sender = self.socket.recvfrom(0x10000)
        self.socket.sendto(data.upper(), sender)
        return data, sender[:2]

    def heard_nothing(self) -> bool:
        """Nothing waits to be answered; what was sent before on loopback has come."""
        self.socket.setblocking(False)
        try:
            self.socket.recvfrom(1)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(60)
        return False


@contextlib.contextmanager
def uppers() -> Iterator[Callable[..., Upper]]:
    """Make UDP servers that are closed in the end."""
    made: list[Upper] = []

    def upper(host: str = "127.0.0.1") -> Upper:
        made.append(Upper(host))
        return made[-1]

    yield upper
    for each in made:
        each.socket.close()
