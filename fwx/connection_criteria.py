"""Which connections a command means: what it asks for, checked, and whether a connection fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from fwx.config_problems import did_you_mean
from fwx.control import ControlError
from fwx.impl.networks import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwx.interfaces import SocketAddress


@dataclass(frozen=True, slots=True)
class ConnectionCriteria:
    """What a connection has to be; what is not given is anything.

    :ivar filter: a filter that sees it. :ivar rule: the rule that has let it in. :ivar client: addresses that it comes
        from. :ivar host: its target, a name or an address; :ivar port: the target's port, 0 for any.
    """

    filter: str
    rule: str
    client: IPv4Network | IPv6Network | None
    host: str
    port: int

    def __str__(self) -> str:
        target = f"{self.host}:{self.port or '*'}" if self.host or self.port else ""
        asked = {"filter": self.filter, "rule": self.rule, "from": self.client, "to": target}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value) or "any"

    def fits_client(self, client: SocketAddress) -> bool:
        """Tell whether *client*, a literal address, is one of those that are wanted."""
        return self.client is None or normalise(client.host) in self.client

    def fits(
        self, client: SocketAddress, rule: str, filters: Iterable[str], targets: Iterable[SocketAddress | None]
    ) -> bool:
        """Tell whether a connection of *client*, let in by *rule* and seen by *filters*, is wanted; *targets* are the
        names that its target has."""
        if (self.filter and self.filter not in filters) or (self.rule and self.rule != rule):
            return False
        if not self.fits_client(client):
            return False
        if not self.host and not self.port:
            return True
        return any(
            self.host in ("", target.host) and self.port in (0, target.port) for target in targets if target is not None
        )


def text_in(request: Mapping[str, Any], key: str) -> str:
    """Return the text under *key*, empty if there is none. :raises ControlError: it is no text."""
    value = request.get(key, "")
    if not isinstance(value, str):
        raise ControlError(f"{key!r} is {value!r}; expected a text")
    return value


def name_in(request: Mapping[str, Any], key: str, known: Iterable[str]) -> str:
    """Return the name under *key*, empty if there is none. :raises ControlError: it is none of the *known* ones."""
    name = text_in(request, key)
    if name and name not in (names := list(known)):
        hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}" if names else "; there are none")
        raise ControlError(f"the service has no {key} {name!r}{hint}")
    return name


def network_in(request: Mapping[str, Any], key: str) -> IPv4Network | IPv6Network | None:
    """Return the addresses under *key*. :raises ControlError: it is neither an address nor a network."""
    value = request.get(key)
    if value is None:
        return None
    try:
        return ip_network(str(value))
    except ValueError:
        raise ControlError(f"{key!r} is {value!r}; expected an address, or a network such as 192.0.2.0/24") from None


def whole_in(request: Mapping[str, Any], key: str, least: int, most: int, default: int) -> int:
    """Return the number under *key*. :raises ControlError: it is no whole number from *least* to *most*."""
    value = request.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ControlError(f"{key!r} is {value!r}; expected a whole number from {least} to {most}")
    return value
