"""Which connections are wanted: what a command asks for, checked against the configuration that the service has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwx.connection_criteria import ConnectionCriteria, name_in, network_in, text_in, whole_in
from fwx.tracing import LARGEST, MOST_BYTES

if TYPE_CHECKING:
    from fwx.config import Configuration


@dataclass(frozen=True, slots=True)
class Criteria(ConnectionCriteria):
    """What a connection has to be, and how much of it is recorded.

    :ivar count: how many are recorded. :ivar most_bytes: how many bytes of each.
    """

    count: int
    most_bytes: int

    @classmethod
    def of(cls, request: Mapping[str, Any], configuration: Configuration) -> Criteria:
        """Return what *request* asks for. :raises ControlError: it makes no sense, or names what is not there."""
        return cls(
            filter=name_in(request, "filter", (table.name for table in configuration.filters)),
            rule=name_in(request, "rule", (table.name for table in configuration.all_rules)),
            client=network_in(request, "from"),
            host=text_in(request, "host"),
            port=whole_in(request, "port", 0, 65535, 0),
            count=whole_in(request, "count", 1, 10_000, 1),
            most_bytes=whole_in(request, "max bytes", 1, MOST_BYTES, LARGEST),
        )
