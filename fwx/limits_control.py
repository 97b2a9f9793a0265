"""The service's end of ``fwx limits``: the command ``limits`` of the control socket."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from fwx.connection_criteria import network_in
from fwx.impl.networks import normalise

if TYPE_CHECKING:
    from fwx.control.server import Lines
    from fwx.impl.engine import Engine
    from fwx.limits import AddressLimits

_AT_ONCE: Final = 100


class LimitsControl:
    """Tells what counts now: of each client address, and of each rule that has limits."""

    def __init__(
        self, engine: Engine, limits: AddressLimits, descriptors: Callable[[], tuple[int, int]] | None = None
    ) -> None:
        """*descriptors* says how many are open, and how many may be; without it those of this process."""
        self._engine = engine
        self._limits = limits
        self._descriptors = descriptors or descriptors_open

    async def limits(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``limits``: a line for the service, one for each address, one for each rule.

        An address is told as long as it has something open, or its minute is not over; ``from`` chooses.

        :raises ControlError: ``from`` is neither an address nor a network.
        """
        wanted = network_in(request, "from")
        await lines.send({"done": {}})
        # Each is made when it is its turn: addresses may be many.
        for number, line in enumerate(chain([self._service()], self._addresses(wanted), self._rules())):
            await lines.send(line)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _service(self) -> dict[str, Any]:
        engine = self._engine
        have, most = self._descriptors()
        connections = sum(len(session.connections) for session in engine.sessions)
        counts = {"sessions": len(engine.sessions), "connections": connections, "opening": len(engine.gateway.opening)}
        crowd, ceiling = self._limits.crowd, engine.queue.ceiling
        refused = {"addresses": self._limits.refusals, "rules": engine.quotas.refusals}
        return {
            "service": {
                **counts,
                **crowd.told(len(engine.look_ups)),
                "descriptors": {"is": have, "most": most},
                "memory_per_connection": {"most": ceiling.most, "refused": ceiling.refusals},
                "refused": refused,
                "refused_together": dict(crowd.refusals),
            }
        }

    def _addresses(self, wanted: Any) -> Iterator[dict[str, Any]]:
        now = self._engine.clock()
        for address, usage in sorted(self._limits.all(), key=lambda each: (-each[1].concurrent, each[0])):
            if wanted is None or normalise(address) in wanted:
                yield {"address": {"address": address, **usage.told(now)}}

    def _rules(self) -> Iterator[dict[str, Any]]:
        quotas = self._engine.quotas
        for rule in self._engine.policy.rules:
            udp, limits = quotas.datagrams_of(rule.name), rule.limits
            if limits is None and not udp:
                continue
            most = None if limits is None else limits.connections_per_user
            users = [
                {"user": owner if isinstance(owner, str) else owner[1], "is": count, "most": most}
                for owner, count in sorted(quotas.open_of(rule.name).items(), key=lambda each: -each[1])
            ]
            new = None if limits is None else limits.new_per_second_per_address
            a_second = {"is": udp, "most": quotas.non_tcp_a_second}
            yield {"rule": {"rule": rule.name, "users": users, "new_per_second_per_address": new, "udp": a_second}}


def descriptors_open() -> tuple[int, int]:
    """Return how many descriptors this process has open, and how many it may have."""
    return sum(1 for _ in os.scandir("/proc/self/fd")) - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
