"""Which destinations the client of a UDP connection may reach, and by which addresses (B2.15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.admission import admit_client
from fwx.impl.clientlookup import ClientLookUp, Found
from fwx.impl.rulequotas import Refused
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED

if TYPE_CHECKING:
    from fwx.impl.datagramconnection import FWXDatagramConnection
    from fwx.impl.destinations import Destinations
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.permission import Permission
    from fwx.impl.policy import Verdict
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import SocketAddress

HostsOf = Callable[["Verdict"], "tuple[FilterHost, ...]"]
Admitted = Callable[["Destination", "list[SocketAddress] | None"], None]


class DestinationAdmission:
    """Asks what filters have announced, then the rules, and has names looked up where no upstream takes them."""

    __slots__ = ("_admitted", "_connection", "_destinations", "_diverted", "_hosts_of", "_permission")

    def __init__(
        self,
        connection: FWXDatagramConnection,
        destinations: Destinations,
        hosts_of: HostsOf,
        admitted: Admitted,
        permission: Permission | None,
        *,
        diverted: bool,
    ) -> None:
        """:param hosts_of: gives the filters that see what a verdict allows.

        :param admitted: called with a destination that may be reached, and its addresses, or ``None`` for its name.
        :param permission: what the connection is for, and then nothing else.
        :param diverted: only what a protocol begins with, or a filter has announced, is let on (B2.13).
        """
        self._connection = connection
        self._destinations = destinations
        self._hosts_of = hosts_of
        self._admitted = admitted
        self._permission = permission
        self._diverted = diverted

    def judge(self, destination: Destination) -> None:
        """Judge what is new; it is admitted or denied now, or when its name has been looked up."""
        verdict, addresses = self._ask(destination)
        if addresses:
            self._admit(destination, addresses)
        elif verdict.allowed and self._connection.engine.routes[verdict.upstream].takes_names:
            self._admit(destination, None)
        elif verdict.allowed or verdict.needs_resolution:
            self._look_up(destination, verdict)
        else:
            self._destinations.deny(destination, int(verdict.hresult), verdict.reason)

    def _admit(self, destination: Destination, addresses: list[SocketAddress] | None) -> None:
        """Count it, and let it in unless its rule has let in too many."""
        connection, verdict = self._connection, destination.verdict
        assert verdict is not None
        if destination.permission is None:
            place = connection.engine.quotas.take(verdict.rule, verdict.limits, connection.session, "UDP")
            if isinstance(place, Refused):
                self._destinations.refuse(destination, place)
                return
            destination.place = place
        self._admitted(destination, addresses)

    def _ask(
        self, destination: Destination, resolved: list[SocketAddress] | None = None
    ) -> tuple[Verdict, list[SocketAddress]]:
        connection, permission = self._connection, self._permission
        if permission is not None and permission.has_ended:
            reason = f"{permission.verdict.reason}, which is over"
            denied = replace(permission.verdict, allowed=False, hresult=FWX_E_POLICY_RULES_DENIED, reason=reason)
            destination.verdict, destination.secondary = denied, True
            return denied, []
        verdict, addresses, destination.permission = admit_client(
            connection.session,
            connection.client_address,
            destination.target,
            resolved,
            "UDP",
            permission,
            diverted=self._diverted,
        )
        destination.verdict, destination.secondary = verdict, destination.permission is not None
        return verdict, addresses

    def _look_up(self, destination: Destination, verdict: Verdict) -> None:
        hosts = self._hosts_of(verdict)
        found = partial(self._found, destination)
        look_up = ClientLookUp(self._connection.session, hosts, destination.target, found)
        destination.cancel = look_up.cancel
        look_up.start()

    def _found(self, destination: Destination, found: Found) -> None:
        destination.cancel = None
        destinations, target = self._destinations, destination.target
        if self._connection.terminating or destinations.get(target) is not destination:
            return
        if not found.addresses:
            destinations.deny(destination, int(found.result), found.reason, found.action)
            if not found.remembered:  # the name may be asked for again
                destinations.pop(target, None)
            return
        verdict, allowed = self._ask(destination, found.addresses)
        if allowed:
            self._admit(destination, allowed)
        else:
            destinations.deny(destination, int(verdict.hresult), verdict.reason)
