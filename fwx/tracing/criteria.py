"""Which connections are wanted: what a command asks for, checked against the configuration that the service has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from fwx.config_problems import did_you_mean
from fwx.control import ControlError
from fwx.impl.networks import normalise
from fwx.tracing import LARGEST, MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwx.config import Configuration
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.interfaces import SocketAddress


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a connection has to be; what is not given is anything.

    :ivar filter: a filter that sees it. :ivar rule: the rule that has let it in. :ivar client: addresses that it comes
        from. :ivar host: its target, a name or an address; :ivar port: the target's port, 0 for any.
    :ivar count: how many are recorded. :ivar most_bytes: how many bytes of each.
    """

    filter: str
    rule: str
    client: IPv4Network | IPv6Network | None
    host: str
    port: int
    count: int
    most_bytes: int

    @classmethod
    def of(cls, request: Mapping[str, Any], configuration: Configuration) -> Criteria:
        """Return what *request* asks for. :raises ControlError: it makes no sense, or names what is not there."""
        return cls(
            filter=_name(request, "filter", (table.name for table in configuration.filters)),
            rule=_name(request, "rule", (table.name for table in configuration.rules)),
            client=_client(request.get("from")),
            host=_text(request, "host"),
            port=_whole(request, "port", 0, 65535, 0),
            count=_whole(request, "count", 1, 10_000, 1),
            most_bytes=_whole(request, "max bytes", 1, MOST_BYTES, LARGEST),
        )

    def __str__(self) -> str:
        target = f"{self.host}:{self.port or '*'}" if self.host or self.port else ""
        asked = {"filter": self.filter, "rule": self.rule, "from": self.client, "to": target}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value) or "any"

    def fits(
        self, connection: ConnectionBase, rule: str, filters: Iterable[str], targets: Iterable[SocketAddress | None]
    ) -> bool:
        """Tell whether *connection*, let in by *rule* and seen by *filters*, is wanted; *targets* are the names that
        its target has."""
        if (self.filter and self.filter not in filters) or (self.rule and self.rule != rule):
            return False
        if self.client is not None and normalise(connection.client_address.host) not in self.client:
            return False
        return any(
            self.host in ("", target.host) and self.port in (0, target.port) for target in targets if target is not None
        )


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise ControlError(f"{key!r} is {value!r}; expected a text")
    return value


def _name(request: Mapping[str, Any], key: str, known: Iterable[str]) -> str:
    name, names = _text(request, key), list(known)
    if name and name not in names:
        hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}" if names else "; there are none")
        raise ControlError(f"the service has no {key} {name!r}{hint}")
    return name


def _client(value: object) -> IPv4Network | IPv6Network | None:
    if value is None:
        return None
    try:
        return ip_network(str(value))
    except ValueError:
        raise ControlError(f"'from' is {value!r}; expected an address, or a network such as 192.0.2.0/24") from None


def _whole(request: Mapping[str, Any], key: str, least: int, most: int, default: int) -> int:
    value = request.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ControlError(f"{key!r} is {value!r}; expected a whole number from {least} to {most}")
    return value
