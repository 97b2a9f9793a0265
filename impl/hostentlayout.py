"""What a :class:`~fwx.interfaces.Hostent` becomes in C: one family of addresses, and so many bytes."""

from __future__ import annotations

from dataclasses import replace

from fwx.interfaces import Hostent


def of_one_family(hostent: Hostent) -> Hostent:
    """Return *hostent* as a ``hostent`` can hold it, whose addresses have one length.

    IPv4 comes first: what ported code reads without a look at ``h_addrtype``, and all that Winsock's call gives.
    """
    first = [address for address in hostent.addresses if address.version == 4]
    return replace(hostent, addresses=tuple(first)) if first else hostent


def hostent_size(hostent: Hostent) -> int:
    """Return the bytes of a 64-bit ``hostent`` and of all it points to: 32, two lists of pointers, what they name."""
    names = (hostent.name, *hostent.aliases)
    pointers = 8 * (len(hostent.aliases) + 1 + len(hostent.addresses) + 1)
    texts = sum(len(name.encode()) + 1 for name in names)
    return 32 + pointers + texts + sum(len(address.packed) for address in hostent.addresses)
