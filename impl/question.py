"""What a filter asks the name service, read from its arguments."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import Any, Final

from fwx.impl.argument import INT_MOST, octets, whole
from fwx.interfaces.address import parse_ip
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    WSAEAFNOSUPPORT,
    WSAHOST_NOT_FOUND,
    COMError,
    winsock_error,
)

Address = IPv4Address | IPv6Address

LONGEST_NAME: Final = 255
"""Bytes of a name in UTF-8."""

# Winsock's AF_INET and AF_INET6, and Linux's number for the latter: what each family's addresses measure.
_SIZES: Final = MappingProxyType({2: 4, 23: 16, 10: 16})


def name_question(name: Any) -> str:
    """Return *name* if a host can have it.

    :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it is no text; ``WSAHOST_NOT_FOUND`` it is empty,
        too long, holds a NUL or cannot be written in DNS: a name that nobody can have.
    """
    if name is None:
        raise COMError(E_POINTER, "a name is needed")
    if not isinstance(name, str):
        raise COMError(E_INVALIDARG, f"name is {type(name).__name__}, not text")
    if not _is_possible(name):
        raise winsock_error(WSAHOST_NOT_FOUND, f"{name[:40]!r} is no name of a host")
    return name


def address_question(addr: Any, length: Any, family: Any) -> Address:
    """Return the address that the bytes *addr*, of which *length* count, are in *family*.

    :raises COMError: ``E_POINTER`` there are none; ``E_INVALIDARG`` no bytes, or the wrong number of them;
        ``WSAEAFNOSUPPORT`` another family than IPv4 or IPv6.
    """
    data = octets(addr, "addr")
    if length is not None:
        data = data[: whole(length, "len", most=len(data))]
    size = _SIZES.get(whole(family, "type", -INT_MOST - 1, INT_MOST))
    if size is None:
        raise winsock_error(WSAEAFNOSUPPORT, f"family {family}; AF_INET is 2, AF_INET6 is 23")
    if len(data) != size:
        raise COMError(E_INVALIDARG, f"an address of family {family} has {size} bytes, not {len(data)}")
    return ip_address(data)


def address_object(address: Any) -> Address:
    """Return *address* if it is an object of :mod:`ipaddress`.

    :raises COMError: ``E_POINTER`` it is ``None``; ``E_INVALIDARG`` it is something else.
    """
    if address is None:
        raise COMError(E_POINTER, "an address is needed")
    if not isinstance(address, IPv4Address | IPv6Address):
        raise COMError(E_INVALIDARG, f"address is {type(address).__name__}, not an IPv4Address or IPv6Address")
    return address


def literal(name: str) -> Address | None:
    """Return the address that *name* spells, ``None`` where it is a name."""
    try:
        return parse_ip(name)
    except ValueError:
        return None


def _is_possible(name: str) -> bool:
    if not name or len(name) > LONGEST_NAME or "\0" in name:
        return False
    try:
        # The resolver's own encoding: what it refuses, nobody has.
        return len(name.encode()) <= LONGEST_NAME and bool(name.encode("idna"))
    except UnicodeError:
        return False
