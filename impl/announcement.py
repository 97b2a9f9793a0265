"""What the methods for secondary connections have in common: their arguments, and the rule that counts."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from fwx.impl.argument import whole
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.networks import normalise
from fwx.impl.permissions import TRANSPORTS, is_same_host
from fwx.impl.portrun import MOST_PORTS
from fwx.impl.sockets import check_address
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.constants import (
    FWX_FLAG_ADDRESS_BASED,
    FWX_FLAG_ALLOW_ADDRESSES_ALL,
    FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK,
    FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_IGNORE_RESTRICTED_PORTS,
    FWX_FLAG_NO_KERNEL_MODE,
    FWX_FLAG_PROXY_MODE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_TERMINATING,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.session import FWXSession

_ALLOWED = FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK | FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK
_OUTWARD = FWX_FLAG_ALLOW_MULTIPLE | FWX_FLAG_TIMEOUT | FWX_FLAG_NO_KERNEL_MODE | FWX_FLAG_IGNORE_RESTRICTED_PORTS
CONNECT_FLAGS = _OUTWARD | FWX_FLAG_ADDRESS_BASED | FWX_FLAG_ALLOW_ADDRESSES_ALL | _ALLOWED
REDIRECT_FLAGS = _OUTWARD
BIND_FLAGS = CONNECT_FLAGS | FWX_FLAG_PROXY_MODE
# What stands for "the same class C network" where addresses are longer.
_NEIGHBOURS = {4: 24, 6: 64}


class Terms(NamedTuple):
    """What every method takes: ``Protocol``, ``dwFlags``, ``ProtocolGuid``, ``pSessionFilter``, ``punkContext``."""

    protocol: int
    flags: int
    guid: UUID
    session_filter: Any
    context: Any


def check_terms(engine: Engine, known_flags: int, given: Terms) -> Terms:
    """Return what was *given*, but for the session filter checked.

    :raises COMError: ``E_POINTER``, ``E_INVALIDARG``.
    """
    return given._replace(
        protocol=check_protocol(given.protocol),
        flags=check_flags(given.flags, known_flags),
        guid=check_guid(engine, given.guid),
    )


def check_target(address: Any, length: Any) -> SocketAddress:
    """Return *address* if a client can connect to it. :raises COMError: ``E_POINTER``, ``E_INVALIDARG``."""
    check_address(address, length)
    if not address.port or (address.address is not None and address.address.is_unspecified):
        raise COMError(E_INVALIDARG, f"nobody can connect to {address}")
    target: SocketAddress = address
    return target


def check_many(addresses: Any, length: Any, count: Any) -> list[SocketAddress]:
    """Return the first *count* of *addresses*, all of them with ``None``; each is no shorter than *length*.

    :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` none, or more than :data:`~fwx.impl.portrun.MOST_PORTS`.
    """
    if addresses is None:
        raise COMError(E_POINTER, "addresses are needed")
    if isinstance(addresses, (str, bytes, SocketAddress)) or not isinstance(addresses, Sequence):
        raise COMError(E_INVALIDARG, f"{addresses!r} is no sequence of addresses")
    most = min(len(addresses), MOST_PORTS)
    wanted = list(addresses[: len(addresses) if count is None else whole(count, "dwNumberOfAddresses", 1, most)])
    if not 1 <= len(wanted) <= MOST_PORTS:
        raise COMError(E_INVALIDARG, f"{len(wanted)} addresses, expected 1 to {MOST_PORTS}")
    for address in wanted:
        check_address(address, length)
    return wanted


def check_local(address: Any, length: Any) -> SocketAddress | None:
    """Return the own *address* that was asked for; ``None`` for any. :raises COMError: ``E_INVALIDARG``."""
    if address is None:
        return None
    check_address(address, length)
    if address.address is None:
        raise COMError(E_INVALIDARG, f"{address} is a name, not an address of the firewall")
    local: SocketAddress = address
    return None if local.address is not None and local.address.is_unspecified and not local.port else local


def check_protocol(protocol: Any) -> int:
    """:raises COMError: ``E_INVALIDARG`` neither TCP nor UDP."""
    if protocol not in TRANSPORTS:
        raise COMError(E_INVALIDARG, f"Protocol is {protocol!r}; expected FWX_PROTOCOL_TCP or FWX_PROTOCOL_UDP")
    found: int = int(protocol)
    return found


def check_flags(flags: Any, known: int) -> int:
    """:raises COMError: ``E_INVALIDARG`` flags that the method does not have."""
    given = whole(flags, "dwFlags")
    if given & ~known:
        raise COMError(E_INVALIDARG, f"dwFlags has {given & ~known:#x}, which the method does not know")
    return given


def check_guid(engine: Engine, guid: Any) -> UUID:
    """Return *guid*, that of a protocol or ``GUID_NULL``. :raises COMError: ``E_POINTER``, ``E_INVALIDARG``."""
    if guid is None:
        raise COMError(E_POINTER, "a protocol's GUID is needed; GUID_NULL stands for that of the primary connection")
    if not isinstance(guid, UUID) or (guid != GUID_NULL and engine.policy.protocol_name(guid) is None):
        raise COMError(E_INVALIDARG, f"no protocol definition has the GUID {guid}")
    return guid


def primary_of(session: FWXSession, connection: Any) -> ConnectionBase | None:
    """Return the primary connection, whose rule counts: *connection*, else the one of *session* whose event filters are
    being shown now, else the newest.

    :raises COMError: ``E_INVALIDARG`` it is none of this session; ``FWX_E_TERMINATING`` it has ended.
    """
    if connection is None:
        known = (each for each in session.connections if not each.is_secondary)
        there = (each for each in known if each.ruling.rule and not each.terminating)
        return max(there, key=lambda each: (each.is_shown, each.id), default=None)
    if not isinstance(connection, ConnectionBase) or connection.session is not session:
        raise COMError(E_INVALIDARG, f"{connection!r} is no connection of this session")
    if connection.terminating:
        raise COMError(FWX_E_TERMINATING, "the primary connection has ended")
    return connection


def check_reach(engine: Engine, flags: int, peer: SocketAddress | None, target: SocketAddress) -> None:
    """Make sure that *target* is where the allowed-address flags let it be, seen from *peer* (B6.35).

    Without one of the flags it may be anywhere: this version has no administrator's default.

    :raises COMError: ``FWX_E_ADDRESS_NOT_ALLOWED``.
    """
    if flags & FWX_FLAG_ALLOW_ADDRESSES_ALL or not flags & _ALLOWED:
        return
    if peer is not None and is_same_host(peer, target):
        return
    if peer is not None and peer.address is not None and target.address is not None:
        if flags & FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK:
            networks = engine.policy.networks_of
            if networks(peer.host)[0] == networks(target.host)[0]:
                return
        elif _are_neighbours(normalise(peer.host), normalise(target.host)):
            return
    raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"{target} is not in the network of {peer}, which dwFlags asks for")


def check_client(
    address: Any, length: Any, session: FWXSession, flags: int, protocol: int = FWX_PROTOCOL_TCP
) -> SocketAddress:
    """Return *address* if the client of *session* may wait there: at its own address, or as the flags say (B6.35).

    Never where the service itself listens; at one of the firewall's own addresses only where the client is there.

    :raises COMError: ``E_POINTER``, ``E_INVALIDARG``, ``FWX_E_ADDRESS_NOT_ALLOWED``.
    """
    target = check_target(address, length)
    if target.address is None:
        raise COMError(E_INVALIDARG, f"{target} is a name, not the client's address")
    if not flags & (_ALLOWED | FWX_FLAG_ALLOW_ADDRESSES_ALL) and not is_same_host(session.address, target):
        raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"{target} is not the client's address, {session.address.host}")
    check_reach(session.engine, flags, session.address, target)
    if not session.engine.permissions.may_reach(target, session.address, TRANSPORTS[protocol]):
        raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"{target} is an address of the firewall itself")
    return target


def _are_neighbours(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> bool:
    return one.version == other.version and other in ip_network((one, _NEIGHBOURS[one.version]), strict=False)
