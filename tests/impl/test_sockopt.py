"""Winsock's options and the kernel's."""

from __future__ import annotations

import socket
import struct

import pytest

from fwx.impl.sockopt import from_kernel, to_kernel, value_from_kernel

SOL, TCP = 0xFFFF, 6
LINGER = (socket.SOL_SOCKET, socket.SO_LINGER)

INTEGERS = [
    (SOL, 0x0004, socket.SOL_SOCKET, socket.SO_REUSEADDR),
    (SOL, 0x0008, socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (SOL, 0x1001, socket.SOL_SOCKET, socket.SO_SNDBUF),
    (SOL, 0x1002, socket.SOL_SOCKET, socket.SO_RCVBUF),
    (SOL, 0x1007, socket.SOL_SOCKET, socket.SO_ERROR),
    (SOL, 0x1008, socket.SOL_SOCKET, socket.SO_TYPE),
    (TCP, 0x0001, socket.IPPROTO_TCP, socket.TCP_NODELAY),
]


@pytest.mark.parametrize(("level", "name", "kernel_level", "kernel_name"), INTEGERS)
def test_integers(level: int, name: int, kernel_level: int, kernel_name: int) -> None:
    """Four bytes, least significant first on Winsock's side, of the machine's order on the kernel's."""
    assert to_kernel(level, name, b"\x39\x30\0\0") == (kernel_level, kernel_name, struct.pack("i", 12345))
    assert to_kernel(level, name, b"\xff\xff\xff\xff")[2] == struct.pack("i", -1)
    assert from_kernel(level, name) == (kernel_level, kernel_name, 4)
    assert value_from_kernel(level, name, struct.pack("i", 12345)) == b"\x39\x30\0\0"


@pytest.mark.parametrize(
    ("name", "winsock", "on", "seconds"),
    [
        (0x0080, b"\1\0\0\0", 1, 0),
        (0x0080, b"\0\0\0\0", 0, 0),
        (0xFF7F, b"\1\0\0\0", 0, 0),
        (0xFF7F, b"\0\0\0\0", 1, 0),
    ],
    ids=["linger 0 s, which resets", "no linger", "don't linger", "linger 0 s"],
)
def test_linger(name: int, winsock: bytes, on: int, seconds: int) -> None:
    """B3.27: Winsock's two 16-bit members, and the option that is its opposite."""
    kernel = struct.pack("ii", on, seconds)
    assert to_kernel(SOL, name, winsock) == (*LINGER, kernel)
    assert from_kernel(SOL, name) == (*LINGER, 8)
    assert value_from_kernel(SOL, name, kernel) == winsock


def test_a_time_to_linger_never_reaches_the_kernel() -> None:
    """close() of a socket that lingers would block the loop; what is queued goes out in the background anyway."""
    assert to_kernel(SOL, 0x0080, b"\1\0\5\0") == (*LINGER, struct.pack("ii", 0, 0))


@pytest.mark.parametrize(("level", "name"), [(SOL, 0x4711), (TCP, 0x0080), (0, 0x0008), (1, socket.SO_KEEPALIVE)])
def test_unknown(level: int, name: int) -> None:
    with pytest.raises(KeyError):
        to_kernel(level, name, b"\0\0\0\0")
    with pytest.raises(KeyError):
        from_kernel(level, name)


@pytest.mark.parametrize("name", [0x0008, 0x0080, 0xFF7F])
@pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\0", b"\1\0\0\0\0"])
def test_wrong_size(name: int, value: bytes) -> None:
    with pytest.raises(ValueError, match=f"has {len(value)} bytes, not 4"):
        to_kernel(SOL, name, value)


def test_a_real_socket() -> None:
    with socket.socket() as sock:
        for name, value in ((0x0008, b"\1\0\0\0"), (0x0080, b"\1\0\0\0"), (0xFF7F, b"\1\0\0\0")):
            sock.setsockopt(*to_kernel(SOL, name, value))
            assert value_from_kernel(SOL, name, sock.getsockopt(*from_kernel(SOL, name))) == value
        assert value_from_kernel(SOL, 0x1008, sock.getsockopt(*from_kernel(SOL, 0x1008))) == b"\1\0\0\0"
