"""SOCKS5 (RFC 1928) on the client's side: CONNECT, BIND and UDP ASSOCIATE, with a user name and a password (RFC 1929)
where there are some."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NoReturn

from fwx.interfaces.address import SocketAddress
from fwx.proxy.socks5_codes import (
    CONNECT,
    IPV4,
    IPV6,
    NAME,
    NO_ACCEPTABLE_METHOD,
    NO_AUTHENTICATION,
    UDP_ASSOCIATE,
    USER_PASSWORD,
)
from fwx.proxy.upstream import Account, UpstreamError, askable

LONGEST_SECRET: Final = 255
"""Most bytes of a user name, and of a password (RFC 1929 section 2)."""

# Reply codes (RFC 1928 section 6) to what the kernel would have said. "General failure" is what servers say of a name
# that they cannot resolve; "TTL expired" is what Dante and this service say of a time-out.
_REPLIES: Final = {
    0x01: (errno.EHOSTUNREACH, "general failure"),
    0x02: (errno.EACCES, "not allowed by its rules"),
    0x03: (errno.ENETUNREACH, "network unreachable"),
    0x04: (errno.EHOSTUNREACH, "host unreachable"),
    0x05: (errno.ECONNREFUSED, "connection refused"),
    0x06: (errno.ETIMEDOUT, "TTL expired"),
    0x08: (errno.EAFNOSUPPORT, "address type not supported"),
}


class Socks5Client:
    """Asks one upstream for one connection, as :class:`fwx.impl.passage.Handshake`, to bind, as
    :class:`fwx.impl.upstreambind.BindHandshake`, or for one association; no I/O.

    :ivar established: the upstream has connected, or associated, or is bound, or somebody has come there.
    :ivar on_target: it has been asked, so that what goes wrong now may be the target's fault.
    :ivar early: what came behind its reply.
    :ivar bound: the address that it connected from, or where it is bound, or who has come there, or where its relay
        is, as it says; ``None`` before, or where it says a name.
    """

    __slots__ = ("_account", "_buffer", "_command", "_step", "_target", "bound", "early", "established", "on_target")

    def __init__(self, target: SocketAddress, account: Account | None = None, command: int = CONNECT) -> None:
        """:param target: an address or a name; for ``BIND`` the address of who is expected to connect; of an
            association zeros.

        :param account: used where the upstream chooses that method.

        :raises ValueError: a user name or a password that the protocol has no room for.
        """
        for secret in (account.user, account.password) if account is not None else ():
            if not 1 <= len(secret.encode()) <= LONGEST_SECRET:
                raise ValueError(f"SOCKS5 takes a user name and a password of 1 to {LONGEST_SECRET} bytes")
        self._target = target
        self._account = account
        self._command = command
        self._buffer = b""
        self._step: Callable[[], bytes | None] = self._take_method
        self.established = False
        self.on_target = False
        self.early = b""
        self.bound: SocketAddress | None = None

    def start(self) -> bytes:
        """Return the greeting.

        :raises socket.gaierror: the target is no name that anybody could resolve.
        """
        if self._command == CONNECT:
            self.on_target = True
            self._target = askable(self._target)
            self.on_target = False
        methods = bytes([NO_AUTHENTICATION] if self._account is None else [NO_AUTHENTICATION, USER_PASSWORD])
        return bytes((5, len(methods))) + methods

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the upstream and return what to send to it now.

        What is held back never exceeds one reply (262 bytes).

        :raises UpstreamError: the upstream refuses, or what it says makes no sense.
        """
        self._buffer += data
        sending = b""
        while not self.established and (answer := self._step()) is not None:
            sending += answer
        return sending

    def expect_peer(self) -> None:
        """Go on after the first reply to BIND: the second one says who has come.

        :raises UpstreamError: it is there already, and says that nobody comes, or makes no sense.
        """
        self._buffer, self.early = self.early, b""
        self.established = False
        self.bound = None
        self._take_reply()

    def _take(self, count: int) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _take_method(self) -> bytes | None:
        if self._buffer[:1] not in (b"", b"\x05"):
            raise self._nonsense(f"its answer starts with 0x{self._buffer[0]:02x}, which is no SOCKS5")
        if len(self._buffer) < 2:
            return None
        method = self._take(2)[1]
        if method == NO_AUTHENTICATION:
            return self._request()
        if method == USER_PASSWORD and self._account is not None:
            self._step = self._take_verdict
            user, password = self._account.user.encode(), self._account.password.encode()
            return bytes((1, len(user))) + user + bytes((len(password),)) + password
        if method == NO_ACCEPTABLE_METHOD:
            wants = "takes no user name and password" if self._account is not None else "wants a user name and password"
            raise UpstreamError(errno.EACCES, f"it {wants} (SOCKS5 method 0xff)")
        raise self._nonsense(f"it chose the SOCKS5 method 0x{method:02x}, which was not offered")

    def _take_verdict(self) -> bytes | None:
        if self._buffer[:1] not in (b"", b"\x01"):
            raise self._nonsense(f"its answer to the user name starts with 0x{self._buffer[0]:02x}, not 01")
        if len(self._buffer) < 2:
            return None
        if self._take(2)[1] != 0:
            assert self._account is not None
            raise UpstreamError(errno.EACCES, f"it refuses the password of user {self._account.user!r}")
        return self._request()

    def _request(self) -> bytes:
        self._step = self._take_reply
        # An association is with the upstream alone.
        self.on_target = self._command != UDP_ASSOCIATE
        literal = self._target.address
        if literal is None:
            name = self._target.host.encode("ascii")
            host = bytes((NAME, len(name))) + name
        else:
            host = bytes((IPV4 if literal.version == 4 else IPV6,)) + literal.packed
        return bytes((5, self._command, 0)) + host + self._target.port.to_bytes(2, "big")

    def _take_reply(self) -> bytes | None:
        buffer = self._buffer
        if buffer[:1] not in (b"", b"\x05"):
            raise self._nonsense(f"its reply starts with 0x{buffer[0]:02x}, not 05")
        if len(buffer) >= 2 and buffer[1] != 0:
            self._refuse(buffer[1])
        if len(buffer) < 5:
            return None
        kind = buffer[3]
        if kind not in (IPV4, NAME, IPV6):
            raise self._nonsense(f"its reply has the address type 0x{kind:02x}")
        length = {IPV4: 4, IPV6: 16}.get(kind, buffer[4] + 1)
        if len(buffer) < 4 + length + 2:
            return None
        reply, self.early, self._buffer = buffer[: 4 + length + 2], buffer[4 + length + 2 :], b""
        if kind != NAME:
            packed = reply[4:-2]
            address = IPv4Address(packed) if kind == IPV4 else IPv6Address(packed)
            self.bound = SocketAddress(address, int.from_bytes(reply[-2:], "big"))
        self.established = True
        return b""

    def _refuse(self, code: int) -> NoReturn:
        if code not in _REPLIES:
            self.on_target = False
            raise UpstreamError(errno.EPROTO, f"SOCKS5 reply 0x{code:02x}" + " (command not supported)" * (code == 7))
        number, words = _REPLIES[code]
        raise UpstreamError(number, f"SOCKS5 reply 0x{code:02x} ({words})")

    def _nonsense(self, words: str) -> UpstreamError:
        """Return the error for what no upstream should say."""
        self.on_target = False
        return UpstreamError(errno.EPROTO, words)
