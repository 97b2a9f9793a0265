"""Addresses as the kernel writes them beside a datagram and for a redirected connection."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from fwx.interfaces import SocketAddress
from fwx.transparent.kernel import destination_of, make_transparent, redirected_from

SOCKADDR4 = bytes.fromhex("0200 0050 c0000201 0000000000000000")
SOCKADDR6 = bytes.fromhex("0a00 01bb 00000000 20010db8000000000000000000000001 00000000")


def test_where_a_datagram_was_going() -> None:
    assert destination_of([(socket.IPPROTO_IP, 20, SOCKADDR4)]) == SocketAddress("192.0.2.1", 80)
    assert destination_of([(1, 2, b""), (socket.IPPROTO_IPV6, 74, SOCKADDR6)]) == SocketAddress("2001:db8::1", 443)
    assert destination_of([]) is None
    assert destination_of([(socket.IPPROTO_IP, 8, SOCKADDR4)]) is None


class Redirected:
    def getsockopt(self, level: int, option: int, length: int, /) -> bytes:
        assert option == 80
        return {(socket.IPPROTO_IP, 16): SOCKADDR4, (socket.IPPROTO_IPV6, 28): SOCKADDR6}[level, length]


def test_where_a_connection_was_going() -> None:
    assert redirected_from(Redirected(), socket.AF_INET) == SocketAddress("192.0.2.1", 80)
    assert redirected_from(Redirected(), socket.AF_INET6) == SocketAddress("2001:db8::1", 443)


def test_what_is_missing_is_said() -> None:
    class Refusing:
        def setsockopt(self, *_: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(PermissionError, match="a transparent socket needs the capability CAP_NET_ADMIN"):
        make_transparent(Refusing(), socket.AF_INET)
