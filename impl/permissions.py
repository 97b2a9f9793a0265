"""Every permission of the service: looked up when a client asks for a destination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from fwx.impl.deadline import DeadlineQueue
from fwx.impl.domainset import normalise_name
from fwx.impl.networks import LOCALHOST, normalise
from fwx.impl.policy import Verdict
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import S_OK

if TYPE_CHECKING:
    from uuid import UUID

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession

UNUSED_SECONDS = 60.0
"""What a permission with ``FWX_FLAG_TIMEOUT`` has, to be used (B6.7)."""

TRANSPORTS = {FWX_PROTOCOL_TCP: "TCP", FWX_PROTOCOL_UDP: "UDP"}

_Key: TypeAlias = tuple[str, str, int]
_NO_RULE = Verdict(True, "", (), True, S_OK, "", GUID_NULL, "", "", "")


class Granted(NamedTuple):
    """A permission that fits, with the verdict that it stands for and the addresses that may be connected to.

    There are none as long as a name has not been looked up.
    """

    permission: Permission
    verdict: Verdict
    addresses: list[SocketAddress]


class Permissions:
    """Finds the permission for a destination, by the client's address, transport and port."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_key: dict[_Key, list[Permission]] = {}
        self._unused = DeadlineQueue(UNUSED_SECONDS, engine.clock, engine.call_later)

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def add(self, permission: Permission) -> None:
        """Let *permission* be found until :meth:`remove`."""
        self._by_key.setdefault(_key_of(permission), []).append(permission)

    def remove(self, permission: Permission) -> None:
        key = _key_of(permission)
        left = [each for each in self._by_key.get(key, ()) if each is not permission]
        if left:
            self._by_key[key] = left
        else:
            self._by_key.pop(key, None)

    def start_clock(self, permission: Permission) -> None:
        """Have *permission* end if it is not used in time (B6.7)."""
        permission.deadline = self._unused.add(permission.end)

    def expects(self, session: FWXSession, target: SocketAddress, transport: str = "TCP") -> bool:
        """Tell whether there is a permission for the client and the port of *target*, a name: then it is looked up."""
        return next(self._of(session, target.port, transport), None) is not None

    def find(
        self,
        session: FWXSession,
        target: SocketAddress,
        transport: str = "TCP",
        resolved: list[SocketAddress] | None = None,
    ) -> Granted | None:
        """Return what lets the client of *session* reach *target*, or ``None``; what rules say does not matter.

        :param resolved: the literal addresses of *target*, where it is a name and has been looked up. One of them may
            be what was announced.
        """
        if not self._by_key:
            return None
        for permission in self._of(session, target.port, transport):
            granted = self.grant(permission, target, transport, resolved)
            if granted is not None:
                return granted
        return None

    def grant(
        self, permission: Permission, target: SocketAddress, transport: str, resolved: list[SocketAddress] | None
    ) -> Granted | None:
        """Return what *permission* lets the client reach of *target*; ``None`` where it is for something else, or for
        what is never a target."""
        if is_same_host(permission.target, target):
            literal = [target] if target.address is not None else resolved or []
        else:
            literal = [address for address in resolved or () if is_same_host(permission.target, address)]
            if not literal:
                return None
        allowed = [address for address in literal if self.may_reach(address, permission.own, transport)]
        if literal and not allowed:
            return None
        return Granted(permission, self._verdict(permission, allowed), allowed)

    def close(self) -> None:
        """The service stops; the sessions have ended, and the permissions with them."""
        self._unused.close()

    # What a permission stands for.

    def verdict(self, primary: ConnectionBase | None, target: SocketAddress, protocol: UUID, transport: str) -> Verdict:
        """Return the verdict that holds for a secondary connection to *target*: the rule is that of *primary*.

        :param protocol: the protocol that is named, ``GUID_NULL`` for that of the rule.
        """
        verdict = _NO_RULE if primary is None else primary.ruling
        name, guid = verdict.protocol, verdict.protocol_guid
        if protocol != GUID_NULL:
            name, guid = self._engine.policy.protocol_name(protocol) or "", protocol
        rule = f"rule {verdict.rule!r}" if verdict.rule else "a filter"
        return replace(
            verdict,
            allowed=True,
            hresult=S_OK,
            protocol=name,
            protocol_guid=guid,
            destination_network=self._network_of(target),
            reason=f"announced under {rule}: {name or transport} to {target}",
            needs_resolution=False,
            needs_user=False,
        )

    def own_address_of(self, primary: ConnectionBase | None) -> SocketAddress | None:
        """Return the address of the firewall itself that *primary* leads to, which its rule has named; or ``None``."""
        peer = None if primary is None else primary.leads_to
        return peer if peer is not None and self._is_own(peer) else None

    def may_reach(self, address: SocketAddress, own: SocketAddress | None, transport: str) -> bool:
        """Tell whether the literal *address* may be the end of an announced connection.

        The listeners of the service never are; of the firewall's own addresses only that of *own* is.
        """
        if self._engine.is_own_listener(address, transport):
            return False
        return not self._is_own(address) or (own is not None and is_same_host(own, address))

    def _is_own(self, address: SocketAddress) -> bool:
        return address.address is not None and LOCALHOST in self._engine.policy.networks_of(address.host)

    def _verdict(self, permission: Permission, addresses: list[SocketAddress]) -> Verdict:
        if permission.verdict.destination_network or not addresses:
            return permission.verdict
        return replace(permission.verdict, destination_network=self._network_of(addresses[0]))

    def _network_of(self, target: SocketAddress) -> str:
        return "" if target.address is None else self._engine.policy.networks_of(target.host)[0]

    def _of(self, session: FWXSession, port: int, transport: str) -> Iterator[Permission]:
        for permission in self._by_key.get((session.address.host, transport, port), ()):
            if permission.is_open and (permission.session is session or permission.is_address_based):
                yield permission


def _key_of(permission: Permission) -> _Key:
    return permission.session.address.host, TRANSPORTS[permission.protocol], permission.target.port


def is_same_host(announced: SocketAddress, asked: SocketAddress) -> bool:
    """Tell whether two addresses are those of the same host, both by address or both by name."""
    if announced.address is None or asked.address is None:
        if announced.address is not asked.address:
            return False
        try:
            return normalise_name(announced.host) == normalise_name(asked.host)
        except ValueError:
            return False
    return normalise(announced.host) == normalise(asked.host)
